"""`from_torch` and `to_torch`: a whole model, layer by layer in order."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ...core import AbstractContainer, AbstractLayer, State, as_params, as_state, check_layer, setup
from ...flatten import FlatParams, LayerError, ShapeError
from ._port import Port
from ._ports import ports_of

# Counters that PyTorch keeps and nothing here needs.
_UNUSED = ("num_batches_tracked",)


def from_torch(state_dict: Mapping[str, Any], layer: AbstractLayer, dtype: Any = None) -> tuple[FlatParams, State]:
    """Parameters and state of `layer` out of a PyTorch model's `state_dict()`.

        ps, st = lux.from_torch(torch_model.state_dict(), lux.Chain(lux.Dense(4, 8, jnp.tanh), lux.Dense(8, 2)))

    Layers that hold arrays are taken in order on both sides, so that names need not agree: PyTorch counts activations
    (`0.weight`, `2.weight`), a `Chain` does not. Axes are permuted to ours.

    **Arguments:** `state_dict`: tensors, or arrays, by name; PyTorch itself is not imported. `layer`; `dtype`: of the
    parameters, as in `setup`.

    **Returns:** `(ps, st)`, running statistics included; random keys in the state start from `jax.random.key(0)`.

    **Errors:** `LayerError` for a layer with parameters that PyTorch has no counterpart of, and for tensors that are missing or left
    over; `ShapeError` for another shape. Both name the layer's path and the tensor.
    """
    check_layer(layer)
    ps, st = setup(jax.random.key(0), layer, dtype)
    remaining = {name: _as_array(value) for name, value in state_dict.items() if not name.endswith(_UNUSED)}
    params = ps.params
    for path, leaf, ports in _ported(layer):
        prefix = _prefix(path, leaf, ports, remaining)
        for port in ports:
            tensor, where = remaining[prefix + port.torch], f"{path}.{port.ours}" if path else port.ours
            old = (st if port.state else params)[where]
            new = _checked(port, tensor, np.shape(old), where, prefix + port.torch)
            new = jax.numpy.asarray(new, old.dtype)
            if port.state:
                st = st.set(where, new)
            else:
                params = params.set(where, new)
        for port in ports:
            remaining.pop(prefix + port.torch, None)
    if remaining:
        raise LayerError(f"from_torch: no layer of {type(layer).__name__} takes {', '.join(remaining)}")
    return ps.replace(ps.layout.ravel(params)), st


def to_torch(ps: Any, st: Any, layer: AbstractLayer, names: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What `torch_model.load_state_dict` takes, as NumPy arrays by name: the way back of `from_torch`.

        arrays = lux.to_torch(ps, st, layer, torch_model.state_dict())
        torch_model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})

    **Arguments:** `ps`, `st`, `layer`; `names`: a `state_dict` of the model to be filled, which gives names and order; entries
    that have no counterpart here (`num_batches_tracked`) come back as they are.

    **Errors:** as `from_torch`.
    """
    check_layer(layer)
    params, st = as_params(ps), as_state(st)
    filled = {name: _as_array(value).copy() for name, value in names.items()}
    remaining = {name: value for name, value in filled.items() if not name.endswith(_UNUSED)}
    for path, leaf, ports in _ported(layer):
        prefix = _prefix(path, leaf, ports, remaining)
        for port in ports:
            where, name = f"{path}.{port.ours}" if path else port.ours, prefix + port.torch
            array = port.to_torch(np.asarray((st if port.state else params)[where]))
            index, number = port.part
            target = np.split(filled[name], number)[index] if number > 1 else filled[name]
            if target.shape != array.shape:
                raise ShapeError(
                    f"to_torch: {where} is {array.shape} in PyTorch's order of axes, but {name} is {target.shape}"
                )
            target[...] = array
        for port in ports:
            remaining.pop(prefix + port.torch, None)
    if remaining:
        raise LayerError(f"to_torch: no layer of {type(layer).__name__} fills {', '.join(remaining)}")
    return filled


def _ported(layer: AbstractLayer, path: str = "") -> Iterator[tuple[str, AbstractLayer, tuple[Port, ...]]]:
    """The layers that hold arrays, in order, with their paths and ports."""
    ports = ports_of(layer)
    if ports is not None:
        if ports:  # a layer may hold nothing, by its options
            yield path, layer, ports
    elif isinstance(layer, AbstractContainer):
        for name, child in layer.children().items():
            yield from _ported(child, f"{path}.{name}" if path else name)
    elif len(layer.initial_parameters(jax.random.key(0))):
        raise LayerError(
            f"PyTorch has no counterpart of {type(layer).__name__}, at {path or 'the top'}; name its tensors with "
            f"lux.layers.porting.register_torch_ports({type(layer).__name__}, ...)"
        )


def _prefix(path: str, layer: AbstractLayer, ports: tuple[Port, ...], remaining: Mapping[str, Any]) -> str:
    """What stands before the layer's names in the `state_dict`: that of the first module not taken yet."""
    first = next(iter(remaining), "")
    wanted = [port.torch for port in ports]
    for name in wanted:
        prefix = first.removesuffix(name)
        if (
            prefix != first
            and (not prefix or prefix.endswith("."))
            and all(prefix + name in remaining for name in wanted)
        ):
            return prefix
    raise LayerError(
        f"{type(layer).__name__} at {path or 'the top'} takes tensors called {', '.join(wanted)}; the next in the "
        f"state_dict is {first or 'none, as all are taken'}. Both models must list their layers in the same order"
    )


def _as_array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)


def _checked(port: Port, tensor: np.ndarray, shape: tuple[int, ...], ours: str, name: str) -> np.ndarray:
    fits = tensor.ndim == len(port.axes or shape) and tensor.shape[:1] and tensor.shape[0] % port.part[1] == 0
    array = port.to_ours(tensor) if fits or tensor.ndim == 0 else tensor
    if array.shape != shape:
        raise ShapeError(
            f"from_torch: {name} has the shape {tensor.shape}, which is {array.shape} here, but {ours} has {shape}"
        )
    return array
