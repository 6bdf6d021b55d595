"""Measured forcing: functions of time made of samples, whose kinks and jumps a solver is told of."""

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PyTree, Shaped

from ..._errors import LayerError, ShapeError
from ...flatten import as_array
from ...kernels import is_traced, known
from .._types import Fields, StateTree, Time
from ._fields import map_fields
from ._implicit import ImplicitSteps


class SampledInput(eqx.Module):
    """A function of time made of samples: `evaluate(t)` is its value. For `inputs=`, alone or within any callable pytree.

    `ts`: times of the samples, infinite in the padding; `number`: how many samples are no padding; `is_continuous`: whether a derivative
    jumps there, or the value itself. A solve steps exactly onto them.
    """

    ts: Shaped[Array, " samples"]
    number: Int[Array, ""]
    curve: Any
    value_at: Callable[[Any, Any, Any, Any], Any] = eqx.field(static=True)
    is_continuous: bool = eqx.field(static=True)

    def evaluate(self, t: Time) -> Any:
        """The value at `t`, or NaN before the first sample and, unless the last is held, after the last one."""
        t = jnp.asarray(t)
        # In the precision of the solve, in which it steps onto the samples; times need not be floating-point numbers.
        t = t if jnp.issubdtype(t.dtype, jnp.floating) else t.astype(self.ts.dtype)
        ts = self.ts.astype(t.dtype)
        covered = (t >= ts[0]) & ((t <= ts[self.number - 1]) | (not self.is_continuous))
        value = self.value_at(ts, self.number, self.curve, t)
        return jax.tree.map(lambda leaf: jnp.where(covered, leaf, jnp.asarray(jnp.nan, leaf.dtype)), value)


def linear_input(ts: Any, values: Any, *, length: Any = None) -> SampledInput:
    """The straight lines between samples: `u(t) = u_i + (u_{i+1} - u_i) (t - t_i) / (t_{i+1} - t_i)`.

    A sample that is NaN is missing: the line goes past it. Each sample is a kink, onto which a solve steps.

    **Arguments:** `ts`: times of the samples, increasing, `(samples,)`; `values`: a tree of arrays with a leading axis of samples;
    `length`: how many of them are real. The rest is padding, whatever it holds, as are, at the end, times that are NaN or infinite, and
    under `jax.vmap`, which makes the inputs of samples of several lengths, values that are NaN. Gradients with respect to `values`;
    with respect to the times of kinks the value at each of them has two.

    **Errors:** `ShapeError` for shapes that do not fit, times that do not increase, a first or last sample that is missing, and a length
    that cannot be; for a derivative with respect to `ts`, an error of JAX that says so.
    """
    ts, values, number = _checked("linear_input", ts, values, length, 2, "inside")
    filled = jax.tree.map(
        lambda leaf: diffrax.linear_interpolation(_spaced(ts, number).astype(leaf.dtype), leaf), values
    )
    return SampledInput(ts, number, filled, _line, True)


def cubic_input(ts: Any, values: Any, *, length: Any = None) -> SampledInput:
    """The cubic spline through samples: twice continuously differentiable, its third derivative continuous at the second and the last but
    one sample ("not a knot", as `scipy.interpolate.CubicSpline`).

    For signals that are smooth: the error falls with the fourth power of the distance of the samples. Splines from backward differences
    (`diffrax.backward_hermite_coefficients`), which look at no later sample, have the second-order error of straight lines; use them,
    in a `diffrax.CubicInterpolation`, for a signal that arrives while one solves. It overshoots at steps: use `linear_input` or
    `hold_input` for signals that have them. The third derivative jumps at each sample, onto which a solve steps.

    **Arguments:** `ts`: times of the samples, increasing, `(samples,)`, at least 4; `values`: a tree of arrays with a leading axis of
    samples; `length`: how many are real, as for `linear_input`. Gradients with respect to both.

    **Errors:** `ShapeError` for shapes that do not fit, times that do not increase, a length that cannot be, and missing samples, which
    are NaN.

    **Source:** de Boor 1978, A Practical Guide to Splines, chapter IV.
    """
    ts, values, number = _checked("cubic_input", ts, values, length, 4, "nowhere")
    slopes = jax.tree.map(lambda leaf: _spline_slopes(_spaced(ts, number).astype(leaf.dtype), number, leaf), values)
    return SampledInput(ts, number, (values, slopes), _cubic, True)


