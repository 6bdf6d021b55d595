"""`AbstractGatedCell`: what the cells with a hidden state and gates have in common."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from ..._errors import LayerError, ShapeError
from ...core import State
from ...flatten import Parameters
from ...kernels import may_stand_in, scan_inputs, split_gates, where
from .. import init
from .._checks import check_flag, check_last_axis, check_positive
from ._cell import AbstractRecurrentCell


class AbstractGatedCell(AbstractRecurrentCell):
    """A cell whose gates are sums of a product with the input and a product with the hidden state.

    A subclass names the number of its `gates` and the parts of its `carry`, of which the first is the hidden state and the output,
    and writes `project`, what each step takes of the input (computed for all steps of a sequence at once, mostly), and `advance`,
    the elementwise rest, without parameters.

    **Arguments:** `in_features`, `hidden_features`; `use_bias`; `train_carry`: whether the carry before the first step is
    a parameter (starting at zero) instead of zero; `init_weight_input`, `init_weight_hidden`, `init_bias`: initializers, applied gate by
    gate.
    """

    gates: ClassVar[int]
    # A `project` of one's own may treat the axes before the features not all alike, so that all steps at once are not each by itself.
    scan_stands_for: ClassVar[tuple[str, ...]] = ("__call__", "project")
    carry: ClassVar[tuple[str, ...]] = ("hidden",)

    in_features: int
    hidden_features: int
    use_bias: bool = True
    train_carry: bool = False
    init_weight_input: Callable[..., Any] = init.glorot_uniform()
    init_weight_hidden: Callable[..., Any] = init.orthogonal()
    init_bias: Callable[..., Any] = init.zeros()

    def __post_init__(self) -> None:
        check_positive(self, in_features=self.in_features, hidden_features=self.hidden_features)
        check_flag(self, use_bias=self.use_bias, train_carry=self.train_carry)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        hidden = self.hidden_features
        starts = {
            "weight_input": (self.init_weight_input, (self.in_features, hidden)),
            "weight_hidden": (self.init_weight_hidden, (hidden, hidden)),
        }
        if self.use_bias:
            starts |= dict.fromkeys(("bias_input", "bias_hidden"), (self.init_bias, (hidden,)))
        keys = jax.random.split(key, (len(starts), self.gates))
        parameters = {
            name: jnp.concatenate([initializer(gate_key, shape) for gate_key in gate_keys], -1)
            for gate_keys, (name, (initializer, shape)) in zip(keys, starts.items(), strict=True)
        }
        if self.train_carry:
            parameters |= {f"initial_{name}": jnp.zeros(hidden) for name in self.carry}
        return parameters

    def initial_carry(self, ps: Parameters, batch_shape: tuple[int, ...], dtype: Any) -> Any:
        shape = (*batch_shape, self.hidden_features)
        dtype = jnp.result_type(dtype, ps.weight_hidden)  # that of the products of both, which the steps return
        parts = [
            jnp.broadcast_to(ps[f"initial_{name}"], shape).astype(dtype)
            if self.train_carry
            else jnp.zeros(shape, dtype)
            for name in self.carry
        ]
        return tuple(parts) if len(parts) > 1 else parts[0]

    def project(self, x: Array, ps: Parameters) -> tuple[Array, Any]:
        """What `x` adds to the gates before the product with the hidden state is added too, and whatever else a step needs of it."""
        y = x @ ps.weight_input
        if self.use_bias:
            y = y + jnp.broadcast_to(ps.bias_input + ps.bias_hidden, y.shape)
        return y, ()

    def advance(self, gates: tuple[Array, ...], rest: Any, carry: Any) -> Any:
        """The next carry out of the gates before their nonlinearities, and the second result of `project`."""
        raise LayerError(
            f"{type(self).__name__} has no advance(self, gates, rest, carry); write one that returns the next carry"
        )

    def hidden(self, carry: Any) -> Array:
        """The hidden state, which is the output, out of a carry."""
        return carry[0] if len(self.carry) > 1 else carry

    def __call__(self, x: tuple[Array, Any], ps: Parameters, st: State) -> tuple[tuple[Array, Any], State]:
        x_now, carry = x
        check_last_axis(self, x_now, self.in_features)
        self._check_carry(carry, jnp.shape(x_now)[:-1])
        added, rest = self.project(x_now, ps)
        gates = added + self.hidden(carry) @ ps.weight_hidden
        carry = self.advance(split_gates(gates, self.gates), rest, carry)
        return (self.hidden(carry), carry), st

    def scan(
        self,
        xs: Array,
        carry: Any,
        ps: Parameters,
        st: State,
        mask: Bool[Array, "..."] | None = None,
        reverse: bool = False,
        unroll: int = 1,
    ) -> tuple[tuple[Any, Any, Any], State]:
        if not may_stand_in(AbstractGatedCell.scan, self):
            return super().scan(xs, carry, ps, st, mask, reverse, unroll)
        check_last_axis(self, xs, self.in_features)
        self._check_carry(carry, jnp.shape(xs)[1:-1])
        ys, carry = scan_inputs(self, reverse, unroll, ps, xs, carry, mask)
        last = self.hidden(carry)
        if mask is not None:
            ys = where(mask, ys, jnp.zeros_like(ys))
            last = where(jnp.any(mask, axis=0), last, jnp.zeros_like(last))
        return (ys, last, carry), st

    def _check_carry(self, carry: Any, batch_shape: tuple[int, ...]) -> None:
        expected = [(*batch_shape, self.hidden_features)] * len(self.carry)
        if [jnp.shape(part) for part in jax.tree.leaves(carry)] != expected:
            got = jax.tree.map(jnp.shape, carry)
            wanted = " and ".join(f"{name} of shape {shape}" for name, shape in zip(self.carry, expected, strict=True))
            raise ShapeError(
                f"{type(self).__name__} expects a carry of {wanted} for this input, got {got}; "
                "write cell.initial_carry(ps, batch_shape, x.dtype)"
            )
