"""Pictures of a fit."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from scipy.special import ndtri

from .._names import resolve
from .._wald import estimates
from ..problem import Predicted, filled
from ._estimate import Estimate
from ._predict import predict
from ._profile import profiles


def draw(estimate: Estimate, kind: str, **options: PyTree) -> Any:
    """**Errors:** `ValueError` for an unknown kind, `ImportError`, naming the extra, without matplotlib."""
    if kind not in _KINDS:
        raise ValueError(f"a fit is drawn as one of {', '.join(map(repr, _KINDS))}, got {kind!r}")
    return _KINDS[kind](estimate, **options)


def figure_of(columns: int, rows: int = 1, **options: PyTree) -> tuple[Any, list[Any]]:
    """A figure that stays out of pyplot's list, with its axes in one list."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures are drawn by matplotlib; write pip install 'sciml-lux[plots]'") from error
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def _fit(estimate: Estimate, level: float | None = None, points: int = 200) -> Any:
    """Measurements and curves of every observable; with a level, bands of confidence (dark) and prediction (light)."""
    data, names = estimate.problem.data, estimate.problem.data.observables
    first = min(float(one.ts[0]) for one in data.experiments)
    last = max(float(one.ts[-1]) for one in data.experiments)
    predicted = predict(estimate, np.linspace(first, last, points), 0.95 if level is None else level)
    figure, axes = figure_of(len(names))
    for axis, name in zip(axes, names, strict=True):
        for i, one in enumerate(data.experiments):
            color = f"C{i % 10}"
            axis.plot(
                predicted.ts,
                predicted.values[name][i],
                color=color,
                label=one.name if len(data.experiments) > 1 else None,
            )
            if level is not None:
                axis.fill_between(
                    predicted.ts, *(end[i] for end in predicted.prediction[name]), color=color, alpha=0.12, linewidth=0
                )
                axis.fill_between(
                    predicted.ts, *(end[i] for end in predicted.confidence[name]), color=color, alpha=0.3, linewidth=0
                )
            for row in one.observations.get(name, ()):
                axis.plot(one.ts, row, "o", color=color, markersize=4)
        axis.set(xlabel="time", ylabel=name)
        if 1 < len(data.experiments) <= 10:
            axis.legend(frameon=False, fontsize="small")
    return figure


def _bands(estimate: Estimate, level: float = 0.95, points: int = 200) -> Any:
    return _fit(estimate, level, points)


def _residuals(estimate: Estimate) -> Any:
    """Standardised residuals over time, and their quantiles beside those of a normal density."""
    figure, (left, right) = figure_of(2)
    every = []
    for name, ts, numbers in standardised(estimate):
        left.plot(ts, numbers, "o", markersize=4, label=name)
        every.append(numbers)
    ordered = np.sort(np.concatenate(every))
    quantiles = ndtri((np.arange(len(ordered)) + 0.5) / len(ordered))
    right.plot(quantiles, ordered, "o", markersize=4)
    right.axline((0, 0), slope=1, color="0.6", linewidth=1)
    left.axhline(0, color="0.6", linewidth=1)
    left.legend(frameon=False, fontsize="small")
    left.set(xlabel="time", ylabel="residual / standard deviation")
    right.set(xlabel="normal quantile", ylabel="residual / standard deviation")
    return figure


def standardised(estimate: Estimate) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """By observable, times and residuals in their standard deviations, of what was observed and not censored."""
    arrays, summary, found = estimate.problem.arrays, estimate.found.summary, []
    for name, noise in estimate.problem.function.simulation.noise:
        one = arrays.observed[name]
        location, spread = filled(Predicted(summary.location[name], summary.spread[name]), one)
        ts = np.broadcast_to(arrays.ts[:, None, :], one.mask.shape)
        seen = one.mask if one.censored is None else one.mask & (one.censored == 0)
        numbers = np.asarray(noise.standardized(jnp.asarray(one.value), location, spread))[seen]
        found.append((name, ts[seen], numbers))
    return found


def _profiles(estimate: Estimate, names: str | Sequence[str] | None = None, level: float = 0.95) -> Any:
    found = profiles(estimate, names, level, 15)
    columns = min(4, len(found.lines))
    figure, axes = figure_of(columns, -(-len(found.lines) // columns))
    limit = 0.5 * ndtri((1 + level) / 2) ** 2
    for axis, (name, line) in zip(axes, found.lines.items(), strict=False):
        axis.plot(line.values, line.drop, "o-", markersize=3)
        axis.axhline(limit, color="0.6", linewidth=1)
        axis.axvline(line.best, color="0.6", linewidth=1)
        axis.set(xlabel=name, ylabel="fall of the log-likelihood")
    for axis in axes[len(found.lines) :]:
        axis.set_visible(False)
    return figure


def _correlation(estimate: Estimate) -> Any:
    figure, (axis,) = figure_of(1)
    image = axis.imshow(estimate.correlation, vmin=-1, vmax=1, cmap="RdBu_r")
    axis.set_xticks(range(len(estimate.names)), estimate.names, rotation=90, fontsize="small")
    axis.set_yticks(range(len(estimate.names)), estimate.names, fontsize="small")
    figure.colorbar(image, label="correlation")
    return figure


def _pairs(estimate: Estimate, names: Sequence[str] | None = None, level: float = 0.95) -> Any:
    """Of each pair of estimates the ellipse in which both lie with this confidence, and half as confidently; by their covariance."""
    known = [
        i
        for i in range(len(estimate.names))
        if np.isfinite(estimate.covariance[i, i]) and estimate.covariance[i, i] > 0
    ]
    asked = None if names is None else [estimate.names.index(resolve(name, estimate.names, "pairs")) for name in names]
    chosen = [i for i in known if asked is None or i in asked]
    if len(chosen) < 2:
        raise ValueError(
            f"pairs are of two numbers or more with standard errors, got {[estimate.names[i] for i in chosen]}"
        )
    values, side = estimates(estimate.point), len(chosen) - 1
    figure, axes = figure_of(side, side)
    angles = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    for row, i in enumerate(chosen[1:]):
        for column, j in enumerate(chosen[:-1]):
            axis = axes[row * side + column]
            if column > row:
                axis.set_visible(False)
                continue
            covariance = estimate.covariance[np.ix_([j, i], [j, i])]
            lengths, directions = np.linalg.eigh(covariance)
            for share, style in ((level, "-"), (0.5, "--")):
                radius = np.sqrt(-2 * np.log1p(-share))
                x, y = directions @ (np.sqrt(np.maximum(lengths, 0))[:, None] * circle) * radius
                axis.plot(values[j] + x, values[i] + y, style, color="C0")
            axis.plot(values[j], values[i], "o", color="C1", markersize=4)
            axis.set(
                xlabel=estimate.names[j] if row == side - 1 else "", ylabel=estimate.names[i] if column == 0 else ""
            )
    return figure


_KINDS: dict[str, Callable[..., Any]] = {
    "fit": _fit,
    "bands": _bands,
    "residuals": _residuals,
    "profiles": _profiles,
    "correlation": _correlation,
    "pairs": _pairs,
}
