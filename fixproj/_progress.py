"""A live bar for a running solve, fed from inside of the compiled loop.

Reports leave the device at steps 1, 2, 4, ..., 64, 128, 192, ...: often enough to see a
slow map move, too seldom to slow a fast one down.
"""

import itertools
from typing import Any

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Scalar


_EVERY = 64
_bars: dict[int, Any] = {}
_numbers = itertools.count()


def open_bar(max_steps: int) -> int:
    """Show a new bar and return its number."""
    try:
        import tqdm
    except ImportError as error:
        raise ImportError(
            "progress=True needs tqdm: pip install 'fixproj[nn]'."
        ) from error
    number = next(_numbers)
    _bars[number] = tqdm.tqdm(total=max_steps, desc="fixproj", unit="step")
    return number


def close_bar(number: int, step: Any = None, residual: Any = None) -> None:
    """Wait for the last reports, show the final figures if known, take the bar down."""
    jax.effects_barrier()
    if step is not None:
        _show(number, step, residual)
    _bars.pop(number).close()


def report(number: Int[Array, ""], step: Int[Array, ""], residual: Scalar) -> None:
    """Inside of a loop: now and then, move the bar to `step`; lanes are merged."""
    step = eqxi.unvmap_max(step)
    due = (step & (step - 1) == 0) | (step % _EVERY == 0)
    residual = eqxi.unvmap_max(residual)
    jax.lax.cond(
        due,
        lambda: jax.debug.callback(_show, number, step, residual),
        lambda: None,
    )


def _show(number: Any, step: Any, residual: Any) -> None:
    bar = _bars.get(int(number))
    # A report can overtake the end of its solve.
    if bar is not None:
        bar.set_postfix_str(f"residual {float(jnp.asarray(residual)):.2e}", False)
        bar.update(max(int(step) - bar.n, 0))
