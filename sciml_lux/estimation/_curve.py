"""The residual of a curve, and what is derived from the curve itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._errors import ParameterError, ShapeError
from ..core import UNTRACEABLE, State, explain_untraceable
from ..flatten import FlatParams, Params, as_array
from ._evaluate import check_finite


@dataclass(frozen=True)
class CurveResidual:
    """The residual of a curve `f(x, *p)`, whose derivative by `p` is `jac(x, *p)` if there is one. Equal for equal curves, so that a second
    call finds what the first compiled."""

    f: Callable[..., Any]
    jac: Callable[..., Any] | None = None

    def __call__(self, ps: FlatParams, st: State, data: Any) -> tuple[Any, State]:
        x, y, weights = data
        residual = self.curve(x, ps.params, y.shape) - y
        if weights is not None and weights.ndim == 2:
            return weights @ residual, st
        return (residual if weights is None else residual * weights), st

    def curve(self, x: PyTree, params: Params, shape: tuple[int, ...] | None) -> Float[Array, " data"]:
        """**Errors:** `ShapeError` for a curve of another shape than this, where there is one; `TypeError` for what JAX cannot trace."""

        def value(*p: Any) -> Array:
            try:
                curve = self.f(x, *p)
            except UNTRACEABLE as error:
                raise explain_untraceable(error, "f, the curve,") from error
            if shape is not None and jnp.shape(curve) != shape:
                raise ShapeError(
                    f"f(x, *p) has shape {jnp.shape(curve)}, expected that of y, {shape}"
                    + ("; multiply a constant by jnp.ones_like(x)" if jnp.shape(curve) == () else "")
                )
            return jnp.asarray(curve)

        if self.jac is None:
            return value(*params.values())
        differentiable = jax.custom_jvp(value)
        differentiable.defjvp(lambda p, rates: self._slope(x, p, value(*p), rates))
        return differentiable(*params.values())

    def _slope(
        self, x: PyTree, p: tuple[Any, ...], value: Array, rates: tuple[Any, ...]
    ) -> tuple[Array, Float[Array, " data"]]:
        assert self.jac is not None
        try:
            slopes = self.jac(x, *p)
        except UNTRACEABLE as error:
            raise explain_untraceable(error, "jac, the derivative of f,") from error
        if jnp.shape(slopes) != (*value.shape, len(p)):
            raise ShapeError(
                f"jac(x, *p) has shape {jnp.shape(slopes)}, expected a column for each parameter, {(*value.shape, len(p))}; "
                "write jnp.stack([...], axis=-1)"
            )
        return value, jnp.asarray(slopes) @ jnp.stack(rates)


def check_curve(f: object, jac: object) -> None:
    """**Errors:** `ParameterError` for what is no function, and the names of SciPy's differences."""
    if not callable(f):
        raise ParameterError(f"f is a function f(x, *p), got {type(f).__name__}; write curve_fit(f, x, y, p0)")
    if isinstance(jac, str):
        raise ParameterError(
            f"jac is a function jac(x, *p), got {jac!r}; derivatives are exact without it, write curve_fit(f, x, y, p0) without jac"
        )
    if jac is not None and not callable(jac):
        raise ParameterError(f"jac is a function jac(x, *p), or None, got {type(jac).__name__}")


def numbers(name: str, value: Any) -> Array:
    """Finite real numbers, integers among them, as an array of JAX's default float."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeError(f"{name} is an array of numbers, got rows of different lengths") from None
    if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ParameterError(f"{name} is an array of real numbers, got {array.dtype} ({type(value).__name__})")
    check_finite(name, array)
    return as_array(array, jnp.result_type(float), name, ParameterError)
