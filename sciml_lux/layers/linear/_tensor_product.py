"""Sums of products of functions of one variable each."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array, Float, Key

from ..._errors import LayerError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import product
from .._checks import check_last_axis, check_sizes
from .._starts import DEFAULT_WEIGHT
from .bases import AbstractBasis


class TensorProductLayer(AbstractLayer):
    """A sum of products of basis functions: `y_o = sum_{i,j,...} weight_{i,j,...,o} a_i(x_1) b_j(x_2) ...`.

        lux.TensorProductLayer((lux.bases.Chebyshev(5), lux.bases.Fourier(7, period=1.0)), 2)    # x of shape (..., 2)

    **Arguments:** `bases`: one for each input, of `lux.bases` or of one's own; `out_features`; `init_weight`: called with the
    shape `(number of products, out_features)`; by default uniform within `1 / sqrt(number of products)`, as for `Dense`.

    **Call:** `x` of shape `(..., len(bases))` gives `(..., out_features)`.

    **Parameters:** `weight` `(bases[0].number, bases[1].number, ..., out_features)`. **States:** none.

    **Errors:** `LayerError` for something else than bases; `ShapeError` for another last axis.
    """

    bases: tuple[AbstractBasis, ...]
    out_features: int
    init_weight: Callable[..., Any] = DEFAULT_WEIGHT

    def __post_init__(self) -> None:
        bases: Any = self.bases
        if not isinstance(bases, tuple) or not bases or not all(isinstance(basis, AbstractBasis) for basis in bases):
            raise LayerError(
                f"TensorProductLayer: bases is a tuple such as (lux.bases.Chebyshev(5),), one for each input, got {bases!r}"
            )
        check_sizes(self, out_features=self.out_features)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        numbers = tuple(basis.number for basis in self.bases)
        weight = self.init_weight(key, (math.prod(numbers), self.out_features))
        return {"weight": weight.reshape(*numbers, self.out_features)}

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        check_last_axis(self, x, len(self.bases))
        factors = [basis(x[..., i]) for i, basis in enumerate(self.bases)]
        return combined(factors, ps.weight), st


def combined(factors: Sequence[Float[Array, "..."]], weight: Float[Array, "..."]) -> Float[Array, "... out"]:
    """The products of one entry of each factor `(..., n_i)`, in the order of rows, times `weight` `(n_1, n_2, ..., out)`."""
    products, *rest = factors
    for factor in rest:
        number = products.shape[-1] * factor.shape[-1]
        products = (products[..., :, None] * factor[..., None, :]).reshape(*factor.shape[:-1], number)
    return product(products, weight.reshape(products.shape[-1], weight.shape[-1]))
