"""B-splines on equally spaced knots."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...._errors import LayerError
from ._basis import AbstractBasis, check_domain, check_number_of_functions


@dataclass(frozen=True, repr=False)
class BSpline(AbstractBasis):
    """B-splines: piecewise polynomials, of which at most `degree + 1` differ from 0 at a point, positive, with the sum 1.

    The knots are equally spaced from `lower` to `upper`, both ends repeated `degree + 1` times (clamped), so that the first function
    is 1 at `lower`, and the last at `upper`. Outside, all are 0, and so are their derivatives. Evaluated by the recurrence of Cox
    and de Boor, which adds positive numbers only.

    **Arguments:** `number` of functions, more than `degree`; `degree`: 3 (cubic, twice continuously differentiable) by default; `lower`,
    `upper`.
    """

    number: int
    degree: int = 3
    lower: float = -1.0
    upper: float = 1.0

    def __post_init__(self) -> None:
        degree: object = self.degree
        if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
            raise LayerError(f"bases.BSpline: degree is a whole number, 0 or more, got {degree!r}")
        check_number_of_functions(self, least=degree + 1)
        check_domain(self, self.lower, self.upper)

    @property
    def knots(self) -> np.ndarray:
        """All knots, the repeated ones included: `number + degree + 1` of them."""
        inner = np.linspace(self.lower, self.upper, self.number - self.degree + 1)
        return np.concatenate([[self.lower] * self.degree, inner, [self.upper] * self.degree])

    def evaluate(self, x: Float[Array, "..."]) -> Float[Array, "... number"]:
        """The B-splines at `x`."""
        knots = self.knots
        here = x[..., None]

        def constant(values: np.ndarray) -> Float[Array, "... n"]:
            return jnp.asarray(values, x.dtype)[(None,) * x.ndim]

        # Which interval; the last one includes its right end.
        ends = np.where(knots[1:] == self.upper, np.inf, knots[1:])
        inside = (here >= constant(knots[:-1])) & (here < constant(ends)) & (here <= self.upper)
        inside = inside & jnp.asarray(knots[:-1] < knots[1:])[(None,) * x.ndim]
        values = jnp.where(jnp.isnan(here), here, inside.astype(x.dtype))
        for k in range(1, self.degree + 1):
            width = knots[k:] - knots[:-k]
            slope = constant(np.divide(1.0, width, out=np.zeros_like(width), where=width > 0))  # 0 / 0 counts as 0
            rising = (here - constant(knots[: -k - 1])) * slope[..., :-1]
            falling = (constant(knots[k + 1 :]) - here) * slope[..., 1:]
            values = rising * values[..., :-1] + falling * values[..., 1:]
        return values
