"""Ravel maps: how a parameter, or the parameters of a layer, become a segment of the vector and back."""

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._errors import ParameterError
from .._exact import exact_fields
from .._named_tree import Params


@dataclass(frozen=True)
class ArraySpec:
    """The shape and dtype of an array as the layer sees it. Hashable, without values."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


Spec = ArraySpec | Params
"""What a map is for: one array, or a `Params` of `ArraySpec` when the map is for a whole layer."""


class AbstractRavelMap(abc.ABC):
    """How one value becomes `size` consecutive numbers of the vector (`ravel`) and back (`unravel`).

    The value is an array, or, for a map that is registered for a layer, the `Params` of that layer. The law is
    `unravel(ravel(value)) == value`. A map holds no arrays and is hashable (a frozen dataclass), since it is part of the
    static layout, and those that are dataclasses are equal if types and bits of their fields are. Both directions are written for one
    value; batches of vectors are mapped over by the caller.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__eq__ in (object.__eq__, _same_map):
            cls.__eq__ = _same_map  # in the class itself, where a dataclass would put its own

    @abc.abstractmethod
    def size(self, spec: Spec) -> int:
        """The number of scalars stored for a value of this spec."""

    @abc.abstractmethod
    def ravel(self, value: Any, spec: Spec) -> Float[Array, " size"]:
        """The segment that stores `value`."""

    @abc.abstractmethod
    def unravel(self, segment: Float[Array, " size"], spec: Spec) -> Any:
        """The value that `segment` stores."""

    def check(self, value: Any) -> None:  # noqa: B027  most maps store every value
        """Raises `ValueError` if a concrete `value` cannot be stored by this map. By default all can."""

    @property
    def bijective(self) -> bool:
        """Whether each value is stored by one segment only, so that `ravel` undoes `unravel`. By default it is."""
        return True

    @property
    def name(self) -> str:
        """What a memory map shows for it."""
        return repr(self)


def _same_map(self: Any, other: object) -> bool:
    if self is other:
        return True
    return type(self) is type(other) and dataclasses.is_dataclass(self) and exact_fields(self) == exact_fields(other)


@dataclass(frozen=True)
class Real(AbstractRavelMap):
    """The default: a real array of any value, its elements end to end in C order. Forward and inverse are the identity."""

    def size(self, spec: Spec) -> int:
        assert isinstance(spec, ArraySpec)
        return spec.size

    def ravel(self, value: Any, spec: Spec) -> Float[Array, " size"]:
        return jnp.reshape(value, (-1,))

    def unravel(self, segment: Float[Array, " size"], spec: Spec) -> Any:
        assert isinstance(spec, ArraySpec)
        return jnp.reshape(segment, spec.shape)

    def forward(self, unconstrained: Any) -> Any:
        """The value that an unconstrained number stands for: itself."""
        return unconstrained

    def inverse(self, value: Any) -> Any:
        """The unconstrained number that stands for a value: itself."""
        return value

    def log_abs_det_jacobian(self, unconstrained: Any) -> Float[Array, ""]:
        """0: the identity changes no volume."""
        return jnp.zeros((), jnp.result_type(unconstrained))

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """As many numbers as the value has."""
        return shape

    def coordinates(self, value: Any) -> Float[Array, " size"]:
        """All elements of the value."""
        return jnp.reshape(value, (-1,))

    @property
    def name(self) -> str:
        return ""


_REGISTRY: dict[type, AbstractRavelMap] = {}


def register_ravel_map(cls: type, ravel_map: AbstractRavelMap | None = None) -> Any:
    """Registers how the parameters of `cls` become a segment of the vector and back.

    `cls` is a layer class (the map then gets the layer's whole `Params`), or a foreign type that appears as a value in
    some `initial_parameters`. Subclasses inherit the map. Later registrations replace earlier ones.

    **Arguments:** `cls`: the type; `ravel_map`: an instance of `AbstractRavelMap`. Without it, returns a class decorator:

        @lux.register_ravel_map(Rotation)
        @dataclass(frozen=True)
        class RotationMap(lux.flatten.AbstractRavelMap):
            def size(self, spec): return 1
            def ravel(self, value, spec): ...
            def unravel(self, segment, spec): ...

    **Errors:** `ParameterError` if `cls` is not a type or the map is not hashable.
    """
    if not isinstance(cls, type):
        raise ParameterError(f"register_ravel_map takes a type, got {cls!r}; write type(value)")
    if ravel_map is None:

        def decorator(map_class: type[AbstractRavelMap]) -> type[AbstractRavelMap]:
            register_ravel_map(cls, map_class())
            return map_class

        return decorator
    if not isinstance(ravel_map, AbstractRavelMap):
        raise ParameterError(
            f"register_ravel_map({cls.__name__}, ...) takes an instance of AbstractRavelMap, got {ravel_map!r}"
        )
    try:
        hash(ravel_map)
    except TypeError as error:
        raise ParameterError(
            f"{ravel_map!r} is part of a static layout and must be hashable; make it a frozen dataclass"
        ) from error
    _REGISTRY[cls] = ravel_map
    return ravel_map


def registered_ravel_map(cls: type) -> AbstractRavelMap | None:
    """The map that was registered for `cls` or the nearest of its base classes, or None."""
    return next((_REGISTRY[base] for base in cls.__mro__ if base in _REGISTRY), None)


def all_ravel_maps() -> tuple[tuple[type, AbstractRavelMap], ...]:
    """Every registered type with its map: what a layout depends on beside the layer, so part of the key under which one is kept."""
    return tuple(_REGISTRY.items())


def is_subtree(value: object) -> bool:
    """Whether `value` is a mapping of names, rather than something that is stored as one entry."""
    return isinstance(value, Mapping) and registered_ravel_map(type(value)) is None
