"""Projections onto the 3-dimensional cones by bisection in extended precision."""

import numpy as np


Long = np.longdouble


def exponential(v):
    """Bisection of the equation in its plain form, on a scale that spans 40 decades."""
    x, y, z = (np.asarray(c, Long) for c in v.T)

    def rays(rho):
        square = rho * rho - rho + 1
        return (y + (rho - 1) * x) / square, (x - rho * y) / square

    with np.errstate(all="ignore"):
        low = np.full(x.shape, -(Long(10) ** 20))
        high = -low
        high = np.where(y > 0, np.minimum(high, x / y), high)
        low = np.where(y < 0, np.maximum(low, x / y), low)
        low = np.where(x > 0, np.maximum(low, 1 - y / x), low)
        high = np.where(x < 0, np.minimum(high, 1 - y / x), high)
        for _ in range(140):
            middle = np.sinh((np.arcsinh(low) + np.arcsinh(high)) / 2)
            middle = np.clip(middle, low, high)
            a, b = rays(middle)
            above = a * np.exp(middle) - b * np.exp(-middle) > z
            high, low = np.where(above, middle, high), np.where(above, low, middle)
        rho = (low + high) / 2
        a, b = rays(rho)
        height = np.where(rho > 0.5, z + b * np.exp(-rho), a * np.exp(rho))
        a = np.where(rho > 0.5, height * np.exp(-rho), a)
        result = np.stack([a * rho, a, height], -1)
        inside = (y > 0) & (y * np.exp(x / y) <= z)
        polar = (x > 0) & (x * np.exp(y / x - 1) <= -z)
    face = (x <= 0) & (y <= 0)
    result[polar] = 0
    result[face] = np.stack([x, 0 * y, np.maximum(z, 0)], -1)[face]
    result[inside] = v[inside]
    return result


def power(alpha, v):
    """Bisection for the logarithm of r / (|z| - r); one alpha, or one per point."""
    alpha = np.asarray(alpha, Long)
    x0, y0, z0 = (np.asarray(c, Long) for c in v.T)
    size = np.abs(z0)

    def root(t, m):
        other = np.sqrt(t * t + 4 * m)
        return np.where(t > 0, (t + other) / 2, 2 * m / (other - t))

    def parts(s):
        r = size / (1 + np.exp(-s))
        m = r * (size / (1 + np.exp(s)))
        return r, root(x0, alpha * m), root(y0, (1 - alpha) * m)

    def geometric(x, y):
        return np.maximum(x, 0) ** alpha * np.maximum(y, 0) ** (1 - alpha)

    with np.errstate(all="ignore"):
        low = np.full(x0.shape, -Long(2000))
        high = -low
        for _ in range(120):
            middle = (low + high) / 2
            r, x, y = parts(middle)
            above = np.log(r) > alpha * np.log(x) + (1 - alpha) * np.log(y)
            high, low = np.where(above, middle, high), np.where(above, low, middle)
        r, x, y = parts((low + high) / 2)
    result = np.stack([x, y, np.sign(z0) * r], -1)
    flat = size == 0
    result[flat] = np.stack([np.maximum(x0, 0), np.maximum(y0, 0), 0 * size], -1)[flat]
    polar = (x0 <= 0) & (y0 <= 0) & (geometric(-x0 / alpha, -y0 / (1 - alpha)) >= size)
    result[polar] = 0
    inside = (x0 >= 0) & (y0 >= 0) & (geometric(x0, y0) >= size)
    result[inside] = v[inside]
    return result


def near_power(alpha, seed=0):
    """One point per alpha: on and near the power cone and its polar, and mixed."""
    rng = np.random.default_rng(seed)
    alpha = np.asarray(alpha)
    count = alpha.size
    x, y = 10.0 ** rng.uniform(-8, 8, (2, count))
    # The exponent's rounding is as far from the surface as a float64 can be.
    on_cone = np.stack([x, y, x**alpha * y ** (1 - alpha)], -1)
    on_polar = on_cone * np.stack([-alpha, alpha - 1, np.ones(count)], -1)
    mixed = rng.choice([-1, 0, 1], (count, 3)) * 10.0 ** rng.uniform(-8, 8, (count, 3))
    off = rng.choice([1, 1 + 1e-15, 1 - 1e-12, 1 + 1e-6], (count, 3))
    kind = rng.integers(3, size=(count, 1))
    points = np.where(kind == 0, on_cone, np.where(kind == 1, on_polar, mixed))
    return points * np.where(kind == 2, 1, off)


def triples(count, seed=0):
    """Random and adversarial points: all scales, all signs, on and near the cones."""
    rng = np.random.default_rng(seed)
    m = count // 5
    rho = rng.uniform(-20, 20, m)
    near = np.stack([rho, np.ones(m), np.exp(rho)], -1)
    near = near * 10.0 ** rng.uniform(-8, 8, (m, 1))
    near = near * rng.choice([1, 1 + 1e-12, 1 - 1e-12], (m, 3))
    return np.concatenate(
        [
            rng.normal(size=(m, 3)),
            rng.normal(size=(m, 3)) * 10.0 ** rng.uniform(-8, 8, (m, 3)),
            rng.choice([-1e8, -1, -1e-8, 0, 1e-8, 1, 1e8], size=(m, 3)),
            rng.normal(size=(m, 3)) * 10.0 ** rng.uniform(-8, 8, (m, 1)),
            near,
        ]
    )
