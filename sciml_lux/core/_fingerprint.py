"""What a Python value does when it is called, as a value itself: code, and all data that the code can reach.

A compiled program stands for a function as it was when it was traced. Two functions with one fingerprint trace to one program, and
a function whose fingerprint has changed is traced anew. Certain is only what can be enumerated: code objects, cells, defaults,
attributes, containers, arrays by their bytes, and the globals and attributes of modules that the code names. What cannot be, such as
the state of a generator, a file, or a module that is looked into by computed names, makes the whole opaque, and nothing is reused.
"""

import collections
import copyreg
import enum
import functools
import hashlib
import inspect
import pickle
import sys
import types
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..flatten import Layout
from ._names_in_code import names_in
from ._trusted_modules import BOOKKEEPING, UNBOUNDED, is_trusted

# Containers that classes may extend, and how to see what is in them.
_CONTENTS: dict[type, Any] = {
    tuple: tuple,
    list: list,
    set: list,
    frozenset: list,
    collections.deque: list,
    dict: lambda value: [part for item in value.items() for part in item],
}
_MOST_NODES = 20_000  # some 20 ms; what reaches further is not worth looking through at every call
_FEW_NUMBERS = 16  # of an array of JAX, which is otherwise known by its identity: it never changes
# What parameters, layers and maps compute once from the rest of them, at a first use.
_COMPUTED = frozenset(["_params", "_key", "_hash"])
_PJIT = type(jax.jit(lambda: None))


class _OpaqueError(Exception):
    """Raised where something cannot be enumerated."""


