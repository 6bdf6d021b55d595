"""`from_torch` and `to_torch`: a whole model, layer by layer in order."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import LayerError, LayoutError, ShapeError
from ...core import AbstractLayer, State, as_params, as_state, check_layer, setup
from ...flatten import FlatParams, NamedTree, as_array
from ._port import Port
from ._walk import Place, ported_layers

# Counters that PyTorch keeps and nothing here needs.
_UNUSED = ("num_batches_tracked",)


def from_torch(state_dict: Mapping[str, Any], layer: AbstractLayer, dtype: Any = None) -> tuple[FlatParams, State]:
    """Parameters and state of `layer` out of a PyTorch model's `state_dict()`.

        ps, st = lux.tools.from_torch(torch_model.state_dict(), lux.Chain(lux.Dense(4, 8, jnp.tanh), lux.Dense(8, 2)))

    Layers that hold arrays are taken in the order in which both sides list them, so that names need not agree: PyTorch counts
    activations (`0.weight`, `2.weight`), a `Chain` does not. Axes are permuted to ours. An untied `Repeated` is as many layers in a row,
    a tied one is one; the parameters of a `Frozen` layer go into the state; layers that share parameters take equal tensors.

    PyTorch's channels come first, ours last, so that a `Flatten` after convolutions orders the features otherwise: for the
    `Linear` that follows, put `lambda x: jnp.moveaxis(x, -1, -3)` (in two dimensions) before `Flatten(3)`.

    **Arguments:** `state_dict`: tensors, or arrays, by name; PyTorch itself is not imported. `layer`; `dtype`: of the
    parameters, as in `setup`, to which the numbers are rounded.

    **Returns:** `(ps, st)`, running statistics included; random keys in the state start from `jax.random.key(0)`.

    **Errors:** `LayerError` for a layer with parameters that PyTorch has no counterpart of, for tensors that are missing or left
    over, and for numbers that a constraint or a tie cannot hold; `ShapeError` for another shape. All name the path and the tensor.
    """
    check_layer(layer)
    tensors = _tensors("from_torch", state_dict)
    ps, st = setup(jax.random.key(0), layer, dtype)
    params, states = _Arrays(ps.params), _Arrays(st)
    for ours, theirs in _pairs("from_torch", layer, tensors, params, states):
        ours[...] = as_array(theirs, ours.dtype, "from_torch")
    try:
        return ps.replace(ps.layout.ravel(params.tree())), states.tree()
    except LayoutError as error:
        raise LayerError(f"from_torch: a tensor has numbers that the parameters cannot hold: {error}") from None


def to_torch(ps: Any, st: Any, layer: AbstractLayer, names: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What `torch_model.load_state_dict` takes, as NumPy arrays by name: the way back of `from_torch`.

        arrays = lux.tools.to_torch(ps, st, layer, torch_model.state_dict())
        torch_model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})

    **Arguments:** `ps`, `st`, `layer`; `names`: a `state_dict` of the model to be filled, which gives names, order and dtypes; entries
    that have no counterpart here (`num_batches_tracked`) come back as they are.

    **Errors:** as `from_torch`.
    """
    check_layer(layer)
    arrays = {name: array.copy() for name, array in _tensors("to_torch", names, unused=True).items()}
    used = {name: array for name, array in arrays.items() if not name.endswith(_UNUSED)}
    for ours, theirs in _pairs("to_torch", layer, used, _Arrays(as_params(ps)), _Arrays(as_state(st))):
        theirs[...] = ours
    return arrays


class _Arrays:
    """The arrays of a tree by path, as arrays of NumPy that can be written into."""

    def __init__(self, tree: NamedTree) -> None:
        self._tree = tree
        self._arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, path: str) -> np.ndarray:
        if path not in self._arrays:
            self._arrays[path] = np.array(self._tree[path])
        return self._arrays[path]

    def tree(self) -> Any:
        """The tree with what was written."""
        tree = self._tree
        for path, array in self._arrays.items():
            tree = tree.set(path, jnp.asarray(array))
        return tree


def _pairs(
    verb: str, layer: AbstractLayer, tensors: Mapping[str, np.ndarray], params: _Arrays, states: _Arrays
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each of our arrays with the tensor of its numbers, both as views in our order of axes."""
    remaining = dict(tensors)
    for place, leaf, ports in ported_layers(layer, Place()):
        prefix = _prefix(verb, place, leaf, ports, remaining)
        for port in ports:
            in_state, path = place.array(port)
            # With the ellipsis also what has no axes is a view, rather than a number.
            ours = (states if in_state else params)[path][(*place.index, ...)]
            theirs = remaining[prefix + port.torch]
            expected = port.tensor_shape(ours.shape)
            if theirs.shape != expected:
                raise ShapeError(
                    f"{verb}: {prefix}{port.torch} has the shape {theirs.shape}, expected {expected} of {type(leaf).__name__} "
                    f"at {place}, whose {port.ours} is {ours.shape}"
                )
            yield ours, port.view(theirs)
        for name in {port.torch for port in ports}:
            del remaining[prefix + name]
    if remaining:
        raise LayerError(
            f"{verb}: {', '.join(remaining)} left over, which no layer of {type(layer).__name__} takes. "
            "Both models must have the same layers, with the same options"
        )


def _prefix(
    verb: str, place: Place, layer: AbstractLayer, ports: tuple[Port, ...], remaining: Mapping[str, np.ndarray]
) -> str:
    """What stands before the layer's names in the `state_dict`: that of the first module not taken yet."""
    first = next(iter(remaining), "")
    wanted = list(dict.fromkeys(port.torch for port in ports))
    found = f"the next of the state_dict is {first}" if first else "no tensor of the state_dict is left"
    for name in wanted:
        if f".{first}".endswith(f".{name}"):
            prefix = first.removesuffix(name)
            missing = [prefix + name for name in wanted if prefix + name not in remaining]
            if not missing:
                return prefix
            found = f"the next of the state_dict is {first}, but there is no {', '.join(missing)}"
    raise LayerError(
        f"{verb}: {type(layer).__name__} at {place} takes tensors called {', '.join(wanted)}; {found}. "
        "Both models must list the same layers, with the same options, in the same order"
    )


def _tensors(verb: str, state_dict: Any, unused: bool = False) -> dict[str, np.ndarray]:
    """The tensors as arrays, those that nothing here needs only if `unused`."""
    if not isinstance(state_dict, Mapping):
        hint = ", write model.state_dict()" if hasattr(state_dict, "state_dict") else ""
        raise LayerError(f"{verb} takes a mapping of names to tensors, got {type(state_dict).__name__}{hint}")
    return {name: _as_array(value) for name, value in state_dict.items() if unused or not name.endswith(_UNUSED)}


def _as_array(tensor: Any) -> np.ndarray:
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    try:
        return tensor.numpy()
    except TypeError:  # bfloat16, which NumPy lacks and float32 contains
        return tensor.float().numpy()
