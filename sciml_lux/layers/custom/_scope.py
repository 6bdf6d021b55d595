"""What `self` is within the function of a compact layer."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from ..._errors import LayerError, unknown_name
from ...core import AbstractLayer, State
from ...flatten import Parameters, Params
from ._declarations import state


class Scope:
    """Declarations by name, with their values for one call: `self.w` is an array, `self.encoder(x)` calls a layer.

    The new states are gathered in `_states`. A call that happens inside a transformation of its own (the body of a `lax.scan`, a
    function under `jax.vmap`) makes state that does not outlive it, and is refused unless it left the state as it was.
    """

    __slots__ = ("_declared", "_ps", "_states", "_title", "_trace")

    def __init__(self, title: str, declared: Mapping[str, Any], ps: Parameters, st: State) -> None:
        values = {
            "_title": title,
            "_declared": declared,
            "_ps": ps,
            "_states": dict(st),
            "_trace": get_opaque_trace_state(),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in self._declared:
            raise AttributeError(f"{self._title}: {unknown_name('declaration', name, self._declared)}")
        if isinstance(self._declared[name], AbstractLayer):
            return BoundLayer(self, name)
        for values in (self._states, self._ps):
            if name in values:
                return values[name]
        return self._declared[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(self._declared.get(name), state):
            raise LayerError(
                f"{self._title} cannot set self.{name}: only entries of the state change in a call; declare it as "
                f"{name}=lux.state(lux.init.zeros(), shape)"
            )
        old = self._states[name]
        if isinstance(value, bool | int | float | complex):
            value = jnp.asarray(value, old.dtype)
        _check_kind(self, name, value)
        _record(self, name, value)


class BoundLayer:
    """A sub-layer within the function of a compact layer: called on the input alone, it keeps track of the state.

    **Attributes:** `layer`; `ps`, `st`: its parameters, and its state so far.
    """

    __slots__ = ("_name", "_scope")

    def __init__(self, scope: Scope, name: str) -> None:
        self._scope, self._name = scope, name

    @property
    def layer(self) -> AbstractLayer:
        """The layer itself."""
        return self._scope._declared[self._name]

    @property
    def ps(self) -> Params:
        """Its parameters."""
        return self._scope._ps[self._name]

    @property
    def st(self) -> State:
        """Its state, as the last call left it. It may be set, to a state that was threaded by hand."""
        return self._scope._states[self._name]

    @st.setter
    def st(self, value: Any) -> None:
        _check_kind(self._scope, self._name, value)
        _record(self._scope, self._name, value)

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        y, st = self.layer(x, self.ps, self.st, *args, **kwargs)
        _record(self._scope, self._name, st)
        return y

    def __repr__(self) -> str:
        return f"{self._name} of {self._scope._title}: {self.layer!r}"


def _record(scope: Scope, name: str, new: Any) -> None:
    unchanged = same_leaves(scope._states[name], new)
    if not unchanged and get_opaque_trace_state() != scope._trace:
        raise LayerError(
            f"{scope._title} changes the state of self.{name} inside a transformation within its function (the body of lax.scan, "
            "a function under jax.vmap, jax.grad, jax.jit, ...), where it would be lost. Let a layer do the "
            "transformation (lux.Scan, lux.Repeated, lux.Recurrence), or thread the state by hand: "
            f"y, st = self.{name}.layer(x, self.{name}.ps, st), from st = self.{name}.st before to self.{name}.st = st after"
        )
    if not unchanged:
        scope._states[name] = new


def same_leaves(old: Any, new: Any) -> bool:
    """Whether two states are made of the very same arrays."""
    leaves, others = jax.tree.leaves(old), jax.tree.leaves(new)
    return jax.tree.structure(old) == jax.tree.structure(new) and all(
        a is b for a, b in zip(leaves, others, strict=True)
    )


def _check_kind(scope: Scope, name: str, value: Any) -> None:
    old = scope._states[name]
    if _kind(value) != _kind(old):
        raise LayerError(f"{scope._title} sets self.{name} to {_kind(value)}; the state keeps its kind, {_kind(old)}")


def _kind(value: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", value))