def hold_input(ts: Any, values: Any, *, length: Any = None) -> SampledInput:
    """The last sample, held until the next (zero-order hold): `u(t) = u_i` for `t_i <= t < t_{i+1}`, and `u_n` from `t_n` on.

    A sample that is NaN is missing: the one before is held. Each sample is a jump, before and after which a solve steps.

    **Arguments:** `ts`: times of the samples, increasing, `(samples,)`; `values`: a tree of arrays with a leading axis of samples, which
    may be parameters that step in time: `inputs=hold_input(times, ps["rates"])`; `length`: how many are real, as for `linear_input`.
    Gradients with respect to `values`. The times at which a held signal jumps cannot be differentiated with respect to.

    **Errors:** `ShapeError` for shapes that do not fit, times that do not increase, a first sample that is missing, and a length that
    cannot be; for a derivative with respect to `ts`, an error of JAX that says so.
    """
    ts, values, number = _checked("hold_input", ts, values, length, 1, "after the first")

    def filled(leaf: Array) -> Any:
        def hold(last: Array, value: Array) -> tuple[Any, Any]:
            value = jnp.where(jnp.isnan(value), last, value)
            return value, value

        return lax.scan(hold, leaf[0], leaf)[1]

    return SampledInput(ts, number, jax.tree.map(filled, values), _held, False)


