"""What a compact layer declares: parameters and state that are drawn at setup, and arrays as values that can be hashed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key

from ..._errors import ParameterError
from ...flatten import AbstractRavelMap, Parameter, Real


@dataclass(frozen=True)
class parameter:  # noqa: N801  it reads as a declaration, beside lux.positive(0.5)
    """A parameter of a `compact` layer whose start is drawn at setup.

        w=lux.parameter(lux.init.orthogonal(), (8, 8))
        rate=lux.parameter(lux.init.ones(), (3,), lux.flatten.Positive(), unit="1/s")

    **Arguments:** `initializer`: called as `initializer(key, shape)`; `shape`; `ravel_map`: how it is stored, as it is by default;
    `unit`: for reports.

    **Errors:** `ParameterError` for an argument of another type; at setup, `ValueError` for a start that the map cannot store.
    """

    initializer: Callable[..., Any]
    shape: tuple[int, ...] = ()
    ravel_map: AbstractRavelMap = Real()
    unit: str | None = None

    def __post_init__(self) -> None:
        _check("parameter", self.initializer, self.shape)
        if not isinstance(self.ravel_map, AbstractRavelMap):
            raise ParameterError(
                f"parameter: ravel_map is a map such as lux.flatten.Positive(), got {self.ravel_map!r}"
            )

    def draw(self, key: Key[Array, ""]) -> Parameter:
        """The starting value, with how it is stored."""
        value = self.initializer(key, self.shape)
        if not isinstance(value, Tracer):
            self.ravel_map.check(value)
        return Parameter(value, self.ravel_map, self.unit)


@dataclass(frozen=True)
class state:  # noqa: N801
    """An entry of the state of a `compact` layer: read as `self.name`, updated by `self.name = value`.

        calls=lux.state(lux.init.zeros(), (), int)       # self.calls = self.calls + 1
        key=lux.state()                                  # now, self.key = jax.random.split(self.key)

    **Arguments:** `initializer`: called as `initializer(key, shape)` at setup; without one the entry is a random key;
    `shape`; `dtype`: that of the entry, as the initializer makes it by default.

    **Errors:** `ParameterError` for an argument of another type.
    """

    initializer: Callable[..., Any] | None = None
    shape: tuple[int, ...] = ()
    dtype: Any = None

    def __post_init__(self) -> None:
        if self.initializer is not None:
            _check("state", self.initializer, self.shape)

    def draw(self, key: Key[Array, ""]) -> Any:
        """The starting value."""
        if self.initializer is None:
            return key
        return jnp.asarray(self.initializer(key, self.shape), self.dtype)


def _check(kind: str, initializer: Any, shape: Any) -> None:
    if not callable(initializer) or isinstance(initializer, type):
        raise ParameterError(f"{kind}: initializer is one such as lux.init.zeros(), got {initializer!r}")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ParameterError(f"{kind}: shape is a tuple of sizes such as (8, 8), got {shape!r}")


@dataclass(frozen=True)
class Constant:
    """The numbers of an array as a value that can be compared and hashed: a layer holds no arrays."""

    shape: tuple[int, ...]
    numbers: bytes
    is_complex: bool

    @classmethod
    def of(cls, array: Any) -> "Constant":
        """The numbers of `array`, kept in double precision."""
        is_complex = bool(np.iscomplexobj(array))
        numbers = np.asarray(array, np.complex128 if is_complex else np.float64)
        return cls(numbers.shape, numbers.tobytes(), is_complex)

    @property
    def array(self) -> np.ndarray:
        """The numbers again."""
        return np.frombuffer(self.numbers, np.complex128 if self.is_complex else np.float64).reshape(self.shape)

    def __repr__(self) -> str:
        if self.array.size <= 64:
            return repr(_nested(self.array.tolist()))
        return f"<{'complex' if self.is_complex else 'float'}{list(self.shape)}>"


def _nested(numbers: Any) -> Any:
    return tuple(_nested(item) for item in numbers) if isinstance(numbers, list) else numbers


def hashable(declared: Parameter) -> Parameter:
    """The declaration with a number or a `Constant` for its value."""
    value = declared.value
    if isinstance(value, tuple | np.ndarray | jax.Array):
        value = Constant.of(value) if np.ndim(value) else np.asarray(value).item()
    return Parameter(value, declared.ravel_map, declared.unit)


def start(declared: Parameter) -> Parameter:
    """The declaration with an array, of JAX's default precision, in place of a `Constant`."""
    value = declared.value
    if isinstance(value, Constant):
        value = jnp.asarray(value.array, complex if value.is_complex else float)
    return Parameter(value, declared.ravel_map, declared.unit)
