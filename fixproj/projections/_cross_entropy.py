r"""Cross-entropy of the softmax, and its proximal operator to machine precision.

prox_{s f}(v) = argmin_z  s f(z) + |z - v|^2 / 2,   f(z) = logsumexp(z) - t'z,

where t is the distribution of the labels. Stationarity reads z + s p = v + s t =: a
with p = softmax(z) = exp(z - L). With q = s p it separates, given the one scalar L:

    q_i + log q_i = a_i + log s - L,   so   q_i = omega(a_i + log s - L)

(Wright's omega function), and L is the root of g(L) = sum_i omega(.) - s. The function
g decreases and is convex, so Newton's iteration from the left of the root rises to it
without overshooting; `_lower_bound` is such a start.

The movement z - v = s t - q is formed without the point z. Its entry at the largest q
is minus the sum of the others, because all entries sum to zero: this is what keeps its
relative accuracy where p is nearly one-hot.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fixproj.projections._function import AbstractFunction
from fixproj.projections._precision import at_least_single
from fixproj.projections._weights import check_weight


_MAX_STEPS = 60


def _log_omega(u: Array) -> Array:
    """The y with y + exp(y) = u, so exp(y) is Wright's omega function of u."""
    # Newton on the convex increasing F(y) = y + e^y - u; the start has F of size O(1).
    above = jnp.maximum(u, 1)
    y = jnp.where(u < 1, u - jnp.log1p(jnp.exp(jnp.minimum(u, 1))), jnp.log(above))
    for _ in range(4 if u.dtype == jnp.float32 else 5):
        e = jnp.exp(y)
        y = y - (y + e - u) / (1 + e)
    return y


@jax.custom_jvp
def cross_entropy_displacement(logits: Array, targets: Array, step: Array) -> Array:
    """How far the prox of `step` times the cross-entropy moves each row of logits.

    Args:
        logits: (..., classes), float32 or float64.
        targets: distributions, the shape and dtype of `logits`.
        step: positive scalar of that dtype.

    Returns:
        prox(logits) - logits.
    """
    shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
    a = shifted + step * targets + jnp.log(step)

    def q_of(level):
        return jnp.exp(_log_omega(a - level))

    def body(carry):
        level, _, count = carry
        q = q_of(level)
        value = jnp.sum(q, axis=-1, keepdims=True) - step
        slope = jnp.sum(q / (1 + q), axis=-1, keepdims=True)
        # Never move left: below the root only rounding asks for it.
        change = jnp.maximum(value / slope, 0)
        return level + change, change, count + 1

    def unfinished(carry):
        level, change, count = carry
        tolerance = 2 * jnp.finfo(logits.dtype).eps * (1 + jnp.abs(level))
        return jnp.any(change > tolerance) & (count < _MAX_STEPS)

    start = _lower_bound(a, step)
    level, _, _ = jax.lax.while_loop(
        unfinished, body, (start, jnp.full_like(start, jnp.inf), 0)
    )
    q = q_of(level)
    movement = step * targets - q
    largest = jax.nn.one_hot(jnp.argmax(q, -1), q.shape[-1], dtype=q.dtype)
    return movement - largest * jnp.sum(movement, axis=-1, keepdims=True)


@cross_entropy_displacement.defjvp
def _displacement_jvp(primals, tangents):
    # z + s p - s t = v, and dp = p (dz - p'dz): a diagonal matrix plus one of rank one.
    logits, targets, step = primals
    dlogits, dtargets, dstep = tangents
    moved = cross_entropy_displacement(logits, targets, step)
    p = jax.nn.softmax(logits + moved, axis=-1)
    right = dlogits + step * dtargets + dstep * (targets - p)
    share = p / (1 + step * p)
    # 1 - s sum p^2 / (1 + s p) without the cancellation, as the p sum to 1.
    pivot = jnp.sum(share, axis=-1, keepdims=True)
    mean = jnp.sum(share * right, axis=-1, keepdims=True) / pivot
    return moved, right / (1 + step * p) + step * share * mean - dlogits