class _Same:
    """Compares by identity, and keeps its object alive so that no other one takes the identity over."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class Fingerprint:
    """The fingerprint of `value`: `key`, hashable, or None if it is opaque; `compiled`: functions under `jax.jit` of unsettled code.

    A `jax.jit` keeps what it once read of the globals; whoever traces anew asks it to forget.
    """

    def __init__(self, value: Any) -> None:
        self.compiled: list[Any] = []
        self._atoms: list[Any] = []
        self._seen: dict[int, int] = {}
        self._held: list[Any] = []  # so that identities stay taken while they are looked up
        self._names: set[str] = set()
        self._classes: dict[type, set[str]] = {}
        try:
            self._visit(value)
            while self._visit_members():
                pass
            self.key: Any = tuple(self._atoms)
            hash(self.key)
        except (_OpaqueError, RecursionError):
            self.key = None

    def _visit(self, value: Any) -> None:
        kind = type(value)
        atoms = self._atoms
        if kind in _PLAIN:
            atoms += (kind, value)
            return
        if kind is float or kind is complex:
            atoms += (kind, value.hex() if kind is float else (value.real.hex(), value.imag.hex()))
            return
        known = self._seen.get(id(value))
        if known is not None:
            atoms += (_Same, known)
            return
        self._seen[id(value)] = len(self._seen)
        self._held.append(value)
        if len(self._held) > _MOST_NODES:
            raise _OpaqueError
        atoms.append(kind)
        visit = _VISITS.get(kind)
        if visit is not None:
            visit(self, value)
        elif kind in _CONTENTS:
            self._all(_CONTENTS[kind](value))
        elif isinstance(value, jax.Array):
            self._jax_array(value)
        elif isinstance(value, np.ndarray | np.generic):
            self._numpy_array(value)
        elif isinstance(value, enum.Enum | np.dtype | inspect.Signature):
            self._atoms.append(_Same(value))
        elif isinstance(value, type):
            self._class(value)
        else:
            self._instance(value)

    def _all(self, values: Any) -> None:
        self._atoms.append(len(values))
        for value in values:
            self._visit(value)

    # Functions

    def _function(self, function: types.FunctionType) -> None:
        code, known = function.__code__, function.__globals__
        used = names_in(code)
        self._atoms.append(code)
        self._all(function.__defaults__ or ())
        self._all([part for item in (function.__kwdefaults__ or {}).items() for part in item])
        self._all([part for item in vars(function).items() for part in item])
        modules = {}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not assigned yet
                self._atoms.append(types.CellType)
                continue
            if isinstance(content, types.ModuleType):
                modules[name] = content
            else:
                self._visit(content)
        if is_trusted(known.get("__name__", "")):
            return
        self._names |= used.attributes
        for root, *attributes in used.chains:
            if root in modules:
                self._chain(modules[root], attributes)
            elif root in known:
                self._chain(known[root], attributes)
            elif root in UNBOUNDED:
                raise _OpaqueError
            else:  # a builtin, or nothing so far
                self._atoms.append(root)
        for name, wanted in used.imports:
            self._import(name, wanted, known, used.attributes)

    def _chain(self, value: Any, attributes: list[str]) -> None:
        """What `value.a.b` stands for, as far as it leads through modules."""
        parent = None
        for name in attributes:
            if not isinstance(value, types.ModuleType):
                break
            parent, value = value, self._attribute(value, name)
        self._member(parent, value)

    def _attribute(self, module: types.ModuleType, name: str) -> Any:
        self._atoms.append(name)
        found = vars(module)
        if name in found:
            return found[name]
        if is_trusted(module.__name__):
            return getattr(module, name, None)
        if "__getattr__" in found:
            raise _OpaqueError
        return None

    def _member(self, parent: Any, value: Any) -> None:
        if isinstance(value, types.ModuleType):
            if not is_trusted(value.__name__):
                raise _OpaqueError  # handed on as a whole: nobody knows what is read of it
            self._atoms.append(_Same(value))
        elif parent is not None and is_trusted(parent.__name__) and not isinstance(value, types.BuiltinMethodType):
            self._atoms.append(_Same(value))
        else:
            self._visit(value)

    def _import(self, name: str, wanted: tuple[str, ...], known: Any, attributes: frozenset[str]) -> None:
        """An import inside of a function: what is taken from the module, or all that the code names."""
        module = sys.modules.get(name) or sys.modules.get(f"{known.get('__package__')}.{name}")
        self._atoms += (name, len(wanted))
        if module is None or is_trusted(module.__name__):
            self._atoms.append(module is None)
            return
        for attribute in wanted or sorted(attributes & vars(module).keys()):
            self._member(module, self._attribute(module, attribute))

    def _builtin(self, function: Any) -> None:
        owner = function.__self__
        self._atoms.append(function.__name__)
        if owner is None or isinstance(owner, types.ModuleType):
            if not is_trusted(function.__module__ or "") or function.__name__ in UNBOUNDED:
                raise _OpaqueError
            self._atoms.append(function.__module__)
        else:
            self._visit(owner)

    def _jitted(self, function: Any) -> None:
        wrapped = function.__wrapped__
        self._atoms.append(_Same(function))
        self._visit(wrapped)
        if not is_trusted(getattr(wrapped, "__globals__", {}).get("__name__", "jax")):
            self.compiled.append(function)

    # Data

    def _numpy_array(self, array: Any) -> None:
        self._atoms += (str(array.dtype), array.shape)
        if array.dtype.hasobject:
            self._all(array.ravel().tolist())
        else:
            content = np.ascontiguousarray(array)
            short = content.nbytes <= 64
            self._atoms.append(
                content.tobytes() if short else hashlib.blake2b(content.view(np.uint8).reshape(-1).data).digest()
            )
        extra = getattr(array, "__dict__", {})
        self._all([part for item in extra.items() for part in item])

    def _jax_array(self, array: Any) -> None:
        concrete = not isinstance(array, Tracer) and not jnp.issubdtype(array.dtype, jax.dtypes.extended)
        if not concrete or array.size > _FEW_NUMBERS or not array.is_fully_addressable or array.is_deleted():
            self._atoms.append(_Same(array))
        else:
            # By their numbers, so that optimisers and closures that are made anew with the same ones are the same.
            self._atoms += (array.aval, array.committed and array.sharding, np.asarray(array).tobytes())

    # Classes and their instances

    def _class(self, cls: type) -> None:
        self._atoms.append(_Same(cls))
        for base in cls.__mro__:
            if not is_trusted(base.__module__):
                self._classes.setdefault(base, set())

    def _visit_members(self) -> bool:
        """Visits the members of classes that code may ask for by name. True if there were any that had not been visited yet."""
        found = False
        for cls, done in list(self._classes.items()):
            # What extends a settled class is called by it, by names that are not looked at here; so is what is asked for by computed ones.
            everything = "getattr" in self._names or any(is_trusted(base.__module__) for base in cls.__mro__[:-1])
            for name, member in list(vars(cls).items()):
                wanted = everything or name in self._names or (name.startswith("__") and name.endswith("__"))
                if not wanted or name in done or name in BOOKKEEPING:
                    continue
                done.add(name)
                found = True
                self._atoms.append(name)
                self._visit(member)
        return found

    def _instance(self, value: Any) -> None:
        cls = type(value)
        native = _native_base(cls)
        package = cls.__module__.partition(".")[0]
        if native is None and package in ("jax", "jaxlib") and cls.__hash__ not in (None, object.__hash__):
            self._atoms.append(value)  # devices, shardings, structures of trees: they compare by value
            return
        if native is None and package in (
            "pandas",
            "polars",
            "torch",
            "xarray",
            "decimal",
            "datetime",
            "re",
            "_decimal",
        ):
            self._atoms.append(_pickled(value))
            return
        if native is None and cls is not types.SimpleNamespace:
            raise _OpaqueError
        self._class(cls)
        if native in _CONTENTS:
            self._all(_CONTENTS[native](value))
        elif native in _PLAIN or native in (float, complex):
            assert native is not None
            self._visit(native(value))
        held = {name: part for name, part in getattr(value, "__dict__", {}).items() if name not in _COMPUTED}
        self._all([part for item in held.items() for part in item])
        for name in copyreg._slotnames(cls):  # type: ignore[attr-defined]
            if name not in _COMPUTED:
                self._visit(getattr(value, name, None))


@functools.lru_cache(maxsize=4096)
def _native_base(cls: type) -> type | None:
    """The class on which `cls` rests that is not written in Python, if what an instance of it holds can be seen, else None."""
    for base in cls.__mro__:
        if base is object or base in _CONTENTS or base in _PLAIN or base in (float, complex, BaseException, type):
            return base
        new = base.__dict__.get("__new__")
        written_in_python = base.__flags__ & (1 << 9) and not isinstance(new, types.BuiltinMethodType)
        if not written_in_python or not isinstance(vars(base).get("__module__"), str):
            return None
        if _is_from_c(base):
            return None
    return None


def _is_from_c(cls: type) -> bool:
    """Whether a class on the heap was made by an extension: its metaclass, or a method, is not of Python."""
    kinds = (types.WrapperDescriptorType, types.MethodDescriptorType)
    return type(type(cls)) is not type or any(isinstance(member, kinds) for member in vars(cls).values())


def _pickled(value: Any) -> bytes:
    try:
        return hashlib.blake2b(pickle.dumps(value)).digest()
    except Exception as error:
        raise _OpaqueError from error


def _leaf(self: Fingerprint, value: Any) -> None:
    self._atoms.append(_Same(value))


def _parts(*names: str) -> Any:
    def visit(self: Fingerprint, value: Any) -> None:
        self._all([getattr(value, name) for name in names])

    return visit


_PLAIN = frozenset({type(None), bool, int, str, bytes, type(...), type(NotImplemented), range})
_VISITS: dict[type, Any] = {
    types.FunctionType: Fingerprint._function,
    types.BuiltinFunctionType: Fingerprint._builtin,
    types.MethodType: _parts("__func__", "__self__"),
    types.MethodWrapperType: _parts("__name__", "__self__"),
    types.ModuleType: lambda self, value: self._member(None, value),
    types.MappingProxyType: lambda self, value: self._visit(dict(value)),
    types.WrapperDescriptorType: _leaf,
    types.MethodDescriptorType: _leaf,
    types.ClassMethodDescriptorType: _leaf,
    types.GetSetDescriptorType: _leaf,
    types.MemberDescriptorType: _leaf,
    types.GenericAlias: _leaf,
    types.CodeType: lambda self, value: self._atoms.append(value),
    bytearray: lambda self, value: self._atoms.append(bytes(value)),
    slice: _parts("start", "stop", "step"),
    staticmethod: _parts("__func__"),
    classmethod: _parts("__func__"),
    property: _parts("fget", "fset", "fdel"),
    functools.cached_property: _parts("func", "attrname"),
    functools.partial: _parts("func", "args", "keywords", "__dict__"),
    type(functools.lru_cache(lambda: None)): _parts("__wrapped__"),
    weakref.ref: lambda self, value: self._visit(value()),
    np.ufunc: _leaf,
    Layout: _leaf,
    _PJIT: Fingerprint._jitted,
}
