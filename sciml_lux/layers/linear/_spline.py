"""Functions given by their values at knots."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..._errors import LayerError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from .. import init
from .._checks import check_choice, check_last_axis, check_sizes
from ._tensor_product import combined


class SplineLayer(AbstractLayer):
    """A function of one or a few variables through learned values at knots.

        lux.SplineLayer(np.linspace(0.0, 10.0, 21), 1)                                     # a forcing u(t), x of shape (..., 1)
        lux.SplineLayer((np.linspace(0.0, 1.0, 5), np.linspace(-1.0, 1.0, 9)), 3)          # a grid, x of shape (..., 2)

    Between the knots, by `degree`: 0: the value of the knot before (steps); 1: straight lines; 3: the natural cubic spline, twice
    continuously differentiable, with second derivative 0 at the ends. On a grid, the same along each axis in turn. Each
    value counts linearly, so that the fit of the values to data is linear too; a call costs as many products as there are knots.

    **Arguments:** `knots`: increasing numbers, or a tuple of such, one for each input; arrays and lists become tuples of numbers;
    `out_features`; `degree`: 0, 1 or 3; `extrapolation`, outside the knots: `"constant"` keeps the value at the end, `"linear"`
    goes on with the value and the slope there (as a natural cubic spline does), `"nan"` gives NaN; `init_weight`: called with the shape
    of the values, zeros by default.

    **Call:** `x` of shape `(..., number of axes of the grid)` gives `(..., out_features)`.

    **Parameters:** `weight` `(number of knots, ..., out_features)`, the values at the knots. **States:** none.

    **Errors:** `LayerError` for knots that do not increase or are too few; `ShapeError` for another last axis.
    """

    knots: tuple[tuple[float, ...], ...] | Any
    out_features: int
    degree: int = 3
    extrapolation: str = "constant"
    init_weight: Callable[..., Any] = init.zeros()

    def __post_init__(self) -> None:
        object.__setattr__(self, "knots", _as_knots(self.knots))
        check_sizes(self, out_features=self.out_features)
        check_choice(self, (0, 1, 3), degree=self.degree)
        check_choice(self, ("constant", "linear", "nan"), extrapolation=self.extrapolation)
        if min(map(len, self.knots)) < min(2, self.degree + 1):
            raise LayerError(f"SplineLayer: degree {self.degree} takes at least two knots an axis, got {self.knots}")

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {"weight": self.init_weight(key, (*map(len, self.knots), self.out_features))}

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        check_last_axis(self, x, len(self.knots))
        exact = widened(x)  # knots may be one number in bfloat16
        factors = [self._weights(knots, exact[..., i]).astype(x.dtype) for i, knots in enumerate(self.knots)]
        return combined(factors, ps.weight), st

    def _weights(self, knots: tuple[float, ...], x: Float[Array, "..."]) -> Float[Array, "... n"]:
        inside = jnp.clip(x, knots[0], knots[-1])
        if self.extrapolation == "linear":
            weights = functools.partial(_weights_inside, knots, self.degree)
            value, change = jax.jvp(weights, (inside,), (x - inside,))
            return value + change
        value = _weights_inside(knots, self.degree, inside)
        if self.extrapolation == "nan":
            return value * jnp.where(x == inside, 1.0, jnp.nan)[..., None].astype(
                x.dtype
            )  # a product, so that derivatives are NaN too
        return value


def _weights_inside(knots: tuple[float, ...], degree: int, x: Float[Array, "..."]) -> Float[Array, "... n"]:
    """How much the value at each knot counts at `x`, which is not outside the knots."""
    number = len(knots)
    points = jnp.asarray(knots, x.dtype)
    before = jnp.sum((x[..., None] >= points[(None,) * x.ndim]).astype(jnp.int32), axis=-1) - 1
    if degree == 0 or number == 1:
        steps = jax.nn.one_hot(before, number, dtype=x.dtype)
        return jnp.where(jnp.isnan(x)[..., None], jnp.nan, steps)
    left = jnp.clip(before, 0, number - 2)
    width = points[left + 1] - points[left]
    u = (x - points[left]) / width
    ends = [jax.nn.one_hot(left + i, number, dtype=x.dtype) for i in (0, 1)]
    lines = (1 - u)[..., None] * ends[0] + u[..., None] * ends[1]
    if degree == 1:
        return lines
    bends = jnp.asarray(_second_derivatives(knots), x.dtype)
    cubics = [(width**2 / 6 * (v**3 - v))[..., None] * bends[left + i] for i, v in ((0, 1 - u), (1, u))]
    return lines + cubics[0] + cubics[1]


@functools.lru_cache(maxsize=256)
def _second_derivatives(knots: tuple[float, ...]) -> np.ndarray:
    """The matrix from the values at the knots to the second derivatives of the natural cubic spline there."""
    number, widths = len(knots), np.diff(knots)
    system, slopes = np.eye(number), np.zeros((number, number))
    for i in range(1, number - 1):
        h, k = widths[i - 1], widths[i]
        # The first derivatives of both neighbours agree at knot i.
        system[i, i - 1 : i + 2] = h / 6, (h + k) / 3, k / 6
        slopes[i, i - 1 : i + 2] = 1 / h, -1 / h - 1 / k, 1 / k
    return np.linalg.solve(system, slopes)


def _as_knots(given: Any) -> tuple[tuple[float, ...], ...]:
    try:
        axes = () if isinstance(given, str) else tuple(given)
        if axes and all(np.ndim(axis) == 0 for axis in axes):
            axes = (axes,)
        knots = tuple(tuple(float(number) for number in axis) for axis in axes)
    except (TypeError, ValueError):
        knots = ()
    increasing = all(a < b for axis in knots for a, b in itertools.pairwise(axis))
    if not knots or not all(knots) or not increasing or not all(math.isfinite(n) for axis in knots for n in axis):
        raise LayerError(
            f"SplineLayer: knots are increasing numbers such as np.linspace(0.0, 1.0, 5), or a tuple of such, got {given!r}"
        )
    return knots
