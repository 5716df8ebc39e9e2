r"""Gradients with a term that turns them towards equilibria.

    consensus:   z <- z - step (v + weight J' v)
    symplectic:  z <- z - step (v + s A' v),   A = (J - J') / 2,  s = +- weight

J' v is the gradient of |v|^2 / 2. Mescheder, Nowozin & Geiger (2017), The numerics of
GANs; Balduzzi et al. (2018), The mechanics of n-player differentiable games, whose rule
for the sign of s is sign(<v, J' v> <A' v, J' v> / d + 0.1).
"""

import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from . import _field
from ._game import Game
from ._method import AbstractGameMethod


class ConsensusGradient(AbstractGameMethod):
    """Gradient steps that also descend on the squared norm of the field.

    Args:
        step: the step size, a scalar > 0 that may be traced.
        weight: of the second term, a scalar > 0.

    Raises:
        ValueError: if an argument is not positive.

    References:
        L. Mescheder, S. Nowozin and A. Geiger (2017), The numerics of GANs.
    """

    step: float | Scalar = 0.1
    weight: float | Scalar = 1.0

    def __check_init__(self):
        check_between("ConsensusGradient", "step", self.step, 0)
        check_between("ConsensusGradient", "weight", self.weight, 0)

    def start(self, game: Game) -> PyTree:
        """Nothing is remembered."""
        return None

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """One product with the transposed Jacobian."""
        v, pull = _field.transposed_product(game, players)
        direction = _field.move(v, self.weight, pull(v))
        return _field.move(players, 1, _field.scaled(-self.step, direction)), memory


class SymplecticGradient(AbstractGameMethod):
    """Symplectic gradient adjustment (SGA).

    Args:
        step: the step size, a scalar > 0 that may be traced.
        weight: of the adjustment, a scalar > 0.
        align: whether the adjustment changes its sign so as to be attracted to stable
            equilibria and repelled by unstable ones. Where the game is a pure
            potential, or a pure conflict, it makes no difference.

    Raises:
        ValueError: if `step` or `weight` is not positive.

    References:
        D. Balduzzi, S. Racaniere, J. Martens, J. Foerster, K. Tuyls and T. Graepel
        (2018), The mechanics of n-player differentiable games.
    """

    step: float | Scalar = 0.1
    weight: float | Scalar = 1.0
    align: bool = True

    def __check_init__(self):
        check_between("SymplecticGradient", "step", self.step, 0)
        check_between("SymplecticGradient", "weight", self.weight, 0)

    def start(self, game: Game) -> PyTree:
        """Nothing is remembered."""
        return None

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """A product with the Jacobian and one with its transpose."""
        v, pull = _field.transposed_product(game, players)
        descent = pull(v)
        turned = _tree.subtract(descent, _field.jacobian_product(game, players)(v))
        turned = _field.scaled(0.5, turned)
        weight = self.weight
        if self.align:
            agreement = _tree.inner_product(v, descent)
            agreement = agreement * _tree.inner_product(turned, descent)
            # Balduzzi et al. divide by the number of unknowns and add 0.1.
            positive = agreement / max(_tree.real_size(players), 1) + 0.1 >= 0
            weight = jnp.where(positive, 1, -1) * _tree.scale_like(weight, agreement)
        direction = _field.move(v, weight, turned)
        return _field.move(players, 1, _field.scaled(-self.step, direction)), memory
