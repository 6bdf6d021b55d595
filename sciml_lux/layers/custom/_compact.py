"""`compact`: a layer out of one function."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key

from ..._errors import LayerError
from ...core import AbstractContainer, AbstractLayer, State, Training, child_key, declared_parameters, declared_states
from ...flatten import Parameter, Parameters, check_name, complex_value, real
from ._declarations import hashable, parameter, start, state
from ._scope import Scope


class Compact(AbstractContainer):
    """What `compact` makes: a function of `self` and `x`, and what it finds in `self`.

    **Arguments:** `function`: called as `function(self, x)`, or another compact layer, whose function and declarations are
    taken where none are given: `Compact(net, encoder=lux.Dense(4, 16))`; `declarations`: as for `compact`.

    **Call:** `x` gives `function(self, x)`.

    **Parameters** and **states:** those declared, by name.

    **Errors:** `LayerError` for a function that does not take `self` and `x`, and for what cannot be declared; in a call, for a
    result with a state in it, and for state that would be lost in a transformation.
    """

    function: Callable[..., Any]
    declarations: tuple[tuple[str, Any], ...]

    def __init__(self, function: Any, /, **declarations: Any) -> None:
        if isinstance(function, Compact):
            declarations = {**dict(function.declarations), **declarations}
            function = function.function
        _check_function(function)
        title = _title(function)
        pairs = tuple(
            (_check_declared_name(title, name), _declared(title, name, v)) for name, v in declarations.items()
        )
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "declarations", pairs)

    def children(self) -> dict[str, AbstractLayer]:
        return {name: value for name, value in self.declarations if isinstance(value, AbstractLayer)}

    def with_children(self, children: Mapping[str, AbstractLayer]) -> AbstractContainer:
        """The same function with other layers under the same names."""
        if set(children) != set(self.children()):
            return super().with_children(children)  # which says why not
        return Compact(self, **children)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.function,), dict(self.declarations)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in self.declarations:
            if isinstance(value, AbstractLayer):
                made[name] = declared_parameters(value, child_key(key, name))
            elif isinstance(value, parameter):
                made[name] = value.draw(child_key(key, name))
            elif isinstance(value, Parameter):
                made[name] = start(value)
        return made

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in self.declarations:
            if isinstance(value, AbstractLayer):
                made[name] = declared_states(value, child_key(key, name))
            elif isinstance(value, state):
                made[name] = value.draw(child_key(key, name))
            elif isinstance(value, Training):
                made[name] = value
        return made

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        scope = Scope(_title(self.function), dict(self.declarations), ps, st)
        y = self.function(scope, x)
        if isinstance(y, tuple) and any(isinstance(part, State) for part in y):
            raise LayerError(f"{_title(self.function)} returns a state; return the result alone, the state is threaded")
        return y, State(scope._states)

    def __reduce__(self) -> Any:
        # The module has the layer under the function's name, where pickle expects the function.
        module, name = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", "")
        if _function_at(module, name) is self.function:
            return _found, (module, name, dict(self.declarations))
        return _rebuilt, (self.function, dict(self.declarations))


def compact(function: Callable[..., Any] | Compact | None = None, /, **declarations: Any) -> Any:
    """A layer out of one function of `self` and the input, which finds in `self` what is declared above it.

        @lux.compact(encoder=lux.Dense(4, 8, jnp.tanh), w=lux.parameter(lux.init.orthogonal(), (8, 8)), power=2)
        def net(self, x):
            return self.encoder(x) @ self.w ** self.power

        ps, st = lux.setup(jax.random.key(0), net)      # ps.encoder.weight, ps.encoder.bias, ps.w
        y, st = net(x, ps, st)

    **Declarations**, by name:

    - a layer is a sub-layer: `self.encoder(x)` returns its result, and its new state is kept; called twice, the second
      call continues from the state of the first. `self.encoder.ps` are its parameters.
    - `lux.parameter(initializer, shape)`, `lux.positive(0.5)` and its like, and floating-point arrays (of one axis or more, or
      of none) are parameters that start there: `self.w`.
    - `lux.state(initializer, shape)` and `lux.Training()` are entries of the state: `self.calls`, `self.calls = self.calls + 1`.
    - anything else that can be hashed (numbers, texts, tuples, functions) is an option: `self.power`.

    **Returns:** a `Compact`, a layer like any other; equal if function and declarations are. `lux.compact(net, encoder=...)`
    is the same layer with another encoder.

    **Errors:** `LayerError` as for `Compact`. To thread state by hand, write a class: `lux.AbstractContainer`.
    """
    if function is not None:
        return Compact(function, **declarations)
    return lambda function: Compact(function, **declarations)


def _check_function(function: Any) -> None:
    if not callable(function) or isinstance(function, AbstractLayer | type):
        raise LayerError(
            f"compact turns a function of self and x into a layer, got {function!r}; write @lux.compact(...) above a def"
        )
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise LayerError(
            f"compact: the function is called as {_title(function)}(self, x), got {_title(function)}{inspect.signature(function)}: {error}"
        ) from None


def _check_declared_name(title: str, name: str) -> str:
    if name.startswith("_"):
        raise LayerError(
            f"{title}: the declaration {name} begins with an underscore, which is kept for self's own; rename it"
        )
    return check_name(name)


def _declared(title: str, name: str, value: Any) -> Any:
    where = f"{title}: {name}"
    if isinstance(value, AbstractLayer | parameter | state | Training):
        return value
    if isinstance(value, Parameter):
        return hashable(value)
    if isinstance(value, Tracer):
        raise LayerError(f"{where} is a traced array; a layer is made outside of jax.jit, or takes it as an input")
    if isinstance(value, jax.Array | np.ndarray):
        return hashable(_array_parameter(where, value))
    if isinstance(value, type) and issubclass(value, AbstractLayer):
        raise LayerError(
            f"{where} is the class {value.__name__}, not a layer; write {value.__name__}(...), with its arguments"
        )
    if any(isinstance(leaf, AbstractLayer | jax.Array | np.ndarray) for leaf in _leaves(value)):
        raise LayerError(
            f"{where} is a {type(value).__name__} with layers or arrays in it; declare each under a name of its own, "
            "or hold layers in one layer (lux.Chain(*layers), lux.Branch(*layers))"
        )
    try:
        hash(value)
    except TypeError:
        raise LayerError(
            f"{where} is a {type(value).__name__}, which cannot be hashed; write a tuple for a list, and tuples of pairs for a dict"
        ) from None
    return value


def _array_parameter(where: str, value: Any) -> Parameter:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise LayerError(f"{where} is a random key; keys are state that setup makes. Write lux.state()")
    if jnp.issubdtype(value.dtype, np.complexfloating):
        return complex_value(np.asarray(value))
    if not jnp.issubdtype(value.dtype, np.floating):
        raise LayerError(
            f"{where} is an array of {value.dtype}; parameters are floating-point numbers. Write .astype(float), or a tuple for an option"
        )
    return real(np.asarray(value, np.float64))


def _leaves(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list | set) else None
    return [value] if items is None else [leaf for item in items for leaf in _leaves(item)]


def _title(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _function_at(module: str | None, name: str) -> Any:
    """The function that a module has under a name, also if it is a compact layer's by now; None if there is none."""
    found: Any = sys.modules.get(module or "")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found.function if isinstance(found, Compact) else found


def _found(module: str, name: str, declarations: dict[str, Any]) -> Compact:
    importlib.import_module(module)
    return Compact(_function_at(module, name), **declarations)


def _rebuilt(function: Callable[..., Any], declarations: dict[str, Any]) -> Compact:
    return Compact(function, **declarations)
