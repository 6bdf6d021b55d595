"""The 35 problems of Moré, Garbow and Hillstrom, "Testing unconstrained optimization software", ACM TOMS 7 (1981), 17-41.

Each has its residual, the standard start and the sums of squares of its listed minima, those at infinity included: an infimum counts as
reached if the sum of squares is within a thousandth of it. Three local minima that the paper does not list were found from the farther
starts, with a gradient of 0 and no negative curvature: those of Kowalik and Osborne, of Osborne 2 and of Chebyquad 10.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Problem:
    """`start` is the standard one; `minima` are sums of squares (0 for a residual that vanishes)."""

    residual: Callable
    start: np.ndarray
    minima: tuple[float, ...]

    def starts(self) -> list[np.ndarray]:
        """The standard start, ten and a hundred times it; of a standard start of 0 (as in MINPACK's own driver), 0, 10 and 100."""
        if not np.any(self.start):
            return [self.start, self.start + 10.0, self.start + 100.0]
        return [self.start, 10 * self.start, 100 * self.start]


def ladder(n):
    return jnp.arange(1.0, n + 1.0)


def rosenbrock(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def freudenstein_roth(x):
    return jnp.stack([-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]])


def powell_badly_scaled(x):
    return jnp.stack([1e4 * x[0] * x[1] - 1, jnp.exp(-x[0]) + jnp.exp(-x[1]) - 1.0001])


def brown_badly_scaled(x):
    return jnp.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def beale(x):
    return jnp.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** ladder(3))


def jennrich_sampson(x):
    i = ladder(10)
    return 2 + 2 * i - (jnp.exp(i * x[0]) + jnp.exp(i * x[1]))


def helical_valley(x):
    angle = jnp.arctan(x[1] / x[0]) / (2 * jnp.pi) + jnp.where(x[0] < 0, 0.5, 0.0).astype(x.dtype)
    return jnp.stack([10 * (x[2] - 10 * angle), 10 * (jnp.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])


def bard(x):
    y = jnp.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
    u = ladder(15)
    v = 16 - u
    return y - (x[0] + u / (v * x[1] + jnp.minimum(u, v) * x[2]))


def gaussian(x):
    half = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
    y = jnp.array([*half, 0.3989, *reversed(half)])
    return x[0] * jnp.exp(-x[1] * ((8 - ladder(15)) / 2 - x[2]) ** 2 / 2) - y


def meyer(x):
    y = [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
    return x[0] * jnp.exp(x[1] / (45 + 5 * ladder(16) + x[2])) - jnp.array(y, float)


def gulf(x):
    t = ladder(99) / 100
    y = 25 + (-50 * jnp.log(t)) ** (2 / 3)
    return jnp.exp(-(jnp.abs(y - x[1]) ** x[2]) / x[0]) - t


def box(x):
    t = ladder(10) / 10
    return jnp.exp(-t * x[0]) - jnp.exp(-t * x[1]) - x[2] * (jnp.exp(-t) - jnp.exp(-10 * t))


def powell_singular(x):
    return jnp.stack([x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, 10**0.5 * (x[0] - x[3]) ** 2])


def wood(x):
    return jnp.stack(
        [
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            90**0.5 * (x[3] - x[2] ** 2),
            1 - x[2],
            10**0.5 * (x[1] + x[3] - 2),
            (x[1] - x[3]) / 10**0.5,
        ]
    )


def kowalik_osborne(x):
    y = jnp.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
    u = jnp.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
    return y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x):
    t = ladder(20) / 5
    return (x[0] + t * x[1] - jnp.exp(t)) ** 2 + (x[2] + x[3] * jnp.sin(t) - jnp.cos(t)) ** 2


def osborne_1(x):
    text = """.844 .908 .932 .936 .925 .908 .881 .850 .818 .784 .751 .718 .685 .658 .628 .603 .580 .558 .538 .522 .506 .490
        .478 .467 .457 .448 .438 .431 .424 .420 .414 .411 .406"""
    t = 10 * (ladder(33) - 1)
    return jnp.array(text.split(), float) - (x[0] + x[1] * jnp.exp(-t * x[3]) + x[2] * jnp.exp(-t * x[4]))


def biggs(x):
    t = ladder(13) / 10
    y = jnp.exp(-t) - 5 * jnp.exp(-10 * t) + 3 * jnp.exp(-4 * t)
    return x[2] * jnp.exp(-t * x[0]) - x[3] * jnp.exp(-t * x[1]) + x[5] * jnp.exp(-t * x[4]) - y


def osborne_2(x):
    text = """1.366 1.191 1.112 1.013 .991 .885 .831 .847 .786 .725 .746 .679 .608 .655 .616 .606 .602 .626 .651 .724 .649 .649
        .694 .644 .624 .661 .612 .558 .533 .495 .500 .423 .395 .375 .372 .391 .396 .405 .428 .429 .523 .562 .607 .653 .672 .708
        .633 .668 .645 .632 .591 .559 .597 .625 .739 .710 .729 .720 .636 .581 .428 .292 .162 .098 .054"""
    t = (ladder(65) - 1) / 10
    peaks = x[1:4, None] * jnp.exp(-((t - x[8:11, None]) ** 2) * x[5:8, None])
    return jnp.array(text.split(), float) - (x[0] * jnp.exp(-t * x[4]) + jnp.sum(peaks, axis=0))


def watson(x):
    t, j = ladder(29)[:, None] / 29, np.arange(x.size)
    u = jnp.sum(x * t**j, axis=1)
    slope = jnp.sum(j[1:] * x[1:] * t ** (j[1:] - 1), axis=1)
    return jnp.concatenate([slope - u**2 - 1, jnp.stack([x[0], x[1] - x[0] ** 2 - 1])])


def extended_rosenbrock(x):
    return jnp.concatenate([10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]])