def step_onto(args: PyTree, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """`args` and `settings` of `diffrax.diffeqsolve` by which a solve steps onto the kinks and jumps of the sampled inputs in `args`, and
    the jumps of the field, `settings["jump_ts"]`, if there are any.

    A solver that cannot choose its steps takes them as they come.

    **Errors:** `ShapeError` for inputs that are not known throughout the solve.
    """
    settings = dict(settings)
    t0, t1, jumps = settings["t0"], settings["t1"], settings.pop("jump_ts", None)
    sampled = [node for node in jax.tree.leaves(args, is_leaf=_is_sampled) if _is_sampled(node)]
    if not sampled and jumps is None:
        return args, settings
    for node in sampled:
        _check_span(node, t0, t1)
    dtype = jnp.result_type(t0)
    first, last = _ends(t0, t1)
    args = jax.tree.map(lambda node: _until(node, last) if _is_sampled(node) else node, args, is_leaf=_is_sampled)
    controller = settings["stepsize_controller"]
    if isinstance(controller, diffrax.AbstractAdaptiveStepSizeController):
        found = {}
        for name, continuous in (("step_ts", True), ("jump_ts", False)):
            times = [lax.stop_gradient(node.ts).astype(dtype) for node in sampled if node.is_continuous == continuous]
            if jumps is not None and not continuous:
                between = jnp.asarray(jumps, dtype)
                times.append(jnp.where((between > first) & (between < last), between, jnp.inf))
            if times:
                found[name] = jnp.concatenate(times)
        settings["stepsize_controller"] = diffrax.ClipStepSizeController(controller, **found)
        if isinstance(settings["solver"], ImplicitSteps):
            end = lax.stop_gradient(jnp.asarray(t1, dtype)) if sampled else None
            settings["solver"] = dataclasses.replace(settings["solver"], jump_ts=found.get("jump_ts"), end=end)
    return args, settings


def off_jumps(field: Fields, settings: dict[str, Any]) -> Any:
    """`field`, a tuple of them, or terms of diffrax, of a solve that may start or end at a jump: evaluated there on the side where
    the solve is.

    At jumps in between it is not evaluated: the steps end right before and begin right after them.
    """
    if "jump_ts" not in settings:
        return field
    of_solve = settings["jump_ts"], *_ends(settings["t0"], settings["t1"])
    return map_fields(lambda part: jax.tree_util.Partial(_off_jumps, part, *of_solve), field)


def _off_jumps(
    field: Callable[..., Any],
    jumps: Array | np.ndarray,
    first: Float[Array, ""],
    last: Float[Array, ""],
    t: Float[Array, ""],
    y: StateTree,
    args: PyTree,
) -> Any:
    jumps, inside = jnp.asarray(jumps, t.dtype), lax.stop_gradient(t)
    inside = jnp.where((inside <= first) & jnp.any(jumps == first), eqxi.nextafter(first), inside)
    inside = jnp.where((inside >= last) & jnp.any(jumps == last), eqxi.prevbefore(last), inside)
    return field(t + lax.stop_gradient(inside - t), y, args)


def _ends(t0: jax.typing.ArrayLike, t1: jax.typing.ArrayLike) -> tuple[Any, Any]:
    """The earlier and the later end of a solve, as constants."""
    ends = [lax.stop_gradient(jnp.asarray(t, jnp.result_type(t0))) for t in (t0, t1)]
    return jnp.minimum(*ends), jnp.maximum(*ends)


def _is_sampled(node: object) -> bool:
    return isinstance(node, SampledInput)


def _until(node: SampledInput, last: Any) -> SampledInput:
    """The input as a solve needs it that knows no time after `last`: a jump there has not happened yet."""
    if node.value_at is _cubic:
        return node
    # A step that begins at a kink would take the derivative from the left, for the one to the right.
    ts = eqxi.nondifferentiable(
        node.ts,
        msg="a solution cannot be differentiated with respect to the ts of hold_input or linear_input, only of cubic_input",
    )
    ts = ts if node.is_continuous else jnp.where(ts.astype(last.dtype) >= last, jnp.inf, ts)
    return eqx.tree_at(lambda n: n.ts, node, ts)


def _check_span(node: SampledInput, t0: Any, t1: Any) -> None:
    if is_traced(node.ts, node.number, t0, t1):
        return
    ts = np.asarray(node.ts, np.float64)[: int(node.number)]
    first, last = min(float(t0), float(t1)), max(float(t0), float(t1))
    slack = 4 * np.finfo(np.float32).eps * max(abs(first), abs(last))
    if ts[0] > first + slack or (node.is_continuous and ts[-1] < last - slack):
        raise ShapeError(
            f"inputs are known from {ts[0]:g} to {ts[-1]:g}, the solve runs from {float(t0):g} to {float(t1):g}; "
            "give samples at its ends, or shorten it"
        )


def _checked(name: str, ts: Any, values: Any, length: Any, fewest: int, may_miss: str) -> tuple[Any, Any, Any]:
    """Times, values, and how many of them are no padding, which is infinite in `ts` and 0 in `values`."""
    length = length if length is None or is_traced(length) else np.asarray(length)
    times, count = known(ts), None if length is None else known(length)
    ts = _as_floats(ts)
    # A list is numbers, not a tree of them.
    columns = [values] if isinstance(values, list) else jax.tree.leaves(values)
    rows = [known(leaf) for leaf in columns]
    values = _as_floats(values) if isinstance(values, list) else jax.tree.map(_as_floats, values)
    if ts.ndim != 1 or ts.size < fewest:
        raise ShapeError(f"{name}: ts are at least {fewest} times in a vector, got shape {ts.shape}")
    for leaf in jax.tree.leaves(values):
        if leaf.ndim < 1 or leaf.shape[0] != ts.size:
            raise ShapeError(f"{name}: values have a first axis of {ts.size} samples as ts do, got shape {leaf.shape}")
    if length is not None and (jnp.shape(length) != () or not jnp.issubdtype(jnp.result_type(length), jnp.integer)):
        raise ShapeError(
            f"{name}: length is one whole number, how many samples are real, got {jnp.result_type(length)}{list(jnp.shape(length))}; for a "
            f"batch write jax.vmap(lambda ts, values, length: lux.solvers.{name}(ts, values, length=length))(ts, values, lengths)"
        )
    if times is not None and (length is None or count is not None):
        real = _check_times(name, times, count, fewest)
        for row in rows:
            if row is not None:
                _check_missing(name, row[:real], may_miss)
    # What is held needs no last sample.
    measured = [] if name == "hold_input" else jax.tree.leaves(values)
    number = _number(ts, measured, length)
    inside = jnp.arange(ts.size, dtype=number.dtype) < number

    def padded(leaf: Array) -> Any:
        return jnp.where(inside.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.zeros((), leaf.dtype))

    return jnp.where(inside, ts, jnp.asarray(jnp.inf, ts.dtype)), jax.tree.map(padded, values), number


def _check_times(name: str, times: np.ndarray, length: Any, fewest: int) -> int:
    """How many of the times are real."""
    finite = np.isfinite(times)
    real = int(np.max(np.flatnonzero(finite), initial=-1)) + 1 if length is None else int(length)
    if not fewest <= real <= times.size:
        what = "are real" if length is None else f"are real, by length={int(length)},"
        raise ShapeError(f"{name}: ts are at least {fewest} times, of which {real} {what} of {times.size}, got {times}")
    if not (finite[:real].all() and np.all(times[1:real] > times[: real - 1])):
        raise ShapeError(f"{name}: ts must increase, got {times[:real]}")
    return real


def _check_missing(name: str, rows: np.ndarray, may_miss: str) -> None:
    missing: Any = np.isnan(rows).reshape(len(rows), -1).any(1)
    refused = {"inside": [0, -1], "after the first": [0], "nowhere": slice(None)}[may_miss]
    if missing[refused].any():
        index = np.flatnonzero(missing)
        raise ShapeError(
            f"{name}: samples may be missing (NaN) {may_miss}, got them at {index}; leave them out, with their times, "
            "or, at the end, say how many are real, length=..."
        )


def _number(ts: Float[Array, " times"], measured: list[Any], length: Any) -> Any:
    """How many samples there are up to the last one that is real and, in each of `measured`, not missing."""
    index = jnp.arange(ts.size, dtype=jnp.int32)
    real = jnp.isfinite(ts) if length is None else index < jnp.asarray(length, jnp.int32)
    for leaf in measured:
        real &= ~jnp.any(jnp.isnan(leaf).reshape(ts.size, -1), axis=1)
    return jnp.max(jnp.where(real, index + 1, 0))


def _spaced(ts: Float[Array, " times"], number: Int[Array, ""]) -> Any:
    """The times, with finite ones that go on increasing in the padding."""
    beyond = jnp.arange(1, ts.size + 1, dtype=number.dtype) - number
    last = lax.stop_gradient(jnp.where(number > 0, ts[number - 1], 0))
    return jnp.where(beyond > 0, last + (1 + jnp.abs(last)) * jnp.maximum(beyond, 1).astype(ts.dtype), ts)


def _as_floats(leaf: Any) -> Array:
    array = as_array(leaf, what="the samples of an input", error=LayerError)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))


