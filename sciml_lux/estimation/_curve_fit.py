"""Fitting a curve, called as in SciPy."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from .._errors import ParameterError, ShapeError
from ..flatten import Parameter, as_array, flatten, real
from ._bounds import check_sides, limits_of, pair
from ._curve import CurveResidual, check_curve, numbers
from ._curve_result import CurveFitResult
from ._evaluate import check_finite
from ._least_squares import least_squares
from ._loss import LossName


def curve_fit(
    f: Callable[..., Any],
    x: Any,
    y: Any,
    p0: Sequence[Any] | Mapping[str, Any] | Any = None,
    sigma: Any = None,
    absolute_sigma: bool = False,
    bounds: tuple[Any, Any] | None = None,
    *,
    loss: LossName = "linear",
    f_scale: float = 1.0,
    jac: Callable[..., Any] | None = None,
    nan_policy: Literal["raise", "omit"] = "raise",
    solver: Any = None,
    max_steps: int = 2000,
    throw: bool = True,
) -> CurveFitResult:
    r"""Fits `y = f(x, *p)` by least squares, as `scipy.optimize.curve_fit` does.

    Minimises `sum(((f(x, *p) - y) / sigma)**2)`, or a robust loss.

        result = lux.estimation.curve_fit(lambda x, a, b: a * jnp.exp(-b * x), x, y, p0=(1.0, 0.1))
        print(result); result.values.a; result.stderr.b

    **Arguments:** `f(x, *p)`: written with `jax.numpy`; the names of its arguments name the parameters. `x`: an array whose first or
    last axis is that of `y`, or a mapping of names to such arrays. `y`: shape `(n,)`. `p0`: the starting values in order, or a mapping
    from the names of the arguments to them; each a number, or a declaration such as `lux.positive(0.5, unit="1/s")`; by default
    SciPy's: 1, or the middle of the bounds, or 1 inside of the one there is. `sigma`: standard deviations of `y`, shape `(n,)` or one
    number; or their covariance, shape `(n, n)`, where errors are correlated: `r^T sigma^-1 r` is minimised. `nan_policy`: whether NaN in
    `x` or `y` is an error, or such points are left out. `bounds=(lower, upper)`: numbers or sequences of them, infinite where there is
    none; they are closed, and where they are equal a parameter is fixed. `absolute_sigma`: whether `sigma` is the true size of the errors,
    rather than their size relative to each other (as in SciPy). `loss`, `f_scale`: see `least_squares`; residuals are divided by `sigma`
    first, so that with it `f_scale` is a number of standard deviations. `jac(x, *p)`: the derivative of `f` by its parameters, shape `(n,
    k)`, written with `jax.numpy`; derivatives are exact without it. `solver`, `max_steps`, `throw`: see `least_squares`.

    **Returns:** a `CurveFitResult`, which is a `LeastSquaresResult`, and predicts; `popt, pcov = result` as in SciPy. Numbers are of JAX's
    default float: SciPy's digits need `jax.config.update("jax_enable_x64", True)`, and the report says so where that is off. Calling it
    again with the same shapes, other bounds, and an `f` of which nothing has changed, in its code or in what it reads, compiles nothing
    (`least_squares` says what is seen).

    **Errors:** `ValueError` for numbers that are not finite, bounds the wrong way round, or `p0` outside them; `ShapeError` for
    lengths that do not agree; `ParameterError` for `p0` that does not fit the arguments of `f`; those of `least_squares`.
    """
    if nan_policy not in ("raise", "omit"):
        raise ValueError(f'nan_policy is "raise" or "omit", got {nan_policy!r}')
    if nan_policy == "omit":
        x, y, sigma = _without_nan(x, y, sigma)
    y = numbers("y", y)
    if y.ndim != 1 or not y.size:
        raise ShapeError(f"y is a sequence of numbers, shape (n,), got shape {y.shape}")
    x = _predictors(x, y.size)
    weights = None if sigma is None else _weights(sigma, y.size)
    check_curve(f, jac)
    start = _checked_start(_default_start(f, bounds) if p0 is None else _name_parameters(f, p0))
    ps = flatten({name: value if isinstance(value, Parameter) else real(value) for name, value in start.items()})
    found = least_squares(
        CurveResidual(f, jac),
        ps,
        data=(x, y, weights),
        bounds=_named_bounds(bounds, start),
        solver=solver,
        max_steps=max_steps,
        absolute_sigma=absolute_sigma,
        loss=loss,
        f_scale=f_scale,
        throw=throw,
    )
    return CurveFitResult(**vars(found))


def _predictors(x: object, length: int) -> Any:
    """An array, or a mapping of names to them."""
    if isinstance(x, Mapping):
        return {name: _predictor(value, length) for name, value in x.items()}
    return _predictor(x, length)


def _predictor(value: Any, length: int) -> jax.Array:
    x = numbers("x", value)
    if x.ndim and length not in (x.shape[0], x.shape[-1]):
        raise ShapeError(f"x and y differ in length: x has shape {x.shape}, y has shape ({length},)")
    return x


def _weights(value: object, length: int) -> jax.Array:
    """What residuals are multiplied with: one over each deviation, or the inverse of the Cholesky factor of their covariance."""
    sigma = numbers("sigma", value)
    if sigma.shape not in ((), (length,), (length, length)):
        raise ShapeError(
            f"sigma holds one standard deviation for each y, shape ({length},), or their covariance, "
            f"({length}, {length}), got {sigma.shape}"
        )
    if sigma.ndim == 2:
        return as_array(_whitening(np.asarray(value, np.float64)), sigma.dtype, "sigma", ParameterError)
    if np.any(np.asarray(value) <= 0):
        raise ValueError(f"sigma: standard deviations are above 0, got {float(np.min(np.asarray(value)))}")
    return 1.0 / jnp.broadcast_to(sigma, (length,))


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """The inverse of the lower Cholesky factor. **Errors:** `ValueError` for what is no covariance."""
    largest = np.max(np.abs(covariance))
    if np.any(np.abs(covariance - covariance.T) > 1e-8 * largest):
        raise ValueError("sigma: a covariance is symmetric, and this matrix is not")
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError("sigma: a covariance is positive definite, and this matrix is not") from None
    return scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True)


def _without_nan(x: Any, y: Any, sigma: Any) -> tuple[Any, Any, Any]:
    """All three without the points at which `y`, or a number of `x`, is NaN."""
    values = np.asarray(y, np.float64)
    if values.ndim != 1:
        return x, y, sigma  # which is said to be wrong later
    length, seen = values.size, ~np.isnan(values)
    predictors = dict(x) if isinstance(x, Mapping) else {"x": x}
    arrays = {name: np.asarray(value) for name, value in predictors.items()}
    for array in arrays.values():
        if array.ndim and length in (array.shape[0], array.shape[-1]) and array.dtype.kind == "f":
            rows = array if array.shape[0] == length else np.moveaxis(array, -1, 0)
            seen &= ~np.any(np.isnan(rows.reshape(length, -1)), axis=1)
    kept = {
        name: array[seen]
        if array.ndim and array.shape[0] == length
        else array[..., seen]
        if array.ndim and array.shape[-1] == length
        else array
        for name, array in arrays.items()
    }
    if sigma is not None:
        sigma = np.asarray(sigma)
        sigma = (
            sigma[np.ix_(seen, seen)]
            if sigma.shape == (length, length)
            else sigma[seen]
            if sigma.shape == (length,)
            else sigma
        )
    return kept if isinstance(x, Mapping) else kept["x"], values[seen], sigma


def _default_start(f: Callable[..., Any], bounds: Any) -> dict[str, float]:
    """SciPy's: 1, or where there are bounds, their middle, or 1 beside the one that there is."""
    _, required, _ = _arguments(f)
    if not required:
        raise ParameterError(
            "how many parameters f has is not seen in its arguments; write p0, a starting value for each"
        )
    lower, upper = (
        limits_of(which, limit, required) for which, limit, _ in pair((-np.inf, np.inf) if bounds is None else bounds)
    )
    with np.errstate(invalid="ignore"):
        middle = lower + (upper - lower) / 2
    one_sided = np.where(np.isfinite(lower), lower + 1, np.where(np.isfinite(upper), upper - 1, 1.0))
    start = np.where(np.isfinite(lower) & np.isfinite(upper), middle, one_sided)
    return dict(zip(required, start.tolist(), strict=True))


