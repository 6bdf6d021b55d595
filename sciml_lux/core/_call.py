"""What surrounds every layer's `__call__`: structured arguments in, a checked result out, the layer's path on every error."""

import functools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from .._errors import LayerError
from ..flatten import FlatParams, Params
from ..kernels import within_shard_map
from ._depth import explain_depth
from ._fits import check_parameters
from ._inputs import array_kind, as_input, kind_of
from ._observe import call_observed, child_name
from ._source import short
from ._state import State

# In place of parameters and a state that were left out, for an error that says how layers are called.
_MISSING: Any = object()
# Whether a layer is being called, so that the next call is one within it.
_inside: ContextVar[bool] = ContextVar("inside", default=False)


def as_params(ps: Any) -> Params:
    """The structured view of parameters, whether they come flat, structured or as a plain mapping."""
    if isinstance(ps, Params):
        return ps
    if isinstance(ps, FlatParams):
        return ps.params
    if isinstance(ps, Mapping) and not isinstance(ps, State):
        return Params(ps)
    raise LayerError(
        f"parameters are a FlatParams or a Params, got {_what(ps)}; write layer(x, ps, st) with ps, st = lux.setup(key, layer)"
    )


def as_state(st: Any) -> State:
    """State as a `State`, also when it comes as a plain mapping."""
    if isinstance(st, State):
        return st
    if isinstance(st, Mapping) and not isinstance(st, Params | FlatParams):
        return State(st)
    raise LayerError(f"state is a State, got {_what(st)}; write layer(x, ps, st) with ps, st = lux.setup(key, layer)")


def _what(value: Any) -> str:
    return "nothing" if value is _MISSING else kind_of(value)


# For the `__call__` of a class what gives the same, faster. A subclass with a `__call__` of its own has another.
_FAST_CALLS: dict[Callable[..., Any], Callable[..., Any]] = {}


def register_fast_call(call: Callable[..., Any], fast: Callable[..., Any]) -> None:
    """Declares that `fast(layer, x, ps, st)` gives what `call`, the `__call__` of a class, gives, and is to run in its place."""
    _FAST_CALLS[call] = fast


def checked_call(call: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a layer's `__call__`: see the module. Costs nothing in a compiled program."""
    kind = array_kind(call)

    def checked(self: Any, x: Any, ps: Params, st: State, *args: Any, **kwargs: Any) -> tuple[Any, State]:
        return _check_output(self, _FAST_CALLS.get(wrapper, call)(self, x, ps, st, *args, **kwargs), st)

    @functools.wraps(call)
    def wrapper(
        self: Any, x: Any, ps: Any = _MISSING, st: Any = _MISSING, *args: Any, **kwargs: Any
    ) -> tuple[Any, State]:
        inside = _inside.get()
        token = _inside.set(True)
        try:
            # The vector's own leading axes are a batch; those of arrays by hand are what all of them have in common.
            batch = ps.vector.shape[:-1] if isinstance(ps, FlatParams) else None
            ps, st = as_params(ps), as_state(st)
            # A subclass may hand other parameters to the call of its base, edited ones or a part of its own; and a layer may hand
            # all of its own to one within it that takes a part.
            if type(self).__call__ is wrapper:
                check_parameters(self, ps, batch, more=inside)
            x = x if kind is None else as_input(self, x, kind)
            return call_observed(self, checked, x, ps, st, *args, **kwargs)
        except RecursionError as error:
            if inside:
                raise
            raise explain_depth(error, self) from None
        except Exception as error:
            locate(error, self, ps)
            raise
        finally:
            _inside.reset(token)

    return wrapper


def _check_output(layer: Any, output: Any, st: State) -> tuple[Any, State]:
    name = type(layer).__name__
    if not isinstance(output, tuple) or len(output) != 2:
        raise LayerError(
            f"{name}.__call__ must return the result and the state, always both; got {type(output).__name__}. Write `return y, st`"
        )
    y, new = output
    if not isinstance(new, Mapping) or isinstance(new, Params | FlatParams):
        raise LayerError(
            f"{name}.__call__ must return `(y, st)` with the state second; got {type(new).__name__} there. Write `return y, st`"
        )
    if set(new) != set(st):
        raise LayerError(
            f"{name}.__call__ returned a state with the keys {sorted(new)}, expected those it was given, {sorted(st)}. "
            "Write `return y, st`, or `return y, st.set(name, value)`; new entries belong in initial_states"
        )
    return y, new if isinstance(new, State) and list(new) == list(st) else State({key: new[key] for key in st})


# Where an error happened. Each layer that an exception passes through prepends the name by which it called the layer below.


# What JAX, and optimistix, say of a loop whose carry begins the same on all devices and does not stay so.
_OF_A_LOOP = ("manual axis types do not match", "`fixed_point_fn` must have the same structure")
_ON_DEVICES = (
    "a loop within this layer does not say along which axes of the mesh its values vary; "
    "write jax.shard_map(..., check_vma=False), and add up gradients over the devices by jax.lax.psum"
)


def locate(error: Exception, layer: Any, ps: Any) -> None:
    """Notes on `error` the path of the layer that raised it, as seen from `layer`; called by each layer on the way out."""
    origin, path, inner, inner_ps = getattr(error, "_lux_origin", (layer, "", None, None))
    if inner is not None and (name := child_name(layer, ps, inner, inner_ps)):
        path = f"{name}.{path}" if path else name
    note = f"in layer {path or '(the top)'}: {short(origin)}"
    notes = [old for old in getattr(error, "__notes__", []) if not old.startswith(("in layer ", _ON_DEVICES))]
    if within_shard_map() and any(words in str(error) for words in _OF_A_LOOP):
        notes.append(_ON_DEVICES)
    error.__notes__ = [*notes, note]
    error._lux_origin = (origin, path, layer, ps)  # type: ignore[attr-defined]
