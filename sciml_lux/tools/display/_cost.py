"""The floating-point operations of a program, as XLA counts them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun


@dataclass(frozen=True)
class Cost:
    """`flops`: their number, or None where XLA gives none; `partial`: whether a loop of unknown length was counted as one pass."""

    flops: float | None
    partial: bool


def cost_of(function: Callable[..., Any], *shapes: Any) -> Cost:
    """The cost of `function(*shapes)`, from its program before XLA optimizes it, which takes no time to compile."""
    traced = jax.jit(function).trace(*shapes)
    return with_loops(traced.lower().cost_analysis(), traced.jaxpr)


def with_loops(analysis: Any, jaxpr: ClosedJaxpr) -> Cost:
    """The cost in XLA's analysis of a program, which counts the body of a loop once, with the other passes of each `scan`."""
    flops = (analysis or {}).get("flops")
    return Cost(None if flops is None else flops + _further_passes(jaxpr.jaxpr), any(_while_loops(jaxpr.jaxpr)))


def _further_passes(jaxpr: Jaxpr) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        inner = sum(_further_passes(body) for body in _bodies(equation))
        if equation.primitive.name == "scan":
            body, length = equation.params["jaxpr"], equation.params["length"]
            shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in body.in_avals]
            once = jax.jit(jaxpr_as_fun(body)).lower(*shapes).cost_analysis()
            inner = length * inner + (length - 1) * (once or {}).get("flops", 0.0)
        total += inner
    return total


def _while_loops(jaxpr: Jaxpr) -> Iterator[bool]:
    for equation in jaxpr.eqns:
        yield equation.primitive.name == "while"
        for body in _bodies(equation):
            yield from _while_loops(body)


def _bodies(equation: Any) -> Iterator[Jaxpr]:
    for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: isinstance(v, ClosedJaxpr | Jaxpr)):
        if isinstance(value, ClosedJaxpr | Jaxpr):
            yield value.jaxpr if isinstance(value, ClosedJaxpr) else value
