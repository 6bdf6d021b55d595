"""The loop over the steps of a gated cell, and its derivative.

Differentiated as it stands, a scan adds up the gradient of the hidden weight step by step, in matrix products of a few rows. The product
enters the gates by addition, so that a change `dW` of the weight acts like the change `h @ dW` of what is added to the gates,
for all steps at once: one large matrix product, whose transpose is one as well. The steps are then linearized with the weight held
constant. Value and gradient of an LSTM on two CPU cores, against the plain scan: 0.6 of the time for 256 features and a batch of 1,
0.85 for 64 features and a batch of 32. What is added to the gates is kept for all steps, so that large batches of long sequences need
more memory than a cell that multiplies step by step.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._cell import where


def split_gates(gates: Array, number: int) -> tuple[Array, ...]:
    """`(..., number * hidden)` as `number` arrays `(..., hidden)`."""
    return tuple(jnp.split(gates, number, axis=-1))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def hidden_scan(
    cell: Any, reverse: bool, unroll: int, weight: Array, added: Array, rest: Any, carry: Any, mask: Any
) -> tuple[Array, Any]:
    """The hidden states after each step, time first, and the last carry; arguments as in `AbstractGatedCell`, time first."""
    # Cut before the loop: a slice of a slice inside it keeps XLA's CPU backend from using vector instructions (twice the time).
    return _scan(cell, reverse, unroll, weight, split_gates(added, cell.gates), rest, carry, mask)


def _scan(
    cell: Any, reverse: bool, unroll: int, weight: Array, added: tuple[Array, ...], rest: Any, carry: Any, mask: Any
) -> tuple[Array, Any]:
    """`added`: in one part or in as many as there are gates."""

    def step(carry: Any, given: Any) -> tuple[Any, Array]:
        added, rest, valid = given
        product = split_gates(cell.hidden(carry) @ weight, len(added))
        gates = tuple(a + b for a, b in zip(added, product, strict=True))
        new = cell.advance(gates if len(gates) == cell.gates else split_gates(gates[0], cell.gates), rest, carry)
        new = new if valid is None else where(valid, new, carry)
        return new, cell.hidden(new)

    carry, hidden = lax.scan(step, carry, (added, rest, mask), reverse=reverse, unroll=unroll)
    return hidden, carry


@hidden_scan.defjvp
def _hidden_scan_jvp(cell: Any, reverse: bool, unroll: int, primals: Any, tangents: Any) -> Any:
    weight, added, rest, carry, mask = primals
    d_weight, d_added, d_rest, d_carry, _ = tangents

    def steps(added: Array, rest: Any, carry: Any) -> tuple[Array, Any]:
        return _scan(cell, reverse, unroll, weight, (added,), rest, carry, mask)

    (hidden, last), linear = jax.linearize(steps, added, rest, carry)
    first = cell.hidden(carry)[None]
    before = jnp.concatenate([hidden[1:], first] if reverse else [first, hidden[:-1]])
    return (hidden, last), linear(d_added + before @ d_weight, d_rest, d_carry)