def _name_parameters(f: Callable[..., Any], p0: Any) -> dict[str, Any]:
    """`p0` by the names of the arguments of `f`, in their order."""
    if isinstance(p0, str):
        raise ParameterError(f"p0 holds a starting value for each parameter of f, got {p0!r}")
    names, required, open_ended = _arguments(f)
    if isinstance(p0, Mapping):
        values = dict(p0)
        expected = [name for name in names if name in values or name in required]
        unknown = [name for name in values if name not in names]
        if open_ended and not names:
            return values
        if unknown or len(expected) != len(values):
            missing = [name for name in expected if name not in values]
            raise ParameterError(
                f"p0 names the parameters of f, {', '.join(names)}: missing {missing or 'none'}, unknown {unknown or 'none'}"
            )
        return {name: values[name] for name in expected}
    values = list(p0) if isinstance(p0, Sequence) or getattr(p0, "ndim", 0) else [p0]
    if open_ended:
        names += [f"p{i}" for i in range(len(names), len(values))]
    if not len(required) <= len(values) <= len(names):
        raise ParameterError(
            f"p0 has {len(values)} values, and f has {len(names)} parameters: {', '.join(names) or 'none'}"
        )
    return dict(zip(names, values, strict=False))


def _arguments(f: Callable[..., Any]) -> tuple[list[str], list[str], bool]:
    """The names of the positional arguments of `f` after the first, those without a default, and whether `*p` follows."""
    kinds = inspect.Parameter
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return [], [], True  # a builtin: nothing is known
    positional = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    open_ended = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    if not positional and not open_ended:
        raise ParameterError("f takes x and then the parameters, f(x, *p); this one takes nothing")
    rest = positional[1:]
    return [p.name for p in rest], [p.name for p in rest if p.default is kinds.empty], open_ended


def _checked_start(start: dict[str, Any]) -> dict[str, Any]:
    """Starting values, checked."""
    for name, value in start.items():
        number = value.value if isinstance(value, Parameter) else value
        if np.ndim(number) != 0 or np.asarray(number).dtype.kind not in "fiu":
            raise ParameterError(f"p0: {name} is one real number or a declaration of one, got {value!r}")
        check_finite(f"p0, {name}", number)
        if not isinstance(value, Parameter):
            start[name] = float(value)
    return start


def _named_bounds(bounds: object, start: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]] | None:
    """`bounds` by the names of the parameters, but for those that are infinite."""
    if bounds is None:
        return None
    lower, upper = (
        {
            name: float(value)
            for name, value in zip(start, limits_of(which, limit, list(start)), strict=True)
            if np.isfinite(value)
        }
        for which, limit, _ in pair(bounds)
    )
    for name, value in start.items():
        if not isinstance(value, Parameter):
            check_sides(name, value, lower.get(name, -np.inf), upper.get(name, np.inf))
    return lower, upper
