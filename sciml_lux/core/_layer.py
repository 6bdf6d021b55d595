"""`AbstractLayer`: the contract that everything rests on."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, dataclass_transform

import jax
import numpy as np
from jaxtyping import Array, Key

from .._errors import LayerError
from ..flatten import Layout, exact, exact_fields, layout_of
from ._arguments import check_arguments
from ._call import checked_call
from ._declared import declared_layout, parameter_length
from ._depth import within_depth
from ._print import printed
from ._source import source
from ._state import State


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
class AbstractLayer:
    """A layer: an immutable description, and a pure function of input, parameters and state.

    Subclass it, annotate the fields, write up to three methods:

        class Affine(lux.AbstractLayer):
            features: int

            def initial_parameters(self, key):
                return {"slope": jnp.ones(self.features), "shift": jnp.zeros(self.features)}

            def __call__(self, x, ps, st):
                return ps.slope * x + ps.shift, st

    The subclass becomes a frozen dataclass, compared and hashed by types and bits of its fields, and a static pytree node: it goes through
    `jax.jit` as an argument, and equal layers share one compilation. Fields hold what is needed to build parameters
    and state (sizes, functions, other layers), never an array.

    **Call:** `y, st = layer(x, ps, st)`, with `ps` a `FlatParams` or a `Params` and `st` the state, both from `lux.setup`.

    **Errors:** `LayerError` at construction for an array or an unhashable value in a field, and for another value in a field that is
    annotated as a `bool`, a `Callable` or a layer; when called, for a result that is not
    `(y, st)` with the keys of the state that came in. Every exception carries a note with the path of the layer.
    """

    _own_init: ClassVar[bool] = False
    compares_bits: ClassVar[bool] = True

    def initial_parameters(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        """The starting parameters: a mapping of names to floating-point arrays, declarations (`lux.positive(0.5)`), or mappings."""
        return {}

    def initial_states(self, key: Key[Array, ""]) -> Mapping[str, Any]:
        """The starting state: a mapping of names to arrays, keys, `Training()`, or mappings."""
        return {}

    def __call__(self, x: Any, ps: Any, st: State) -> tuple[Any, State]:
        """The result and the updated state, always both."""
        raise LayerError(f"{type(self).__name__} has no __call__(self, x, ps, st); write one that returns (y, st)")

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and named arguments that build an equal layer, for display; override it beside a custom `__init__`."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if (
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
                and not named
                and not field.kw_only
            ):
                positional.append(value)
            elif field.default is dataclasses.MISSING or exact(value) != exact(field.default):
                named[field.name] = value
        return tuple(positional), named

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__:
            cls.__call__ = checked_call(cls.__dict__["__call__"])
        # A subclass that adds no field keeps the hand-written __init__ of its base: class Residual(lux.Chain) is built like a Chain.
        adds_fields = bool(inspect.get_annotations(cls))
        cls._own_init = "__init__" in cls.__dict__ or (cls._own_init and not adds_fields)
        dataclasses.dataclass(frozen=True, eq=False, repr=False, init=not cls._own_init)(cls)
        cls.__init__ = _checked_init(cls, cls.__init__)
        jax.tree_util.register_static(cls)

    @within_depth
    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not type(self):
            return NotImplemented
        return _key(self) == _key(other)

    def __hash__(self) -> int:
        cached = self.__dict__.get("_hash")
        if cached is None:
            cached = hash((type(self), _key(self)))
            object.__setattr__(self, "_hash", cached)
        return cached

    def __getstate__(self) -> dict[str, Any]:
        # Hashes of strings differ between processes, and what the key holds may have no name to be pickled by.
        return {name: value for name, value in self.__dict__.items() if name not in ("_hash", "_key")}

    # Nothing in a layer changes, so that a copy is the layer itself; a copied jnp.tanh would be another function than jnp.tanh.

    def __copy__(self) -> "AbstractLayer":
        return self

    def __deepcopy__(self, memo: Any) -> "AbstractLayer":
        return self

    @within_depth
    def __repr__(self) -> str:
        return source(self, parameter_length)

    @within_depth
    def __str__(self) -> str:
        return printed(self)


@layout_of.register
def _(where: AbstractLayer, dtype: Any = None) -> Layout:
    return declared_layout(where, dtype)


def _key(layer: AbstractLayer) -> Any:
    """What a layer is compared by: types and bits of its fields."""
    cached = layer.__dict__.get("_key")
    if cached is None:
        cached = exact_fields(layer)
        object.__setattr__(layer, "_key", cached)
    return cached


def _checked_init(cls: type, init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError as error:
            if not isinstance(error, LayerError):
                check_arguments(cls.__name__, init, (self, *args), kwargs)
            raise
        if type(self) is cls:  # not while a subclass is still being built
            check_fields(self)

    return wrapper


def check_fields(layer: AbstractLayer) -> None:
    """Raises `LayerError` if a field of `layer` holds an array, something unhashable, or layers that are no children of it."""
    for field in dataclasses.fields(layer):  # type: ignore[arg-type]
        value = getattr(layer, field.name)
        where = f"{type(layer).__name__}.{field.name}"
        _check_kind(where, value, _kinds(type(layer)).get(field.name))
        if isinstance(value, AbstractLayer) and type(layer).initial_parameters is AbstractLayer.initial_parameters:
            raise LayerError(
                f"{where} is a layer, whose parameters nobody makes; write class {type(layer).__name__}(lux.AbstractContainer)"
            )
        if isinstance(value, tuple | list | Mapping):
            check_children(layer, where, value)
        if any(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(value)):
            raise LayerError(
                f"{where} holds an array; a layer holds only what is needed to build one. "
                "Return it from initial_parameters if it is trained, from initial_states if it is not, and keep its shape in the field"
            )
        try:
            hash(value)
        except TypeError:
            raise LayerError(
                f"{where} holds a {type(value).__name__}, which cannot be hashed; write a tuple for a list, and tuples of pairs for a dict"
            ) from None


_KINDS = {bool: "True or False", Callable: "a function", AbstractLayer: "a layer"}


@functools.lru_cache(maxsize=1024)
def _kinds(cls: type) -> dict[str, tuple[Any, bool]]:
    """For each field annotated as a flag, a function or a layer: which of these, and whether it may be None."""
    try:
        hints = typing.get_type_hints(cls)
    except (
        AttributeError,
        NameError,
        TypeError,
    ):  # annotations of a user's class may name what is not there at run time
        return {}
    kinds = {}
    for name, hint in hints.items():
        parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        origins = {typing.get_origin(part) or part for part in parts}
        [kind, *others] = origins - {type(None)} or {None}
        if not others and (kind in _KINDS or (isinstance(kind, type) and issubclass(kind, AbstractLayer))):
            kinds[name] = (kind, type(None) in origins)
    return kinds


def _check_kind(where: str, value: Any, expected: tuple[Any, bool] | None) -> None:
    if expected is None:
        return
    kind, or_none = expected
    fits = callable(value) if kind is Callable else isinstance(value, kind)
    # A layer can be called, too, but not by its input alone; its class, which is not its instance, makes one.
    if kind is Callable:
        fits = fits and not isinstance(value, AbstractLayer)
    if not fits and not (or_none and value is None):
        what = _KINDS.get(kind, f"a {kind.__name__}") + (", or None" if or_none else "")
        raise LayerError(f"{where} is {what}, got {value!r}")


def check_children(layer: AbstractLayer, where: str, value: Any) -> None:
    """Raises `LayerError` if `value`, which a field holds, has layers in it that `layer.children()` does not return."""
    children = [id(child) for child in getattr(layer, "children", dict)().values()]
    if any(id(inner) not in children for inner in _layers_in(value)):
        raise LayerError(
            f"{where} is a {type(value).__name__} with layers in it, whose parameters nobody makes; write one field for each, "
            "or hold them in one layer (lux.Chain(*layers), lux.Branch(*layers)), or return them by name from children()"
        )


def _layers_in(value: Any) -> Iterator[AbstractLayer]:
    if isinstance(value, AbstractLayer):
        yield value
    elif isinstance(value, tuple | list | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _layers_in(item)
