"""Declarations: a starting value together with how it is stored and its unit."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jax.core import Tracer

from .._errors import ParameterError
from .maps import (
    AbstractConstraint,
    AbstractRavelMap,
    Bounded,
    ComplexAsReals,
    Fixed,
    LowRank,
    Ordered,
    Orthogonal,
    Positive,
    PositiveDefiniteMap,
    PositiveSoftplus,
    Real,
    ScaledMap,
    Simplex,
    Symmetric,
    Triangular,
    UnitVector,
)


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
        name, arguments = _declaration_of(self.ravel_map)
        unit = [] if self.unit is None else [f"unit={self.unit!r}"]
        return wl.TextDoc(f"{name}({', '.join([repr(self.value), *arguments, *unit])})")

    def __repr__(self) -> str:
        return wl.pformat(self)


def _declaration_of(ravel_map: AbstractRavelMap) -> tuple[str, list[str]]:
    """The function that declares a parameter of this map, and its arguments after the value."""
    match ravel_map:
        case Bounded(lower, upper):
            return "bounded", [_source(lower), _source(upper)]
        case LowRank(rank):
            return "low_rank", [repr(rank)]
        case Orthogonal():
            return "orthogonal_matrix", []
        case Fixed() | Simplex() | UnitVector():
            return _snake_case(type(ravel_map).__name__), []
        case _:
            return _scaled_declaration_of(ravel_map)


def _scaled_declaration_of(ravel_map: AbstractRavelMap) -> tuple[str, list[str]]:
    """The same of a map that may have a scale."""
    inner, scale = (
        (ravel_map.inner, [f"scale={ravel_map.scale!r}"]) if isinstance(ravel_map, ScaledMap) else (ravel_map, [])
    )
    match inner:
        case PositiveSoftplus():
            return "positive", ['via="softplus"', *scale]
        case PositiveDefiniteMap(diagonal):
            return "positive_definite", [*([] if diagonal == "log" else [f'diagonal="{diagonal}"']), *scale]
        case Triangular(lower, strict):
            options = [*([] if lower else ["lower=False"]), *(["strict=True"] if strict else [])]
            return "triangular", [*options, *scale]
        case ComplexAsReals():
            return "complex_value", scale
        case Real() | Positive() | Ordered() | Symmetric():
            return _snake_case(type(inner).__name__), scale
        case _:
            return "Parameter", [repr(ravel_map)]


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _source(number: float) -> str:
    return repr(number) if math.isfinite(number) else f'float("{number}")'  # inf is no name of Python


def _declare(
    value: Any, ravel_map: AbstractConstraint | Real | Fixed | LowRank, unit: str | None, scale: float | None = None
) -> Parameter:
    value = _check_number(value, complex_too=isinstance(ravel_map, ComplexAsReals))
    if unit is not None and not isinstance(unit, str):
        raise ParameterError(f'unit is a text such as "1/year", got {unit!r}')
    if scale is not None:
        assert isinstance(ravel_map, AbstractConstraint | Real)
        ravel_map = ScaledMap(ravel_map, float(scale))
    if not isinstance(value, Tracer):
        if not np.all(np.isfinite(value)):
            raise ParameterError(f"a parameter starts from a finite value, got {value!r}")
        ravel_map.check(value)
    return Parameter(value, ravel_map, unit)


def real(value: Any, *, unit: str | None = None, scale: float | None = None) -> Parameter:
    """A parameter of any real value, stored as it is.

    **Arguments:** `value`: the start; `unit`: for reports; `scale`: the size that values are expected to have, in which
    they are stored (`ScaledMap`), so that the stored numbers are of order one. **Errors:** `ValueError` for a scale that is
    not above 0.
    """
    return _declare(value, Real(), unit, scale)


def positive(
    value: Any, *, via: Literal["log", "softplus"] = "log", unit: str | None = None, scale: float | None = None
) -> Parameter:
    """A parameter above 0, stored as its natural logarithm (`Positive`) or through the softplus (`PositiveSoftplus`).

    **Arguments:** `value`: the start; `via`: `"log"`, in which a step of the vector is a factor, or `"softplus"`, in which
    it is a difference once values are above the scale; `unit`: for reports; `scale`: as in `real`.

    **Errors:** `ValueError` if `value` or `scale` is not above 0, or for another `via`.
    """
    if via not in ("log", "softplus"):
        raise ValueError(f'a positive parameter is stored via "log" or "softplus", got {via!r}')
    return _declare(value, Positive() if via == "log" else PositiveSoftplus(), unit, scale)


def bounded(value: Any, lower: float, upper: float, *, unit: str | None = None) -> Parameter:
    """A parameter strictly between `lower` and `upper`, stored through a logistic map (`Bounded`); either may be infinite.

    What is stored says where between the bounds the value lies, and is of order one whatever its scale.

    **Errors:** `ValueError` if not `lower < value < upper`.
    """
    return _declare(value, Bounded(float(lower), float(upper)), unit)


def fixed(value: Any, *, unit: str | None = None) -> Parameter:
    """A constant that reads like a parameter and takes no room in the vector (`Fixed`)."""
    if isinstance(value, Tracer):
        raise ParameterError("fixed(...) takes a number that is known when the layout is made, not a traced one")
    constant = as_constant(_check_number(value))
    return _declare(constant, Fixed(constant), unit)


def ordered(value: Any, *, unit: str | None = None, scale: float | None = None) -> Parameter:
    """A strictly increasing vector `(..., K)`, stored as its first element and the logarithms of its steps (`Ordered`).

    `unit`, `scale`: as in `real`. **Errors:** `ValueError` if `value` does not increase along its last axis.
    """
    return _declare(value, Ordered(), unit, scale)


def simplex(value: Any, *, unit: str | None = None) -> Parameter:
    """Positive numbers `(..., K)` with the sum 1, stored as K - 1 logarithms of ratios to the last (`Simplex`).

    **Errors:** `ValueError` if `value` is not above 0 or its sum along the last axis is not 1.
    """
    return _declare(value, Simplex(), unit)


def unit_vector(value: Any, *, unit: str | None = None) -> Parameter:
    """A vector `(..., K)` of length 1, stored as a vector of any length in its direction (`UnitVector`).

    **Errors:** `ValueError` if the length along the last axis is not 1.
    """
    return _declare(value, UnitVector(), unit)


def symmetric(value: Any, *, unit: str | None = None, scale: float | None = None) -> Parameter:
    """A symmetric matrix `(..., n, n)`, of which the upper triangle is stored (`Symmetric`).

    `unit`, `scale`: as in `real`. **Errors:** `ValueError` if `value` is not square and symmetric.
    """
    return _declare(value, Symmetric(), unit, scale)


def triangular(
    value: Any, *, lower: bool = True, strict: bool = False, unit: str | None = None, scale: float | None = None
) -> Parameter:
    """A triangular matrix `(..., n, n)`, of which the triangle is stored (`Triangular`).

    **Arguments:** `value`: the start; `lower`: which triangle; `strict`: without the diagonal, which is then 0;
    `unit`, `scale`: as in `real`. **Errors:** `ValueError` if `value` is not square or not 0 outside of the triangle.
    """
    return _declare(value, Triangular(lower, strict), unit, scale)


def positive_definite(
    value: Any,
    *,
    diagonal: Literal["log", "softplus"] = "log",
    unit: str | None = None,
    scale: float | None = None,
) -> Parameter:
    """A symmetric positive definite matrix `(..., n, n)`, such as a covariance, stored as its Cholesky factor.

    **Arguments:** `value`: the start; `diagonal`: how that of the factor is stored (`PositiveDefiniteMap`); `unit`, `scale`:
    as in `real`. **Errors:** `ValueError` if `value` is not symmetric or not positive definite.
    """
    return _declare(value, PositiveDefiniteMap(diagonal), unit, scale)


def orthogonal_matrix(value: Any, *, unit: str | None = None) -> Parameter:
    """A rotation `(..., n, n)`, stored as its Cayley transform (`Orthogonal`): orthogonal, determinant 1, no half turn.

    **Errors:** `ValueError` if `value` is no such matrix.
    """
    return _declare(value, Orthogonal(), unit)


def low_rank(value: Any, rank: int, *, unit: str | None = None) -> Parameter:
    """A matrix `(..., m, n)` of rank at most `rank`, stored as two factors (`LowRank`).

    **Errors:** `ValueError` if `value` has a higher rank, or no matrix of its shape has `rank`.
    """
    return _declare(value, LowRank(rank), unit)


def complex_value(value: Any, *, unit: str | None = None, scale: float | None = None) -> Parameter:
    """A complex number or array, stored as real and imaginary parts in turn (`ComplexAsReals`).

    A bare complex value means the same. `unit`, `scale`: as in `real`.
    """
    return _declare(value, ComplexAsReals(), unit, scale)


def _check_number(value: Any, complex_too: bool = False) -> Any:
    if isinstance(value, tuple | list):
        value = np.asarray(value)
        value = value.astype(float) if np.issubdtype(value.dtype, np.integer) else value
    dtype = getattr(value, "dtype", type(value))
    if not jnp.issubdtype(dtype, jnp.number):
        raise ParameterError(f"a parameter is a real number or an array of them, got {value!r}")
    if complex_too:
        return (
            complex(value)
            if isinstance(value, int | float | complex)
            else jnp.asarray(value, jnp.result_type(value, 1j))
        )
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ParameterError(f"a parameter of this kind is real, got {value!r}; write lux.flatten.complex_value(...)")
    return float(value) if isinstance(value, int) else value


def as_constant(value: Any) -> Any:
    """Numbers and arrays as hashable Python numbers: a float (or complex), or nested tuples of them."""
    if isinstance(value, tuple | list):
        return tuple(as_constant(item) for item in value)
    if isinstance(value, np.ndarray | jax.Array) and value.ndim > 0:
        return tuple(as_constant(item) for item in np.asarray(value))
    return complex(value) if np.iscomplexobj(value) else float(value)
