"""A horizon that grows: the start of the series first, then more and more of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..._errors import LayerError
from ._checks import check_count
from ._series import Series, check_one


def growing_horizon(whole: Series, horizons: Sequence[float] | np.ndarray, steps: int) -> Iterator[Series]:
    """The series up to the first of `horizons`, `steps` times, then up to the second, and so on to its end: data for `lux.fit`.

        data = growing_horizon(whole, np.linspace(0.0, 60.0, 7)[1:], steps=200)
        fitted = lux.fit(TrajectoryLoss(node), ps, st, optax.adam(1e-2), data=data)

    At the horizon `T` the times are `min(t, T)` and what lies beyond does not count: the solve ends at `T`, and the loss is
    that of the points until `T`, without their number being changed. All horizons share one compilation, and the optimiser
    keeps its state. The last is the loss of the whole series.

    **Arguments:** `whole`: one series; `horizons`: times, one further than the other, the last one the end of the series;
    `steps`: for each of them.

    **Errors:** `LayerError` for horizons that do not lead to the end, or the first of which leaves nothing to fit.

    **Source:** the curriculum of Bengio et al. 2009; for Neural ODEs e.g. Kidger 2021, On Neural Differential Equations,
    section 2.3.3.
    """
    check_one("growing_horizon", whole)
    steps = check_count("growing_horizon", "steps", steps, 1)
    ts, ends = np.asarray(whole.ts), np.asarray(horizons, float)
    direction = np.sign(ts[-1] - ts[0])
    if ends.ndim != 1 or ends.size == 0 or not np.isfinite(ends).all() or (np.diff(ends) * direction <= 0).any():
        raise LayerError(f"horizons are times, one further than the other, got {horizons}")
    if not np.isclose(ends[-1], ts[-1], rtol=1e-6):
        raise LayerError(f"the last horizon is the end of the series, {ts[-1]:g}, got {ends[-1]:g}")
    if not _until(whole, ends[0]).mask[1:].any():
        raise LayerError(f"nothing was observed between the start, {ts[0]:g}, and the first horizon, {ends[0]:g}")
    ends[-1] = ts[-1]
    return (part for end in ends for part in [_until(whole, end)] for _ in range(steps))


def _until(whole: Series, end: Any) -> Series:
    ts = np.asarray(whole.ts)
    direction = np.sign(ts[-1] - ts[0])
    # What differs by the rounding of sums and products, such as those of linspace, is one time.
    slack = 8 * np.finfo(ts.dtype).eps * max(np.abs(ts).max(), abs(end))
    reached = (end - ts) * direction >= -slack
    last = ts[reached][-1] if reached.any() else ts[0]
    end = end if (end - last) * direction > slack else last
    clipped = np.where(reached, ts, np.asarray(end, ts.dtype))
    return whole._replace(ts=clipped, mask=whole.mask & reached.reshape(-1, *([1] * (whole.mask.ndim - 1))))