# Values, from the times of the samples in the precision of the solve


def _interval(ts: Float[Array, " times"], number: Int[Array, ""], t: Float[Array, ""]) -> Any:
    return jnp.clip(jnp.searchsorted(ts, t, side="right") - 1, 0, jnp.maximum(number - 2, 0))


def _held(ts: Float[Array, " times"], number: Int[Array, ""], values: PyTree[Array], t: Float[Array, ""]) -> Any:
    i = jnp.clip(jnp.searchsorted(ts, t, side="right") - 1, 0, jnp.maximum(number - 1, 0))
    return jax.tree.map(lambda leaf: leaf[i], values)


def _line(ts: Float[Array, " times"], number: Int[Array, ""], values: PyTree[Array], t: Float[Array, ""]) -> Any:
    i = _interval(ts, number, t)
    part = (t - ts[i]) / (ts[i + 1] - ts[i])
    return jax.tree.map(lambda leaf: leaf[i] + (leaf[i + 1] - leaf[i]) * part.astype(leaf.dtype), values)


def _cubic(
    ts: Float[Array, " times"], number: Int[Array, ""], values_and_slopes: tuple[Any, ...], t: Float[Array, ""]
) -> Any:
    """Hermite's form, with `s = (t - t_i) / h`:

    `(1 - s)^2 (1 + 2 s) u_i + s^2 (3 - 2 s) u_{i+1} + s (1 - s) h ((1 - s) u'_i - s u'_{i+1})`.
    """
    i = _interval(ts, number, t)
    step = ts[i + 1] - ts[i]
    part = (t - ts[i]) / step

    def one(u: Array, du: Array) -> Any:
        s, h = part.astype(u.dtype), step.astype(u.dtype)
        ends = (1 - s) ** 2 * (1 + 2 * s) * u[i] + s**2 * (3 - 2 * s) * u[i + 1]
        return ends + s * (1 - s) * h * ((1 - s) * du[i] - s * du[i + 1])

    return jax.tree.map(one, *values_and_slopes)


def _spline_slopes(ts: Float[Array, " times"], number: Int[Array, ""], values: Array) -> Any:
    """The derivatives at the samples that make the second derivative continuous, and the third at the two next to the ends.

    In the padding each is on its own, and 0.
    """
    flat = values.reshape(ts.size, -1)
    index, end = jnp.arange(ts.size, dtype=number.dtype), jnp.maximum(number - 1, 3)
    h = jnp.diff(ts)
    chord = jnp.diff(flat, axis=0) / h[:, None]
    first, last = ts[2] - ts[0], ts[end] - ts[end - 2]
    inner = 3 * (h[1:, None] * chord[:-1] + h[:-1, None] * chord[1:])
    start = ((h[0] + 2 * first) * h[1] * chord[0] + h[0] ** 2 * chord[1]) / first
    h1, h2, chord1, chord2 = h[end - 1], h[end - 2], chord[end - 1], chord[end - 2]
    stop = (h1**2 * chord2 + (2 * last + h1) * h2 * chord1) / last
    zero, one = jnp.zeros(1, ts.dtype), jnp.ones(1, ts.dtype)

    def rows(inside: Array, at_end: Array, beyond: Array) -> Any:
        index_ = index.reshape(-1, *[1] * (inside.ndim - 1))
        return jnp.where(index_ < end, inside, jnp.where(index_ == end, at_end, beyond))

    diagonal = rows(jnp.concatenate([h[1:2], 2 * (h[:-1] + h[1:]), one]), h2, one)
    lower = rows(jnp.concatenate([zero, h[1:], zero]), last, zero)
    upper = rows(jnp.concatenate([first[None], h[:-1], zero]), zero, zero)
    right = rows(jnp.concatenate([start[None], inner, 0 * start[None]]), stop[None], 0 * start[None])
    return lax.linalg.tridiagonal_solve(lower, diagonal, upper, right).reshape(values.shape)