def extended_powell_singular(x):
    a, b, c, d = x.reshape(-1, 4).T
    return jnp.concatenate([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def penalty_1(x):
    return jnp.append(1e-5**0.5 * (x - 1), jnp.sum(x**2) - 0.25)


def penalty_2(x):
    n = x.size
    y = jnp.exp(ladder(n)[1:] / 10) + jnp.exp(ladder(n)[:-1] / 10)
    first, last = x[:1] - 0.2, jnp.sum((n - ladder(n) + 1) * x**2)[None] - 1
    pairs = jnp.exp(x[1:] / 10) + jnp.exp(x[:-1] / 10) - y
    return jnp.concatenate([first, 1e-5**0.5 * pairs, 1e-5**0.5 * (jnp.exp(x[1:] / 10) - np.exp(-0.1)), last])


def variably_dimensioned(x):
    total = jnp.sum(ladder(x.size) * (x - 1))
    return jnp.concatenate([x - 1, jnp.stack([total, total**2])])


def trigonometric(x):
    n = x.size
    return n - jnp.sum(jnp.cos(x)) + ladder(n) * (1 - jnp.cos(x)) - jnp.sin(x)


def brown_almost_linear(x):
    return jnp.append((x + jnp.sum(x) - (x.size + 1))[:-1], jnp.prod(x) - 1)


def mesh(n):
    return ladder(n) / (n + 1)


def discrete_boundary_value(x):
    n = x.size
    padded = jnp.pad(x, 1)
    return 2 * x - padded[:-2] - padded[2:] + (x + mesh(n) + 1) ** 3 / (2 * (n + 1) ** 2)


def discrete_integral_equation(x):
    n = x.size
    t = mesh(n)
    cubes = (x + t + 1) ** 3
    below = jnp.tril(jnp.ones((n, n))) @ (t * cubes)
    above = jnp.triu(jnp.ones((n, n)), 1) @ ((1 - t) * cubes)
    return x + ((1 - t) * below + t * above) / (2 * (n + 1))


def broyden_tridiagonal(x):
    padded = jnp.pad(x, 1)
    return (3 - 2 * x) * x - padded[:-2] - 2 * padded[2:] + 1


def broyden_banded(x):
    i, j = np.indices((x.size, x.size))
    band = jnp.asarray((i != j) & (j >= i - 5) & (j <= i + 1), x.dtype)
    return x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x))


def linear_full_rank(x):
    m = 2 * x.size
    return jnp.pad(x, (0, m - x.size)) - 2 / m * jnp.sum(x) - 1


def linear_rank_1(x):
    return ladder(2 * x.size) * jnp.sum(ladder(x.size) * x) - 1


def linear_rank_1_with_zeros(x):
    m = 2 * x.size
    inner = jnp.sum((ladder(x.size) * x)[1:-1])
    return jnp.pad(ladder(m - 2) * inner, 1) - 1


