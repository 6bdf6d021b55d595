"""Estimates of a trajectory and its time derivative from measurements, without solving anything."""

from typing import Any, Literal, NamedTuple

import numpy as np

from ..._errors import LayerError, ShapeError
from ._checks import as_times, as_values, check_count, check_lengths, observed

# Bandwidths that are tried, from the narrowest that holds enough points to half the series.
_CANDIDATES = 24
# The least bandwidth to reach a point at a distance of one: the Epanechnikov kernel ends there, the Gaussian one is at 1% of its height.
_REACH = {"epanechnikov": 1.001, "gaussian": 1 / 3}


class Collocation(NamedTuple):
    """Estimated states `ys` and time derivatives `dys`, both `(points, *observed)`, at times `ts`.

    `mask`, of the same shape: where a component was observed before and after, in the same piece; elsewhere the estimates are
    extrapolated, and do not count. `None`: all count.
    """

    ts: Any
    ys: Any
    dys: Any
    mask: Any = None


def collocate_kernel(
    ts: Any,
    ys: Any,
    *,
    at: Any = None,
    kernel: Literal["epanechnikov", "gaussian"] = "epanechnikov",
    degree: int = 2,
    bandwidth: float | None = None,
    breaks: Any = (),
) -> Collocation:
    """Estimates by local polynomials: at each time `t` the polynomial that fits the measurements nearby best.

        b(t) = argmin_b  sum_i K((t_i - t) / h) (y_i - sum_p b_p (t_i - t)^p)^2,     y(t) = b_0,    dy/dt(t) = b_1,

    with the kernel `K(u) = 3/4 (1 - u^2)` for `|u| < 1` (Epanechnikov), or `exp(-u^2 / 2)` (Gaussian), and the bandwidth `h`. For a
    polynomial of the second degree, without noise, the derivative is right up to `O(h^2)`. Each component has estimates of its
    own, out of the points at which it was observed.

    **Arguments:** `ts`: `(points,)`, sorted; `ys`: `(points, *observed)`, NaN where nothing was observed; `at`: where to
    estimate (default: `ts`); `kernel`; `degree`: of the polynomials, 1 or more; `bandwidth`: `h`, in the units of `ts`
    (default: for each component the one with the least error at points left out, each in turn). Where fewer than `degree + 2`
    points lie within, it is wider; `breaks`: times at which the state jumps, such as those of doses: what lies between two of them is
    estimated by itself, a break with what follows it.

    **Returns:** a `Collocation`, data for `CollocationLoss`; its `ys` also serve as the starts of `windows`.

    **Errors:** `LayerError` for an option that cannot be, an infinite value, or a component with too few observations in a piece;
    `ShapeError` for times and values that do not go together.

    **Source:** Roesch, Rackauckas and Stumpf 2021, Collocation based training of neural ordinary differential equations; Fan and
    Gijbels 1996, Local Polynomial Modelling and Its Applications, chapter 3.
    """
    degree = check_count("collocate_kernel", "degree", degree, 1)
    if kernel not in ("epanechnikov", "gaussian"):
        raise LayerError(f"collocate_kernel: kernel is 'epanechnikov' or 'gaussian', got {kernel!r}")
    if bandwidth is not None and not bandwidth > 0:
        raise LayerError(f"collocate_kernel: bandwidth is a time above 0, got {bandwidth!r}")

    def estimate(t: np.ndarray, y: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = _best_bandwidth(t, y, kernel, degree) if bandwidth is None else bandwidth
        coefficients, _ = _local_polynomials(t, y, at, kernel, degree, h)
        return coefficients[:, 0], coefficients[:, 1]

    return _by_component("collocate_kernel", estimate, ts, ys, at, degree + 3, breaks)


def collocate_spline(
    ts: Any, ys: Any, *, at: Any = None, smoothing: float | None = None, breaks: Any = ()
) -> Collocation:
    """Estimates by a smoothing spline: the natural cubic spline `f` that minimises

        sum_i (y_i - f(t_i))^2 + smoothing * integral f''(t)^2 dt,     y(t) = f(t),    dy/dt(t) = f'(t).

    Each component has a spline of its own, through the points at which it was observed.

    **Arguments:** `ts`: `(points,)`, sorted, all different; `ys`: `(points, *observed)`, NaN where nothing was observed; `at`:
    where to estimate (default: `ts`); `smoothing`: 0 or more (default: for each component by generalised cross-validation);
    `breaks`: times at which the state jumps, as for `collocate_kernel`.

    **Returns:** a `Collocation`, data for `CollocationLoss`; its `ys` also serve as the starts of `windows`.

    **Errors:** `LayerError` for a negative smoothing, for equal times, an infinite value, or a component with fewer than five observations;
    `ShapeError` for times and values that do not go together.

    **Source:** `scipy.interpolate.make_smoothing_spline`; Wahba 1990, Spline Models for Observational Data; as a start of a
    fit, Varah 1982, A spline least squares method for numerical parameter estimation in differential equations.
    """
    if smoothing is not None and not smoothing >= 0:
        raise LayerError(f"collocate_spline: smoothing is 0 or more, got {smoothing!r}")

    from scipy.interpolate import make_smoothing_spline  # takes 0.2 s to import, and few need it

    def estimate(t: np.ndarray, y: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not (np.diff(t) > 0).all():
            raise LayerError("collocate_spline: two measurements of one time; average them, or use collocate_kernel")
        # In units in which the points are one apart: what cross-validation searches is well scaled there.
        unit = (t[-1] - t[0]) / (t.size - 1)
        spline = make_smoothing_spline((t - t[0]) / unit, y, lam=None if smoothing is None else smoothing / unit**3)
        scaled = (at - t[0]) / unit
        return spline(scaled), spline.derivative()(scaled) / unit

    return _by_component("collocate_spline", estimate, ts, ys, at, 5, breaks)


def _by_component(name: str, estimate: Any, ts: Any, ys: Any, at: Any, least: int, breaks: Any) -> Collocation:
    """Estimates of each component from its own observations, computed in double precision, in the dtype of `ys`."""
    times, ys = as_times(ts), as_values(name, ys)
    check_lengths(times, ys)
    where = times if at is None else np.asarray(at)
    if where.ndim != 1:
        raise ShapeError(f"{name}: at is a vector of times, got shape {where.shape}")
    if not np.isfinite(where).all():
        raise ShapeError(f"{name}: at is a vector of finite times, got {where}")
    edges = np.sort(np.asarray(breaks, np.float64))
    if edges.ndim != 1 or np.isnan(edges).any():
        raise ShapeError(f"{name}: breaks is a vector of times, got {breaks!r}")
    dtype = ys.dtype
    order = np.argsort(times, kind="stable")
    t, columns = times[order].astype(np.float64), ys.reshape(len(ys), -1)[order].astype(np.float64)
    seen, points = observed(name, columns), where.astype(np.float64)
    estimates = [
        _by_piece(f"{name}: component {index}", estimate, t[keep], column[keep], points, least, edges)
        for index, (column, keep) in enumerate(zip(columns.T, seen.T, strict=True))
    ]
    shape = (where.size, *ys.shape[1:])
    values, slopes, mask = (np.stack(parts, axis=1).reshape(shape) for parts in zip(*estimates, strict=True))
    return Collocation(where.astype(dtype), values.astype(dtype), slopes.astype(dtype), mask)


def _by_piece(
    name: str, estimate: Any, t: np.ndarray, y: np.ndarray, at: np.ndarray, least: int, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimates from the observations of the piece that a time is in, and whether it lies between two of them."""
    values, slopes, mask = np.zeros(at.size), np.zeros(at.size), np.zeros(at.size, bool)
    piece_of_t, piece_of_at = (np.searchsorted(edges, times, side="right") for times in (t, at))
    for piece in np.unique(piece_of_at):
        own, wanted = piece_of_t == piece, piece_of_at == piece
        if own.sum() < least:
            between = f" between breaks at {_span(edges, piece)}" if edges.size else ""
            raise LayerError(
                f"{name} was observed {own.sum()} times{between}, which is too few; at least {least} are needed"
            )
        values[wanted], slopes[wanted] = estimate(t[own], y[own], at[wanted])
        mask[wanted] = (at[wanted] >= t[own][0]) & (at[wanted] <= t[own][-1])
    return values, slopes, mask


def _span(edges: np.ndarray, piece: int) -> str:
    begin, end = np.concatenate([[-np.inf], edges, [np.inf]])[[piece, piece + 1]]
    return f"{begin:g} and {end:g}"


def _local_polynomials(
    t: np.ndarray, y: np.ndarray, at: np.ndarray, kernel: str, degree: int, h: float
) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients `(at, degree + 1)`, and for each the weight that `b_0` gives to a measurement at that very time."""
    apart = t[None, :] - at[:, None]
    reach = np.partition(np.abs(apart), degree + 1, axis=1)[:, degree + 1]
    width = np.maximum(h, _REACH[kernel] * reach)
    u = apart / width[:, None]
    weights = 0.75 * np.maximum(1 - u**2, 0) if kernel == "epanechnikov" else np.exp(-(u**2) / 2)
    powers = u[..., None] ** np.arange(degree + 1)
    weighted = weights[..., None] * powers
    gram = np.einsum("anp,anq->apq", weighted, powers)
    # Points at one and the same time, or nearly, do not determine a polynomial; what they leave open is the least one.
    inverse = np.linalg.pinv(gram, rcond=1e-13, hermitian=True)
    coefficients = np.einsum("apq,anq,n->ap", inverse, weighted, y)
    center = 0.75 if kernel == "epanechnikov" else 1.0
    return coefficients / width[:, None] ** np.arange(degree + 1), center * inverse[:, 0, 0]


def _best_bandwidth(t: np.ndarray, y: np.ndarray, kernel: str, degree: int) -> float:
    """The bandwidth with the least squared error at points left out, by the formula for linear smoothers, `r_i / (1 - S_ii)`."""
    span = t[-1] - t[0]
    narrowest = min(_REACH[kernel] * (degree + 2) / 2 * span / (t.size - 1), span / 2)
    candidates = np.geomspace(narrowest, span / 2, _CANDIDATES)

    def error(h: float) -> float:
        coefficients, own = _local_polynomials(t, y, t, kernel, degree, h)
        return float(np.mean(((y - coefficients[:, 0]) / np.maximum(1 - own, 1e-6)) ** 2))

    return float(min(candidates, key=error))
