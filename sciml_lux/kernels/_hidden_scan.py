"""The loop over the steps of a gated cell, and its derivative.

Differentiated as it stands, a scan adds up the gradient of the hidden weight step by step, in matrix products of a few rows. The product
enters the gates by addition, so that a change `dW` of the weight acts like the change `h @ dW` of what is added to the gates,
for all steps at once: one large matrix product, whose transpose is one as well. The steps are then linearized with the weight held
constant. Value and gradient of an LSTM on two CPU cores, against the plain scan: 0.6 of the time for 256 features and a batch of 1,
0.85 for 64 features and a batch of 32. What is added to the gates is kept for all steps, so that large batches of long sequences need
more memory than a cell that multiplies step by step.

Where only the value is asked for, and inputs are few, a CPU multiplies them within the loop: to read back what was kept takes longer.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._masked import where
from ._placement import may_specialize, scan


def split_gates(gates: Array, number: int) -> tuple[Array, ...]:
    """`(..., number * hidden)` as `number` arrays `(..., hidden)`."""
    return tuple(jnp.split(gates, number, axis=-1))


# Where a CPU multiplies the inputs within the loop; `benchmarks/layers.py` runs an LSTM so.
_FEW_INPUTS, _MANY_SAMPLES = 32, 8


def scan_inputs(cell: Any, reverse: bool, unroll: int, ps: Any, xs: Array, carry: Any, mask: Any) -> tuple[Array, Any]:
    """The hidden states after each step, time first, and the last carry; arguments as in `AbstractGatedCell`, time first."""
    few = may_specialize(xs) and xs.shape[-1] <= _FEW_INPUTS and math.prod(xs.shape[1:-1]) >= _MANY_SAMPLES
    run = _step_by_step if few else _at_once
    return run(cell, reverse, unroll, ps, xs, carry, mask)


def _at_once(cell: Any, reverse: bool, unroll: int, ps: Any, xs: Array, carry: Any, mask: Any) -> tuple[Array, Any]:
    added, rest = cell.project(xs, ps)
    return _hidden_scan(cell, reverse, unroll, ps.weight_hidden, added, rest, carry, mask)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _step_by_step(
    cell: Any, reverse: bool, unroll: int, ps: Any, xs: Array, carry: Any, mask: Any
) -> tuple[Array, Any]:
    def project(x: Array) -> tuple[tuple[Array, ...], Any]:
        added, rest = cell.project(x, ps)
        return (added,), rest

    return _scan(cell, reverse, unroll, ps.weight_hidden, xs, project, carry, mask)


@_step_by_step.defjvp
def _step_by_step_jvp(cell: Any, reverse: bool, unroll: int, primals: Any, tangents: Any) -> Any:
    *differentiated, mask = primals

    def at_once(ps: Any, xs: Array, carry: Any) -> tuple[Array, Any]:
        return _at_once(cell, reverse, unroll, ps, xs, carry, mask)

    return jax.jvp(at_once, tuple(differentiated), tuple(tangents[:-1]))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _hidden_scan(
    cell: Any, reverse: bool, unroll: int, weight: Array, added: Array, rest: Any, carry: Any, mask: Any
) -> tuple[Array, Any]:
    # Cut before the loop: a slice of a slice inside it keeps XLA's CPU backend from using vector instructions (twice the time).
    given = (split_gates(added, cell.gates), rest)
    return _scan(cell, reverse, unroll, weight, given, lambda given: given, carry, mask)


def _scan(
    cell: Any,
    reverse: bool,
    unroll: int,
    weight: Array,
    given: Any,
    project: Callable[[Any], Any],
    carry: Any,
    mask: Any,
) -> tuple[Array, Any]:
    """`project` makes of what is given to a step what is added to the gates, in one part or in as many as there are gates, and the
    rest of what `advance` takes."""

    def step(carry: Any, inputs: Any) -> tuple[Any, Array]:
        given, valid = inputs
        added, rest = project(given)
        product = split_gates(cell.hidden(carry) @ weight, len(added))
        gates = tuple(a + b for a, b in zip(added, product, strict=True))
        new = cell.advance(gates if len(gates) == cell.gates else split_gates(gates[0], cell.gates), rest, carry)
        new = new if valid is None else where(valid, new, carry)
        return new, cell.hidden(new)

    carry, hidden = scan(step, carry, (given, mask), reverse=reverse, unroll=unroll)
    return hidden, carry


@_hidden_scan.defjvp
def _hidden_scan_jvp(cell: Any, reverse: bool, unroll: int, primals: Any, tangents: Any) -> Any:
    weight, added, rest, carry, mask = primals
    d_weight, d_added, d_rest, d_carry, _ = tangents

    def steps(added: Array, rest: Any, carry: Any) -> tuple[Array, Any]:
        return _scan(cell, reverse, unroll, weight, ((added,), rest), lambda given: given, carry, mask)

    (hidden, last), linear = jax.linearize(steps, added, rest, carry)
    first = cell.hidden(carry)[None]
    before = jnp.concatenate([hidden[1:], first] if reverse else [first, hidden[:-1]])
    return (hidden, last), linear(d_added + before @ d_weight, d_rest, d_carry)
