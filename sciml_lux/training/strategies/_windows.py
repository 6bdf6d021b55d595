"""A long series in short windows, and minibatches of them."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..._errors import LayerError, ShapeError
from ._checks import check_count
from ._series import Series, check_one


def windows(whole: Series, length: int, *, stride: int | None = None, starts: Any = None) -> Series:
    """The windows of `length` points of a series, as a batch of series.

    Window `k` begins at point `k * stride`, from the state there. Its first point is what it starts from, so that it does not
    count, except in the first window. With the default stride a window begins where the one before ends: every observation
    counts exactly once, and a solution has the loss of the whole series. The last window is filled up with its last time, which
    does not count again. A window that begins at a jump begins after it: it does not give a dose again, nor repeat an event.

    **Arguments:** `whole`: one series; `length`: points of a window, both ends included; `stride`: from 1 to `length - 1`, the
    default; `starts`: the states at all times of the series, a tree of arrays with `points` rows, such as `collocate_spline(ts,
    ys).ys`, at a jump the one after it (default: the values measured).

    **Returns:** a `Series` with a leading axis of windows.

    **Errors:** `LayerError` for a length or stride that cannot be, and where a window would start from a value that was not
    observed.

    **Source:** Bock 1983, Recent advances in parameter identification techniques for ODE, for the partition.
    """
    check_one("windows", whole)
    points = whole.ts.size
    length = check_count("windows", "length", length, 2, points)
    stride = length - 1 if stride is None else check_count("windows", "stride", stride, 1, length - 1)
    first = np.arange(0, max(points - length, 0) + stride, stride)
    index = first[:, None] + np.arange(length)[None, :]
    inside = index < points
    index = np.minimum(index, points - 1)
    mask = whole.mask[index] & inside.reshape(*inside.shape, *([1] * (whole.mask.ndim - 1)))
    mask[1:, 0] = False
    seam = np.arange(first.size) > 0
    doses, inputs = jax.tree.map(
        lambda leaf: np.broadcast_to(leaf, (first.size, *np.shape(leaf))), (whole.doses, whole.inputs)
    )
    return Series(
        whole.ts[index],
        whole.ys[index],
        mask,
        _starts(whole, first, starts),
        seam | whole.resumed | (starts is not None),
        doses,
        inputs,
        seam if first.size > 1 else None,
    )


def _starts(whole: Series, first: np.ndarray, starts: Any) -> Any:
    points = whole.ts.size
    if starts is not None:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(starts)]
        if any(shape[:1] != (points,) for shape in shapes):
            raise ShapeError(f"starts are the states at all {points} times of the series, got arrays of shape {shapes}")
        taken = jax.tree.map(lambda leaf: np.asarray(leaf)[first], starts)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(taken)):
            raise LayerError("starts hold numbers that are not finite where a window begins")
        return taken
    if not isinstance(whole.y0, np.ndarray) or whole.y0.shape != whole.ys.shape[1:]:
        raise LayerError(
            "the state has another shape than what is observed of it, so that a window cannot start from a measurement; pass starts="
        )
    missing = [k for k in first[1:] if not whole.mask[k].all()]
    if missing:
        raise LayerError(
            f"a window would start at time {whole.ts[missing[0]]:g}, where a value is missing; "
            "pass starts=, for example collocate_spline(ts, ys).ys"
        )
    return np.concatenate([whole.y0[None], whole.ys[first[1:]]])


def minibatches(rows: Any, size: int, key: Any) -> Iterator[Any]:
    """Batches of `size` rows of a tree of arrays, without end, for `lux.fit(..., data=minibatches(windows(...), 16, key), steps=1000)`.

    Rows come in a new random order in every epoch. Within an epoch each comes exactly once; a batch that the end of an epoch
    leaves incomplete is filled from the next, so that all have one shape. The order depends on `key` and the number of rows alone.

    **Arguments:** `rows`: a tree of arrays with one leading axis, such as `windows(...)`; `size`: from 1 to the number of rows;
    `key`: from `jax.random.key`.

    **Errors:** `ShapeError` for arrays of differing numbers of rows; `LayerError` for a size that cannot be.
    """
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(rows)}
    if len(lengths) != 1 or lengths == {()}:
        raise ShapeError(
            f"minibatches takes arrays with the same number of rows, got {sorted(lengths)}; one series is cut by windows(...)"
        )
    [(number,)] = lengths
    return _batches(jax.tree.map(np.array, rows), number, check_count("minibatches", "size", size, 1, number), key)


def _batches(rows: Any, number: int, size: int, key: Any) -> Iterator[Any]:
    order, epoch = np.zeros(0, int), 0
    while True:
        while order.size < size:
            order = np.concatenate([order, np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), number))])
            epoch += 1
        taken, order = order[:size], order[size:]
        yield jax.tree.map(lambda leaf, taken=taken: leaf[taken], rows)
