"""What becomes of a solve that failed: an error that says where and what to try, or numbers that nobody can mistake for a result.

An error at run time can only come from a callback. It sits in a branch that is not taken while all goes well, so that success costs
one comparison. JAX passes the error on with the stack of the thread as part of its text, and logs it as well: the stack is
therefore cut to one line, and the record dropped. Programs that hold a callback are not kept by JAX's persistent
compilation cache; a fit, which asks for NaN in place of an error, has none.
"""

import logging
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.custom_batching
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from .._errors import SolveError
from ..core import failure_mode
from ..kernels import is_traced


class Outcome(NamedTuple):
    """How a solve ended, or, with one leading axis, how each sample of a batch did."""

    okay: Any  # a truth value
    result: Any  # the number of an item of `diffrax.RESULTS` or its like
    t: Any  # the time that was reached
    largest: Any  # the largest number of the state there


class Failure(NamedTuple):
    """What is known of a solve that failed; of several, the first such one, its place, and how many failed."""

    happened: Any
    result: Any
    t: Any
    largest: Any
    sample: Any
    number: Any
    samples: Any


def guard(values: PyTree, outcome: Outcome, explain: Callable[[Failure], str], throw: bool) -> Any:
    """`values`, a tree with the floating-point arrays that a solver returned, made safe in case that it failed.

    With `throw`, and unless a fit has set `failure_mode` to `"nan"`, a failure raises an error at run time. Otherwise every number of
    a failed solve becomes NaN. For a single solve so does every gradient through it: the product with NaN, rather than a
    choice of NaN, whose derivative would be an innocent zero. In a batch the gradients of failed samples are that zero, so
    that they spoil no others.

    **Arguments:** `values`: any tree, of which whatever is no floating-point array stays; `outcome`, with the leading axis of `values`
    for a batch; `explain`: from what happened, in Python's numbers, to a message; `throw`.
    """
    raises = throw and failure_mode.value == "raise"
    factor = _one_or_raise(outcome, explain) if raises else jnp.where(outcome.okay, 1.0, jnp.nan)

    def guarded(leaf: Any) -> Any:
        if not eqx.is_inexact_array(leaf):
            return leaf
        if jnp.ndim(factor) == 0:
            return leaf * factor.astype(leaf.dtype)
        rows = outcome.okay.reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.where(rows, leaf, jnp.asarray(jnp.nan, leaf.dtype))

    return jax.tree.map(guarded, values)


def _one_or_raise(outcome: Outcome, explain: Callable[[Failure], str]) -> Array:
    """1, by which values are multiplied rather than passed on, so that no gradient escapes the check either."""
    failed, result, t, largest = (lax.stop_gradient(jnp.asarray(leaf)) for leaf in (~outcome.okay, *outcome[1:]))
    one = jnp.ones(failed.shape, jnp.int32)
    failure = Failure(failed, result, t, largest, 0 * one, failed.astype(jnp.int32), one)
    if failed.ndim:
        failure = _first_of(failure)

    def report(failure: Failure) -> Any:
        raise SolveError(_message(explain, failure)).with_traceback(_ONE_LINE)

    if is_traced(failure):
        failure = Failure(*_unmapped(*failure))
        one = jax.ShapeDtypeStruct((), jnp.float32)
        return lax.cond(
            failure.happened, lambda: jax.pure_callback(report, one, failure), lambda: jnp.ones(one.shape, one.dtype)
        )
    if failure.happened:
        raise SolveError(_message(explain, failure))
    return jnp.ones((), jnp.float32)


@jax.custom_batching.custom_vmap
def _unmapped(*failure: Any) -> tuple[Any, ...]:
    """What happened in any of the solves that are mapped over: a condition that is mapped itself would call the callback always."""
    return failure


@_unmapped.def_vmap
def _(axis_size: int, is_mapped: list[bool], *failure: Any) -> Any:
    rows = [
        leaf if mapped else jnp.broadcast_to(leaf, (axis_size,))
        for leaf, mapped in zip(failure, is_mapped, strict=True)
    ]
    first = _unmapped(*_first_of(Failure(*rows)))
    return first, (False,) * len(first)


def _first_of(rows: Failure) -> Failure:
    i = jnp.argmax(rows.happened)
    first = Failure(*(leaf[i] for leaf in rows))
    samples = jnp.sum(rows.samples, dtype=jnp.int32)
    sample = i.astype(jnp.int32) * first.samples + first.sample
    return first._replace(sample=sample, number=jnp.sum(rows.number, dtype=jnp.int32), samples=samples)


def _message(explain: Callable[[Failure], str], failure: Failure) -> str:
    return explain(Failure(*(np.asarray(leaf).item() for leaf in failure)))


def _one_line() -> types.TracebackType:
    """A traceback without callers, as that of a generator that waits; the stack of the callback's thread tells users nothing."""

    def solve() -> Iterator[None]:
        yield

    waiting: Any = solve()
    next(waiting)
    return types.TracebackType(None, waiting.gi_frame, waiting.gi_frame.f_lasti, waiting.gi_frame.f_lineno)


_ONE_LINE = _one_line()


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], SolveError))


logging.getLogger("jax._src.callback").addFilter(_is_news)