def chebyquad(x):
    n = x.size
    shifted = 2 * x - 1
    polynomials = [jnp.ones_like(x), shifted]
    for _ in range(n - 1):
        polynomials.append(2 * shifted * polynomials[-1] - polynomials[-2])
    even = np.arange(1, n + 1) % 2 == 0
    integrals = np.where(even, -1 / (np.arange(1.0, n + 1) ** 2 - 1 + ~even), 0.0)
    return jnp.mean(jnp.stack(polynomials[1:]), axis=1) - integrals


def problem(residual, start, *minima):
    return Problem(residual, np.asarray(start, float), minima)


PROBLEMS = {
    "rosenbrock": problem(rosenbrock, [-1.2, 1], 0),
    "freudenstein-roth": problem(freudenstein_roth, [0.5, -2], 0, 48.98425367924),
    "powell badly scaled": problem(powell_badly_scaled, [0, 1], 0),
    "brown badly scaled": problem(brown_badly_scaled, [1, 1], 0),
    "beale": problem(beale, [1, 1], 0),
    "jennrich-sampson": problem(jennrich_sampson, [0.3, 0.4], 124.3621823556),
    "helical valley": problem(helical_valley, [-1, 0, 0], 0),
    "bard": problem(bard, [1, 1, 1], 8.214877306578e-3, 17.42869333),
    "gaussian": problem(gaussian, [0.4, 1, 0], 1.127932769618e-8),
    "meyer": problem(meyer, [0.02, 4000, 250], 87.94585517),
    "gulf": problem(gulf, [5, 2.5, 0.15], 0),
    "box": problem(box, [0, 10, 20], 0),
    "powell singular": problem(powell_singular, [3, -1, 0, 1], 0),
    "wood": problem(wood, [-3, -1, -3, -1], 0),
    "kowalik-osborne": problem(kowalik_osborne, [0.25, 0.39, 0.415, 0.39], 3.075056038492e-4, 1.02734e-3, 4.23675e-4),
    "brown-dennis": problem(brown_dennis, [25, 5, -5, -1], 85822.20162635),
    "osborne 1": problem(osborne_1, [0.5, 1.5, -1, 0.01, 0.02], 5.464894697e-5),
    "biggs": problem(biggs, [1, 2, 1, 1, 1, 1], 5.65564992e-3, 0),
    "osborne 2": problem(osborne_2, [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5], 4.013773629e-2, 1.78981),
    "watson 6": problem(watson, np.zeros(6), 2.287670053552e-3),
    "watson 9": problem(watson, np.zeros(9), 1.399760138e-6),
    "watson 12": problem(watson, np.zeros(12), 4.72238e-10),
    "extended rosenbrock": problem(extended_rosenbrock, [-1.2, 1] * 5, 0),
    "extended powell singular": problem(extended_powell_singular, [3, -1, 0, 1] * 3, 0),
    "penalty 1": problem(penalty_1, [1, 2, 3, 4], 2.249977500e-5),
    "penalty 2": problem(penalty_2, [0.5] * 4, 9.376293e-6),
    "variably dimensioned": problem(variably_dimensioned, 1 - np.arange(1, 11) / 10, 0),
    "trigonometric": problem(trigonometric, [0.1] * 10, 2.795056e-5, 0),
    "brown almost-linear": problem(brown_almost_linear, [0.5] * 10, 0, 1),
    "discrete boundary value": problem(discrete_boundary_value, np.arange(1, 11) / 11 * (np.arange(1, 11) / 11 - 1), 0),
    "discrete integral equation": problem(
        discrete_integral_equation, np.arange(1, 11) / 11 * (np.arange(1, 11) / 11 - 1), 0
    ),
    "broyden tridiagonal": problem(broyden_tridiagonal, [-1] * 10, 0),
    "broyden banded": problem(broyden_banded, [-1] * 10, 0),
    "linear full rank": problem(linear_full_rank, [1] * 10, 10),
    "linear rank 1": problem(linear_rank_1, [1] * 10, 20 * 19 / (2 * 41)),
    "linear rank 1 with zeros": problem(linear_rank_1_with_zeros, [1] * 10, (400 + 60 - 6) / (2 * 37)),
    "chebyquad 8": problem(chebyquad, np.arange(1, 9) / 9, 3.516873725678e-3),
    "chebyquad 9": problem(chebyquad, np.arange(1, 10) / 10, 0),
    "chebyquad 10": problem(chebyquad, np.arange(1, 11) / 11, 6.50395e-3, 4.77272e-3, 9.50063e-3),
}
