"""`WeightNorm`, and what it shares with `SpectralNorm`."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from ..._errors import LayerError, PathError, unknown_name
from ...core import AbstractContainer, AbstractLayer, State, declared_layout
from ...flatten import ArraySpec, Parameters, Params, Real
from ...kernels import inverse_unit, widened
from .._checks import check_is_layer


class WeightNorm(AbstractContainer):
    """A layer whose weights are stored as direction and magnitude, `weight = magnitude * direction / |direction|`.

    The norm is taken over all axes but the last, so that each output has a magnitude of its own: PyTorch's `dim=0` for its linear
    layers and convolutions (`dim=1` for transposed ones). The start is that of the layer: `|direction| = magnitude`.

    **Arguments:** `layer`: any layer; `names`: paths of its parameters to normalize, such as `("weight",)` (the default) or
    `("layer_0.weight", "layer_1.weight")`.

    **Call:** as `layer`.

    **Parameters:** `layer`: those of the layer, in which each named weight, of shape `(..., out)`, is split into
    `direction` `(..., out)` and `magnitude` `(1, ..., out)`. **States:** `layer`.

    **Errors:** `LayerError` for something that is no layer, no tuple of names, or a parameter stored by a ravel map of its own;
    `PathError` for a name that the layer does not have. A direction of zeros stands for a weight of
    zeros, which no gradient leads away from.

    **Source:** Salimans and Kingma 2016, Weight Normalization.
    """

    layer: AbstractLayer
    names: tuple[str, ...] = ("weight",)

    def __post_init__(self) -> None:
        check_named(self, 1)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        params: Any = super().initial_parameters(key)["layer"]
        for name in self.names:
            weight = named_value(params, name)
            _, norms, per_unit = _norms(weight)
            params = params.set(name, Params(direction=weight, magnitude=(norms / per_unit).astype(weight.dtype)))
        return {"layer": params}

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        params = ps.layer
        for name in self.names:
            direction, magnitude = params[name].direction, params[name].magnitude
            scaled, norms, _ = _norms(direction)
            scales = widened(magnitude) / jnp.where(norms > 0, norms, 1.0)
            params = params.set(name, (scaled * scales).astype(direction.dtype))
        y, state = self.layer(x, params, st.layer)
        return y, State(layer=state)


def _norms(weight: Float[Array, "... out"]) -> tuple[Float[Array, "... out"], ...]:
    """The weight in units of each output, the norms of its parts in these, and the inverses of the units; float32 at least.

    The norm is 0 where all is 0, with a derivative of 0.
    """
    axes = tuple(range(weight.ndim - 1))
    weight = widened(weight)
    per_unit, _ = inverse_unit(jnp.max(jnp.abs(lax.stop_gradient(weight)), axes, keepdims=True))
    scaled = weight * per_unit
    squares = jnp.sum(jnp.square(scaled), axes, keepdims=True)
    some = squares > 0
    return scaled, jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0), per_unit


def check_named(wrapper: Any, axes: int) -> None:
    """Raises an error unless `wrapper.names` are paths of weights of `wrapper.layer` with at least `axes` axes."""
    kind = type(wrapper).__name__
    check_is_layer(wrapper, layer=wrapper.layer)
    names = wrapper.names
    if not isinstance(names, tuple) or not names or not all(isinstance(name, str) for name in names):
        raise LayerError(f'{kind}: names is a tuple of paths, got {names!r}; write names=("weight",)')
    if len(set(names)) < len(names):
        raise LayerError(f"{kind}: names={names} has one of them twice")
    entries = {entry.path: entry for entry in declared_layout(wrapper.layer).entries}
    for name in names:
        if name not in entries:
            raise PathError(f"{kind}: {unknown_name('parameter', name, entries)}")
        entry = entries[name]
        if not isinstance(entry.spec, ArraySpec) or not isinstance(entry.ravel_map, Real):
            raise LayerError(f"{kind}: {name} is stored by {entry.ravel_map!r}; only plain arrays are normalized")
        if len(entry.shape) < axes:
            raise LayerError(
                f"{kind}: {name} has the shape {entry.shape}, expected {axes} or more axes, the last of outputs"
            )


def named_value(params: Params, name: str) -> Any:
    """A declared array, taken out of its declaration."""
    return jnp.asarray(getattr(params[name], "value", params[name]))
