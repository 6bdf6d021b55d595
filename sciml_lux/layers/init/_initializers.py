"""Initializers: how the parameters of a layer start. Each is a value, compared by its settings: `init(key, shape) -> array`.

For a weight of shape `(..., in, out)` with `k` further elements in front (a convolution's window), `fan_in = k * in` and
`fan_out = k * out`.
"""

import abc
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import wadler_lindig as wl
from jaxtyping import Array, Float, Key

_GAINS: dict[Any, float] = {
    jax.nn.relu: math.sqrt(2.0),
    jax.nn.leaky_relu: math.sqrt(2.0 / (1.0 + 0.01**2)),
    jax.nn.selu: 0.75,
    jax.nn.tanh: 5.0 / 3.0,
    jnp.tanh: 5.0 / 3.0,
}


def gain(activation: Callable[..., Any] | None) -> float:
    """The factor by which `activation` shrinks a signal, to be made up for by its weights (as `torch.nn.init.calculate_gain`).

    relu: sqrt(2); leaky_relu (slope 0.01): sqrt(2 / 1.0001); tanh: 5/3; selu: 3/4; everything else, none included: 1.
    """
    return _GAINS.get(activation, 1.0)


class AbstractInitializer(abc.ABC):
    """How a parameter starts: `init(key, shape)` returns an array of JAX's default float. Subclasses are frozen dataclasses."""

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """The starting values."""

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields if getattr(self, f.name) != f.default]
        return wl.TextDoc(f"init.{type(self).__name__}({', '.join(shown)})")

    def __repr__(self) -> str:
        return wl.pformat(self)


@dataclass(frozen=True, repr=False)
class zeros(AbstractInitializer):  # noqa: N801  an initializer reads as a function: init.zeros()
    """All zero."""

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.zeros(shape)


@dataclass(frozen=True, repr=False)
class ones(AbstractInitializer):  # noqa: N801
    """All one."""

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.ones(shape)


@dataclass(frozen=True, repr=False)
class normal(AbstractInitializer):  # noqa: N801
    """Normal with mean 0 and standard deviation `std`: variance `std**2`."""

    std: float = 0.01

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return self.std * jax.random.normal(key, shape)


@dataclass(frozen=True, repr=False)
class glorot_uniform(AbstractInitializer):  # noqa: N801
    """Uniform with mean 0 and variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010, equation 16)."""

    gain: float = 1.0

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return _uniform(key, shape, _glorot_std(shape, self.gain))


@dataclass(frozen=True, repr=False)
class glorot_normal(AbstractInitializer):  # noqa: N801
    """Normal with mean 0 and variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010)."""

    gain: float = 1.0

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return _glorot_std(shape, self.gain) * jax.random.normal(key, shape)


@dataclass(frozen=True, repr=False)
class kaiming_uniform(AbstractInitializer):  # noqa: N801
    """Uniform with mean 0 and variance `gain**2 / fan_in` (He et al. 2015, equation 10). Default gain: relu's, sqrt(2)."""

    gain: float = math.sqrt(2.0)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return _uniform(key, shape, _kaiming_std(shape, self.gain))


@dataclass(frozen=True, repr=False)
class kaiming_normal(AbstractInitializer):  # noqa: N801
    """Normal with mean 0 and variance `gain**2 / fan_in` (He et al. 2015, equation 10). Default gain: relu's, sqrt(2)."""

    gain: float = math.sqrt(2.0)

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return _kaiming_std(shape, self.gain) * jax.random.normal(key, shape)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """`(fan_in, fan_out)` of a weight. **Errors:** `ValueError` for fewer than two axes, which have no fans."""
    if len(shape) < 2:
        raise ValueError(
            f"got shape {shape}; a fan needs a weight with at least two axes, (..., in, out). Use init.normal for others"
        )
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _glorot_std(shape: tuple[int, ...], gain: float) -> float:
    fan_in, fan_out = fans(shape)
    return gain * math.sqrt(2.0 / max(1, fan_in + fan_out))


def _kaiming_std(shape: tuple[int, ...], gain: float) -> float:
    return gain / math.sqrt(max(1, fans(shape)[0]))


def _uniform(key: Key[Array, ""], shape: tuple[int, ...], std: float) -> Float[Array, "..."]:
    limit = math.sqrt(3.0) * std  # a uniform variable on (-limit, limit) has the variance limit**2 / 3
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)