def _lower_bound(a: Array, step: Array) -> Array:
    """A level with g(level) >= 0: the largest entry alone would make q sum to s."""
    top = jnp.max(a, axis=-1, keepdims=True)
    alone = top - step - jnp.log(step)
    # Jensen: omega is convex, so sum omega(a_i - L) >= n omega(mean(a) - L).
    share = step / a.shape[-1]
    even = jnp.mean(a, axis=-1, keepdims=True) - share - jnp.log(share)
    return jnp.maximum(alone, even)


def label_distribution(labels: Array, shape: tuple[int, ...], dtype) -> Array:
    """Integer labels (...) or distributions (..., classes) as distributions.

    Raises:
        ValueError: if the shape of the labels does not fit that of the logits.
    """
    if jnp.issubdtype(labels.dtype, jnp.integer) and labels.shape == shape[:-1]:
        return jax.nn.one_hot(labels, shape[-1], dtype=dtype)
    if labels.shape != shape:
        raise ValueError(
            f"labels must be integers of shape {shape[:-1]} or distributions (one-hot) "
            f"of shape {shape} to go with logits of shape {shape}; got "
            f"{labels.dtype.name} of shape {labels.shape}."
        )
    return labels.astype(dtype)


class CrossEntropy(AbstractFunction):
    r"""The cross-entropy of softmax(logits) against labels, summed over rows.

    `f(z) = sum_b (log(sum_i exp(z_bi)) - <t_b, z_b>)`.

    Args:
        labels: integer classes of shape `(...)`, or distributions over the classes
            (one-hot, or smoothed) of shape `(..., classes)`.
        fixed_steps: None solves to machine precision. A number instead takes so many
            steps `z <- x + step (t - softmax(z))` from `z = x`, as PJAX does (with 10):
            for comparisons only, as these do not converge where `step > 2`.

    Raises:
        ValueError: if `fixed_steps` is not None or an integer >= 1.

    References:
        Corless and Jeffrey, "The Wright omega function", 2002, for the function that
        the stationarity condition is solved by.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import CrossEntropy
        >>> loss = CrossEntropy(jnp.array([0]))
        >>> z = loss.prox(jnp.zeros((1, 2)), 1.0)
        >>> bool(loss(z) < loss(jnp.zeros((1, 2))))
        True
    """

    labels: Int[Array, "..."] | Float[Array, "... classes"]
    fixed_steps: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        steps = self.fixed_steps
        if steps is not None and (not isinstance(steps, int) or steps < 1):
            raise ValueError(f"`fixed_steps` must be an integer >= 1, got {steps!r}.")

    def __call__(self, logits: Float[Array, "... classes"]) -> Float[Array, ""]:
        """The sum of the cross-entropies of all rows.

        Args:
            logits: unnormalised log-probabilities, shape `(..., classes)`.

        Returns:
            A scalar of the dtype of `logits`.

        Raises:
            ValueError: if labels and logits do not fit.
        """
        labels = jnp.asarray(self.labels)
        targets = label_distribution(labels, logits.shape, logits.dtype)
        return -jnp.sum(targets * jax.nn.log_softmax(logits, axis=-1))

    def prox(
        self, x: Float[Array, "... classes"], step: float | Float[Array, ""] = 1.0
    ) -> Float[Array, "... classes"]:
        """The proximal operator, solved to machine precision.

        Args:
            x: logits of shape `(..., classes)`.
            step: the factor of the loss, positive.

        Returns:
            argmin over z of step * f(z) + |z - x|^2 / 2, of the shape and dtype of `x`.

        Raises:
            ValueError: if labels and logits do not fit, or `step` is not positive.
        """
        check_weight("step", step)
        work = at_least_single(x.dtype)
        targets = label_distribution(jnp.asarray(self.labels), x.shape, work)
        start, step = x.astype(work), jnp.asarray(step, work)
        if self.fixed_steps is None:
            moved = cross_entropy_displacement(start, targets, step)
            return (start + moved).astype(x.dtype)
        z = start
        for _ in range(self.fixed_steps):
            z = start + step * (targets - jax.nn.softmax(z, axis=-1))
        return z.astype(x.dtype)
