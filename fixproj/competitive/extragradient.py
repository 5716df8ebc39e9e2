r"""Extragradient and optimistic gradient.

    extragradient:   z_half = z - step v(z),   z <- z - step v(z_half)
    optimistic:      z <- z - 2 step v(z) + step v(z_before)

Korpelevich (1976); Popov (1980); Daskalakis, Ilyas, Syrgkanis & Zeng (2018), Training
GANs with optimism. Both converge for monotone games with a Lipschitz constant L of v,
for step < 1 / L and step < 1 / (2 L).
"""

from jaxtyping import PyTree, Scalar

from .._check import check_between
from . import _field
from ._game import Game
from ._method import AbstractGameMethod


class Extragradient(AbstractGameMethod):
    """A step with the gradient at the end of a trial step.

    Args:
        step: the step size, a scalar > 0 that may be traced.

    Raises:
        ValueError: if `step` is not positive.

    References:
        G. M. Korpelevich (1976), The extragradient method for finding saddle points and
        other problems.
    """

    step: float | Scalar = 0.1

    def __check_init__(self):
        check_between("Extragradient", "step", self.step, 0)

    def start(self, game: Game) -> PyTree:
        """Nothing is remembered."""
        return None

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """Two evaluations of v."""
        trial = _field.scaled(-self.step, _field.field(game, players))
        half = _field.move(players, 1, trial)
        step = _field.scaled(-self.step, _field.field(game, half))
        return _field.move(players, 1, step), memory


class OptimisticGradient(AbstractGameMethod):
    """A step that expects the next gradient to differ as this one did from the last.

    Args:
        step: the step size, a scalar > 0 that may be traced.

    Raises:
        ValueError: if `step` is not positive.

    References:
        L. D. Popov (1980), A modification of the Arrow-Hurwicz method for search of
        saddle points. C. Daskalakis, A. Ilyas, V. Syrgkanis and H. Zeng (2018),
        Training GANs with optimism.
    """

    step: float | Scalar = 0.1

    def __check_init__(self):
        check_between("OptimisticGradient", "step", self.step, 0)

    def start(self, game: Game) -> PyTree:
        """The gradient at the start, as if the one before had been the same."""
        return _field.field(game, game.y0)

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """The last gradient is what is remembered."""
        gradient = _field.field(game, players)
        expected = _field.move(_field.scaled(2, gradient), -1, memory)
        step = _field.scaled(-self.step, expected)
        return _field.move(players, 1, step), gradient
