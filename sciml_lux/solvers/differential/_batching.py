"""A batch of initial values, each solved with its own steps, at its own times, up to its own last one."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from ..._errors import ShapeError
from ...core import State, type_of
from ...flatten import Params
from ...kernels import known
from .._both_modes import isolated
from .._types import StateTree, Time
from ._request import Request

_ONCE = (
    "a batch whose failed samples are left out, throw=False, cannot be differentiated backwards twice; use jax.hessian, which goes forward "
    "the second time"
)


def check_samples(name: str, given: StateTree, ts: Any, lengths: Any) -> int:
    """The number of samples of `batching="each"`.

    **Errors:** `ShapeError` for arrays that disagree about it, and for lengths that cannot be.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(given)]
    samples = {shape[:1] for shape in shapes}
    if len(samples) != 1 or samples == {()}:
        raise ShapeError(
            f'{name}: batching="each" takes y0 whose arrays share a leading axis, the samples; got shapes {shapes}. '
            "Write y0[None] for one sample"
        )
    [(number,)] = samples
    if number == 0:
        raise ShapeError(f"{name}: y0 has no samples, got shapes {shapes}")
    if np.ndim(ts) == 2 and jnp.shape(ts)[0] != number:
        raise ShapeError(
            f"{name}: ts has {jnp.shape(ts)[0]} rows for {number} samples; give each sample a row, or all of them one vector"
        )
    if lengths is not None:
        _check_lengths(name, ts, lengths, number)
    return number


def _check_lengths(name: str, ts: Any, lengths: Any, number: int) -> None:
    if ts is None:
        raise ShapeError(f"{name}: lengths says how many of each sample's ts are real; pass ts as well")
    if jnp.shape(lengths) != (number,) or not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise ShapeError(
            f"{name}: lengths is one whole number for each of {number} samples, got {jnp.result_type(lengths)}{list(jnp.shape(lengths))}"
        )
    longest = jnp.shape(ts)[-1]
    values = known(lengths)
    if values is not None:
        wrong = np.flatnonzero((values < 1) | (values > longest))
        if wrong.size:
            i = int(wrong[0])
            raise ShapeError(
                f"{name}: lengths are from 1 to the {longest} columns of ts, got {values[i]} for sample {i}; "
                "leave out a sample without times"
            )


def own_times(ts: Array, length: Array | np.ndarray | np.generic | int) -> tuple[Array, Array]:
    """The times of a sample, with its last one in place of all padding, and which of them are no padding."""
    length = jnp.clip(jnp.asarray(length, jnp.int32), 1, ts.size)
    real = jnp.arange(ts.size, dtype=jnp.int32) < length
    return jnp.where(real, ts, ts[length - 1]), real


def solve_each(
    solve: Callable[..., tuple[diffrax.Solution, Any]],
    request: Request,
    axes: Request,
    shared: tuple[Params, State],
    isolates: bool,
) -> tuple[diffrax.Solution, Any]:
    """The solution of every sample, with a leading axis, by `solve(request, shared) -> (solution, okay)` of one; and which succeeded.

    **Arguments:** `axes`: which arrays of the request have that axis; `isolates`: whether a failed sample may not reach the gradients that
    it shares with others.
    """

    def one(given: tuple[Any, ...]) -> tuple[diffrax.Solution, Any]:
        return isolated(lambda given: solve(*given), given, _ONCE) if isolates else solve(*given)

    return eqx.filter_vmap(one, in_axes=((axes, None),))((request, shared))


def as_mapped(request: Request) -> Request:
    """The request with arrays of JAX's: numbers of NumPy's that are wider cannot be mapped over within a compiled function."""
    t0, ts, lengths = (
        None if leaf is None else jnp.asarray(leaf) for leaf in (request.t0, request.ts, request.lengths)
    )
    return request._replace(t0=t0, ts=ts, lengths=lengths)


def advance_each(
    advance: Callable[[Request], Any], request: Request, axes: Request, state: State, okay: Bool[Array, " samples"]
) -> Any:
    """The state after a call: the mean over the samples that succeeded of what `advance` makes of each, where it is a floating-point
    number, and the first sample's where it is not; `state` as it was, if none succeeded."""
    many = eqx.filter_vmap(advance, in_axes=(axes,))(request)
    number = jnp.sum(okay)

    def merged(rows: Array, old: Array) -> Any:
        if not jnp.issubdtype(rows.dtype, jnp.inexact):
            return rows[0]
        chosen = jnp.where(okay.reshape(-1, *[1] * (rows.ndim - 1)), rows, jnp.zeros((), rows.dtype))
        mean = jnp.sum(chosen, axis=0) / jnp.maximum(number, 1).astype(rows.dtype)
        return jnp.where(number > 0, mean, old)

    return jax.tree.map(merged, many, state)


def summary_of_each(result: Any, okay: Bool[Array, " samples"], throw: bool) -> dict[str, Any]:
    """`result`: that of the first sample that failed, or `successful`; with `throw=False`, where failed samples are the caller's to
    leave out, only if all failed. `num_failed`: how many."""
    kind = type_of(result)
    number = jnp.sum(~okay, dtype=jnp.int32)
    failed = number > 0 if throw else number == okay.size
    first = jax.tree.map(lambda leaf: leaf[jnp.argmax(~okay)], result)
    return {"result": kind.where(failed, first, kind.successful), "num_failed": number}


def dense_each(solution: diffrax.Solution) -> diffrax.Solution:
    """A solution whose `evaluate` takes one time for all samples, or one for each."""
    if solution.interpolation is None:
        return solution
    path = EachInterpolation(solution.interpolation, solution.t0, solution.t1)
    return eqx.tree_at(lambda s: s.interpolation, solution, path)


class EachInterpolation(diffrax.AbstractPath[Any]):
    """The dense output of a batch: `evaluate(t)` at one time for all samples, or at one for each."""

    path: Any
    t0: Any
    t1: Any

    def evaluate(self, t0: Time, t1: Time | None = None, left: bool = True) -> Any:
        return self._each("evaluate", t0, t1, left)

    def derivative(self, t: Time, left: bool = True) -> Any:
        return self._each("derivative", t, left)

    def _each(self, method: str, *arguments: Any) -> Any:
        *times, left = arguments
        number = self.t0.shape[0]
        rows = [None if t is None else jnp.broadcast_to(jnp.asarray(t, self.t0.dtype), (number,)) for t in times]
        return eqx.filter_vmap(lambda path, *times: getattr(path, method)(*times, left))(self.path, *rows)
