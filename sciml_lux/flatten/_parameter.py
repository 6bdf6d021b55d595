"""Declarations: a starting value together with how it is stored and its unit."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jax.core import Tracer

from ._constraints import Bounded, Fixed, Positive
from ._errors import ParameterError
from ._ravel_map import AbstractRavelMap, Real


@partial(jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=["ravel_map", "unit"])
@dataclass(frozen=True, repr=False)
class Parameter:
    """What `initial_parameters` may return in place of a bare array: a starting value, its ravel map, its unit.

    **Arguments:** `value`: a number or array (or the mapping of a layer that has a map of its own);
    `ravel_map`: how it is stored; `unit`: a text for reports, such as `"1/year"`.
    """

    value: Any
    ravel_map: AbstractRavelMap = Real()
    unit: str | None = None

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        """As it is declared: `positive(0.5, unit="1/year")`."""
        arguments, unit = [repr(self.value)], [] if self.unit is None else [f"unit={self.unit!r}"]
        match self.ravel_map:
            case Real() | Positive() | Fixed():
                name = type(self.ravel_map).__name__.lower()
            case Bounded(lower, upper):
                name, arguments = "bounded", [*arguments, _source(lower), _source(upper)]
            case other:
                name, arguments = "Parameter", [*arguments, repr(other)]
        return wl.TextDoc(f"{name}({', '.join(arguments + unit)})")

    def __repr__(self) -> str:
        return wl.pformat(self)


def _source(number: float) -> str:
    return repr(number) if math.isfinite(number) else f'float("{number}")'  # inf is no name of Python


def _declare(value: Any, ravel_map: AbstractRavelMap, unit: str | None) -> Parameter:
    value = _check_number(value)
    if unit is not None and not isinstance(unit, str):
        raise ParameterError(f'unit is a text such as "1/year", got {unit!r}')
    if not isinstance(value, Tracer):
        if not np.all(np.isfinite(value)):
            raise ParameterError(f"a parameter starts from a finite value, got {value!r}")
        ravel_map.check(value)
    return Parameter(value, ravel_map, unit)


def real(value: Any, *, unit: str | None = None) -> Parameter:
    """A parameter of any real value, stored as it is. Starts from `value`; `unit` is for reports."""
    return _declare(value, Real(), unit)


def positive(value: Any, *, unit: str | None = None) -> Parameter:
    """A parameter above 0, stored as its natural logarithm (`Positive`). Starts from `value`; `unit` is for reports.

    **Errors:** `ValueError` if `value` is not above 0.
    """
    return _declare(value, Positive(), unit)


def bounded(value: Any, lower: float, upper: float, *, unit: str | None = None) -> Parameter:
    """A parameter strictly between `lower` and `upper`, stored through a logistic map (`Bounded`); either may be infinite.

    **Errors:** `ValueError` if not `lower < value < upper`.
    """
    return _declare(value, Bounded(float(lower), float(upper)), unit)


def fixed(value: Any, *, unit: str | None = None) -> Parameter:
    """A constant that reads like a parameter and takes no room in the vector (`Fixed`)."""
    if isinstance(value, Tracer):
        raise ParameterError("fixed(...) takes a number that is known when the layout is made, not a traced one")
    constant = as_constant(_check_number(value))
    return _declare(constant, Fixed(constant), unit)


def _check_number(value: Any) -> Any:
    if isinstance(value, tuple | list):
        value = np.asarray(value)
        value = value.astype(float) if np.issubdtype(value.dtype, np.integer) else value
    dtype = getattr(value, "dtype", type(value))
    if not jnp.issubdtype(dtype, jnp.number):
        raise ParameterError(f"a parameter is a real number or an array of them, got {value!r}")
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ParameterError(
            f"a parameter is real, got {value!r}; store the real and imaginary parts as two parameters"
        )
    return float(value) if isinstance(value, int) else value


def as_constant(value: Any) -> Any:
    """Numbers and arrays as hashable Python numbers: a float, or nested tuples of floats."""
    if isinstance(value, tuple | list):
        return tuple(as_constant(item) for item in value)
    if isinstance(value, np.ndarray | jax.Array) and value.ndim > 0:
        return tuple(as_constant(item) for item in np.asarray(value))
    return float(value)
