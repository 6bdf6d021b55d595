"""What `terms` is in the function of a `HybridODE`: its layers by name, each with its parameters and its state."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state

from ..._errors import LayerError, PathError, unknown_name
from ...core import AbstractLayer, State
from ...flatten import Params


class Terms:
    """Layers by name, for one evaluation: `terms.network(x)`, `terms.rates.growth`. Gathers the layers' new states."""

    __slots__ = ("_layers", "_params", "_states", "_trace")

    def __init__(self, layers: Mapping[str, AbstractLayer], params: Params, state: State) -> None:
        self._layers, self._params, self._trace = layers, params, get_opaque_trace_state()
        self._states: dict[str, State] = {name: state[name] for name in layers}

    def __getattr__(self, name: str) -> "Term":
        if name.startswith("_"):  # Python and JAX ask any object for such
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> "Term":
        if name not in self._layers:
            raise PathError(unknown_name("layer", name, self._layers))
        return Term(self, name)


class Term:
    """One layer of a `HybridODE`: called on its input alone; its parameters are attributes, or items."""

    __slots__ = ("_name", "_terms")

    def __init__(self, terms: Terms, name: str) -> None:
        self._terms, self._name = terms, name

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        terms, name = self._terms, self._name
        y, new = terms._layers[name](x, terms._params[name], terms._states[name], *args, **kwargs)
        _record(terms, name, new)
        return y

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        params: Params = self._terms._params[self._name]
        return params[name]


def _record(terms: Terms, name: str, new: State) -> None:
    old = terms._states[name]
    if all(a is b for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)):
        return
    if get_opaque_trace_state() != terms._trace:
        raise LayerError(
            f"terms.{name} changes its state inside a transformation within the function (jax.vmap, lax.scan, jax.grad, ...), where the "
            "change would be lost; let a layer do the transformation, or call the layer on a whole batch"
        )
    terms._states[name] = new


def apply(function: Callable[..., Any] | AbstractLayer, name: str, x: Any, terms: Terms) -> Any:
    """What a layer called `name`, or a function of `x` and `terms`, makes of `x`."""
    return getattr(terms, name)(x) if isinstance(function, AbstractLayer) else function(x, terms)
