r"""Signals of given Fourier magnitude: {x : |F x| = m}; P(x) = F^-1 (m F x / |F x|).

The discrete Fourier transform is a multiple of a unitary map, so the nearest point is
found coefficient by coefficient: J. R. Fienup, "Phase retrieval algorithms: a
comparison" (1982).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact

from fixproj.projections._check import as_inexact, as_parameter, require
from fixproj.projections._set import AbstractSet
from fixproj.projections._spectral import widened


class FourierMagnitude(AbstractSet):
    """The signals whose discrete Fourier transform has given moduli.

    The transform is `jax.numpy.fft.fftn`, over as many trailing axes of the point as
    the magnitude has; axes before them are a batch. The set is not convex. Where a
    coefficient vanishes every phase is equally near, and phase 0 is taken, with
    derivative zero.

    Args:
        magnitude: moduli of the coefficients, in the order of `fftn`, of one to three
            axes. For real points they must be symmetric, m(k) = m(-k).

    Raises:
        TypeError: if the magnitude is not real.
        ValueError: if an entry is negative or not finite (a runtime error when it is
            traced), or the number of axes is wrong.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import FourierMagnitude
        >>> delta = FourierMagnitude(jnp.ones(4))
        >>> print(delta.project(jnp.array([0.5, 0.0, 0.0, 0.0])))
        [1. 0. 0. 0.]
    """

    magnitude: Float[Array, "..."]
    axis: ClassVar[None] = None

    def __init__(self, magnitude: ArrayLike):
        magnitude = as_parameter(magnitude, "magnitude")
        if not 1 <= magnitude.ndim <= 3:
            raise ValueError(
                f"`magnitude` must have 1 to 3 axes, but has shape {magnitude.shape}."
            )
        self.magnitude = require(
            magnitude,
            lambda m: (m >= 0) & jnp.isfinite(m),
            magnitude,
            message="`magnitude` must be finite and not negative.",
        )

    def project(self, x: Inexact[ArrayLike, "..."]) -> Inexact[Array, "..."]:
        """Returns a nearest signal of that magnitude.

        Args:
            x: the signal or signals, real or complex.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if the trailing axes of `x` are not those of the magnitude, or
                `x` is real and the magnitude is not symmetric.
        """
        x = as_inexact(x, "x")
        axes = tuple(range(-self.magnitude.ndim, 0))
        if x.shape[-len(axes) :] != self.magnitude.shape:
            raise ValueError(
                f"`magnitude` of shape {self.magnitude.shape} does not fit `x` of "
                f"shape {x.shape}."
            )
        wide = widened(x)
        magnitude = self.magnitude.astype(jnp.real(wide).dtype)
        if not jnp.iscomplexobj(x):
            magnitude = require(
                magnitude,
                _is_symmetric,
                magnitude,
                message="`magnitude` must be symmetric for a real `x`.",
            )
        spectrum = jnp.fft.fftn(wide, axes=axes)
        target = jnp.broadcast_to(magnitude.astype(spectrum.dtype), spectrum.shape)
        target = target * _phase(spectrum)
        nearest = jnp.fft.ifftn(target, axes=axes)
        if not jnp.iscomplexobj(x):
            nearest = jnp.real(nearest)
        return nearest.astype(x.dtype)


def _is_symmetric(magnitude):
    flipped = magnitude
    for axis in range(magnitude.ndim):
        flipped = jnp.roll(jnp.flip(flipped, axis), 1, axis)
    tolerance = 1e-3 * jnp.max(magnitude, initial=0)
    return jnp.abs(magnitude - flipped) <= tolerance


def _phase(spectrum):
    # The squares must neither overflow nor vanish. A phase does not depend on the size,
    # and a quotient of complex numbers would square it.
    real, imaginary = jnp.real(spectrum), jnp.imag(spectrum)
    size = jnp.maximum(jnp.abs(real), jnp.abs(imaginary))
    size = jax.lax.stop_gradient(size)
    zero = size == 0
    size = jnp.where(zero, 1, size)
    real, imaginary = jnp.where(zero, 1, real / size), imaginary / size
    modulus = jnp.sqrt(real**2 + imaginary**2)
    return jax.lax.complex(real / modulus, imaginary / modulus)
