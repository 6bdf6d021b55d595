"""`Dense` for samples in columns."""

from jaxtyping import Array, Float

from ...flatten import Parameters
from ...kernels import affine_on_columns
from .._columns import is_elementwise, register_on_columns
from ._dense import Dense


def columns_of_dense(layer: Dense) -> tuple[int, int] | None:
    """The sizes, if the activation is known to act on each number alone."""
    return (layer.in_features, layer.out_features) if is_elementwise(layer.activation) else None


def dense_on_columns(layer: Dense, x: Float[Array, "in samples"], ps: Parameters) -> Float[Array, "out samples"]:
    """`Dense.__call__` with the samples in columns."""
    y = affine_on_columns(x, ps.weight, ps.bias if layer.use_bias else None)
    return y if layer.activation is None else layer.activation(y)


register_on_columns(Dense.__call__, columns_of_dense, dense_on_columns)
