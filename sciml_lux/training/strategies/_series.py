"""A measured series as a loss takes it: times, values, what was observed, the state that it starts from, and what drives it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..._errors import LayerError, ShapeError
from ...flatten import owned
from ._checks import as_times, as_values, check_lengths, observed


class Series(NamedTuple):
    """Observations `ys` at times `ts`, and the state `y0` at `ts[0]`. A leading axis of all arrays makes a batch of series.

    **Attributes:** `ts`: `(points,)`, sorted; `ys`: `(points, *observed)`, 0 where nothing was observed; `mask`: of the shape of
    `ys`, True for what was observed and counts; `y0`: the state at `ts[0]`, any tree; `resumed`: whether `y0` is the state after the
    jumps at `ts[0]`, as a measurement is, so that doses until then are not given again; `doses`: `(times, amounts)` of a
    `JumpODE`; `inputs`: of a model that takes control inputs; `seam`: for windows of a series, whether each begins within it.
    """

    ts: Any
    ys: Any
    mask: Any
    y0: Any
    resumed: Any = False
    doses: Any = None
    inputs: Any = None
    seam: Any = None


def series(
    ts: Any, ys: Any, *, y0: Any = None, t0: float | None = None, doses: Any = None, inputs: Any = None
) -> Series:
    """A `Series` out of times and measured values, in which NaN says that nothing was observed.

    **Arguments:** `ts`: `(points,)`, sorted, at any distances, forward or backward; `ys`: `(points, *observed)`, NaN, or masked by
    `numpy.ma`, where nothing was observed; `y0`: the state at the start, before a dose there (default: the first value measured,
    after it); `t0`: the time of `y0`, if it is not that of the first measurement; `doses`: `(times, amounts)` of this series, for a
    `lux.JumpODE`; `inputs`: those of this series, a tree of arrays that can be called, such as
    `lux.solvers.linear_input(ts, values)`.

    **Returns:** a `Series` of `points` times (one more, unobserved, with a `t0` of its own).

    **Errors:** `ShapeError` for times that are not sorted or do not go with the values, and for doses that are not times and
    amounts; `LayerError` for values that are infinite, if nothing was observed, and if there is nothing to start from.
    """
    ts, ys = as_times(ts), as_values("series", ys)
    check_lengths(ts, ys)
    mask = observed("series", ys)
    resumed = y0 is None
    if y0 is None:
        if t0 is not None and t0 != ts[0]:
            raise LayerError(f"the first value was measured at {ts[0]:g}, not at t0={t0:g}; pass y0=, the state there")
        if not mask[1:].any():
            raise LayerError(
                "series: nothing was observed after the start, which is what a solution begins from; pass y0=, or leave it out"
            )
        y0 = ys[0]
    y0 = jax.tree.map(np.array, y0)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(y0)):
        raise LayerError(
            "the state at the start is not known: y0 holds numbers that are not finite; pass y0=, for example "
            "collocate_spline(ts, ys).ys[0]"
        )
    if t0 is not None and t0 != ts[0]:
        ts = as_times(np.concatenate([np.asarray([t0], ts.dtype), ts]))
        ys, mask = (np.concatenate([np.zeros_like(array[:1]), array]) for array in (ys, mask))
    doses = None if doses is None else _checked_doses(doses, ts[0], resumed)
    if not all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(inputs)):
        raise LayerError(
            f"the inputs of a series are a tree of arrays, such as lux.solvers.linear_input(ts, values), got {inputs!r}; inputs that are "
            "a function, the same for all series, go to TrajectoryLoss(node, solve=functools.partial(node.solve, inputs=...))"
        )
    return Series(
        ts, np.where(mask, ys, np.zeros_like(ys)), mask, y0, np.asarray(resumed), doses, jax.tree.map(owned, inputs)
    )


def stack_series(parts: Sequence[Series]) -> Series:
    """Several series as a batch, whose lengths and numbers of doses may differ: data for `TrajectoryLoss`.

    What is shorter is filled up: with its last time, at which nothing was observed, and with doses that are never given.

    **Arguments:** `parts`: series, of equal states and observations; their inputs have as many samples.

    **Errors:** `LayerError` for none, for anything else, and where some have doses or inputs and others have not; `ShapeError`
    for states, observations or inputs of differing shapes.
    """
    parts = list(parts)
    if not parts:
        raise LayerError("stack_series takes at least one Series, got none")
    for part in parts:
        check_one("stack_series", part)
    for what in ("doses", "inputs"):
        missing = [index for index, part in enumerate(parts) if getattr(part, what) is None]
        if missing and len(missing) < len(parts):
            none = "([], amounts without rows)" if what == "doses" else "inputs that are 0"
            raise LayerError(f"stack_series: series {missing[0]} has no {what}, others have; give it {none}")
    longest = max(part.ts.size for part in parts)
    most = max(0 if part.doses is None else np.size(part.doses[0]) for part in parts)
    filled = [_filled(part, longest, most)._replace(seam=None) for part in parts]
    shapes = [str(jax.tree.map(lambda leaf: (np.shape(leaf), str(leaf.dtype)), part)) for part in filled]
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ShapeError(
                f"stack_series: states, observations, doses and inputs of all series have the same shapes and dtypes; got {shapes[0]} for "
                f"series 0 and {shape} for series {index}"
            )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *filled)


def check_one(name: str, whole: Series) -> None:
    """Raises `LayerError` unless `whole` is a `Series`, and `ShapeError` if it is a batch of them."""
    if not isinstance(whole, Series):
        raise LayerError(f"{name} takes a Series, got {type(whole).__name__}; write series(ts, ys)")
    if np.ndim(whole.ts) != 1:
        raise ShapeError(f"{name} takes one series, got a batch of them with ts of shape {np.shape(whole.ts)}")


def _checked_doses(doses: Any, start: Any, resumed: bool) -> tuple[np.ndarray, Any]:
    if not (isinstance(doses, tuple) and len(doses) == 2):
        raise ShapeError(f"the doses of a series are a pair (times, amounts), got {doses!r}")
    times, amounts = jax.tree.map(np.array, doses, is_leaf=lambda node: isinstance(node, list))
    rows = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(amounts)}
    if np.ndim(times) != 1 or not rows <= {(times.size,)}:
        raise ShapeError(
            f"the doses of a series are times (doses,) and amounts (doses, ...), got times of shape {np.shape(times)} and amounts with "
            f"{sorted(rows)} rows"
        )
    if np.isnan(times).any():
        raise ShapeError("the times of doses hold NaN; write inf for a dose that is not given")
    if not resumed and (times < start).any():
        raise ShapeError(
            f"a dose at {times.min():g} comes before the series starts, at {start:g}; leave it out, or pass t0=, the time of y0"
        )
    return times, amounts


def _filled(part: Series, points: int, doses: int) -> Series:
    def padded(array: Any, number: int, value: Any) -> np.ndarray:
        rows = np.broadcast_to(np.asarray(value, array.dtype), (number - len(array), *array.shape[1:]))
        return np.concatenate([np.asarray(array), rows])

    ts, ys, mask = padded(part.ts, points, part.ts[-1]), padded(part.ys, points, 0), padded(part.mask, points, False)
    given = part.doses
    if given is not None:
        times = given[0] if np.issubdtype(given[0].dtype, np.floating) else given[0].astype(ts.dtype)
        given = padded(times, doses, np.inf), jax.tree.map(lambda leaf: padded(leaf, doses, 0), given[1])
    return part._replace(ts=ts, ys=ys, mask=mask, resumed=np.asarray(part.resumed), doses=given)
