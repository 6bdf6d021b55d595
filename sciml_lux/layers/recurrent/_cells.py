"""`RNNCell`, `LSTMCell`, `GRUCell`."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..._errors import LayerError
from ...core import State
from ...flatten import Parameters
from ...kernels import stands_for
from .._checks import check_flag, check_last_axis
from ._cell import AbstractRecurrentCell
from ._gated_cell import AbstractGatedCell


class RNNCell(AbstractGatedCell):
    """The plain recurrent cell, `h' = activation(x @ weight_input + bias_input + h @ weight_hidden + bias_hidden)`.

    **Arguments:** `in_features`, `hidden_features`; `use_bias`; `train_carry`: whether the initial `h` is a parameter
    (starting at zero) instead of zero; `activation`: tanh by default; `init_weight_input`, `init_weight_hidden`, `init_bias`: Glorot
    uniform, orthogonal, zeros.

    **Call:** `(x, h)` of shapes `(..., in_features)`, `(..., hidden_features)` gives `(h', h')`.

    **Parameters:** `weight_input` `(in_features, hidden_features)`; `weight_hidden` `(hidden_features, hidden_features)`; if
    `use_bias`, `bias_input`, `bias_hidden` `(hidden_features,)`, as in PyTorch (only their sum matters); if `train_carry`,
    `initial_hidden` `(hidden_features,)`. **States:** none.

    **Errors:** `LayerError` for arguments that cannot be; `ShapeError` for an input or carry of another shape.
    """

    gates: ClassVar[int] = 1

    activation: Callable[[Any], Any] = jnp.tanh

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.activation):
            raise LayerError(f"RNNCell: activation is a function such as jnp.tanh, got {self.activation!r}")

    def advance(self, gates: tuple[Array, ...], rest: Any, carry: Any) -> Any:
        return self.activation(gates[0])


class LSTMCell(AbstractGatedCell):
    """The long short-term memory cell, with PyTorch's equations and its order of the gates: input, forget, cell, output.

        i, f, g, o = split(x @ weight_input + bias_input + h @ weight_hidden + bias_hidden, 4)
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    **Arguments:** `in_features`, `hidden_features`; `use_bias`; `train_carry`: whether the initial `h` and `c` are
    parameters (starting at zero) instead of zero; `init_weight_input`, `init_weight_hidden`, `init_bias`: Glorot uniform,
    orthogonal, zeros (also for the forget gate, where Flax and Keras differ in part).

    **Call:** `(x, (h, c))` of shapes `(..., in_features)` and twice `(..., hidden_features)` gives `(h', (h', c'))`.

    **Parameters:** `weight_input` `(in_features, 4 * hidden_features)`; `weight_hidden` `(hidden_features, 4 * hidden_features)`; if
    `use_bias`, `bias_input`, `bias_hidden` `(4 * hidden_features,)`, as in PyTorch (only their sum matters); if
    `train_carry`, `initial_hidden`, `initial_memory` `(hidden_features,)`. **States:** none.

    **Errors:** `LayerError` for arguments that cannot be; `ShapeError` for an input or carry of another shape.

    **Source:** Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000.
    """

    gates: ClassVar[int] = 4
    carry: ClassVar[tuple[str, ...]] = ("hidden", "memory")

    def advance(self, gates: tuple[Array, ...], rest: Any, carry: Any) -> Any:
        enter, forget, content, leave = gates
        memory = jax.nn.sigmoid(forget) * carry[1] + jax.nn.sigmoid(enter) * jnp.tanh(content)
        return jax.nn.sigmoid(leave) * jnp.tanh(memory), memory


class GRUCell(AbstractGatedCell):
    """The gated recurrent unit, with PyTorch's equations and its order of the gates: reset, update, new.

        a_r, a_z, a_n = split(x @ weight_input + bias_input, 3)
        b_r, b_z, b_n = split(h @ weight_hidden + bias_hidden, 3)
        r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
        h' = (1 - z) * tanh(a_n + r * b_n) + z * h

    The reset gate acts after the product with `weight_hidden`, as in PyTorch, cuDNN and Flax; with `reset_before` it acts before it, as in
    the original paper (Keras has both): `b_n = (r * h) @ weight_hidden_n + bias_hidden_n`, and `h' = (1 - z) * tanh(a_n + b_n) + z * h`.

    **Arguments:** `in_features`, `hidden_features`; `use_bias`; `train_carry`: whether the initial `h` is a parameter
    (starting at zero) instead of zero; `init_weight_input`, `init_weight_hidden`, `init_bias`: Glorot uniform, orthogonal, zeros;
    `reset_before`, which takes two products to a step instead of one.

    **Call:** `(x, h)` of shapes `(..., in_features)`, `(..., hidden_features)` gives `(h', h')`.

    **Parameters:** `weight_input` `(in_features, 3 * hidden_features)`; `weight_hidden` `(hidden_features, 3 * hidden_features)`; if
    `use_bias`, `bias_input`, `bias_hidden` `(3 * hidden_features,)`; if `train_carry`, `initial_hidden`
    `(hidden_features,)`. **States:** none.

    **Errors:** `LayerError` for arguments that cannot be; `ShapeError` for an input or carry of another shape.

    **Source:** Cho et al. 2014.
    """

    gates: ClassVar[int] = 3

    reset_before: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag(self, reset_before=self.reset_before)

    def __call__(self, x: tuple[Array, Any], ps: Parameters, st: State) -> tuple[tuple[Array, Any], State]:
        if not self.reset_before:
            return super().__call__(x, ps, st)
        x_now, carry = x
        check_last_axis(self, x_now, self.in_features)
        self._check_carry(carry, jnp.shape(x_now)[:-1])
        added, rest = self.project(x_now, ps)
        gates, bias = jnp.split(added, [2 * self.hidden_features], axis=-1)
        of_gates, of_new = jnp.split(ps.weight_hidden, [2 * self.hidden_features], axis=-1)
        reset, update = jnp.split(jax.nn.sigmoid(gates + carry @ of_gates), 2, axis=-1)
        new = jnp.tanh(rest + bias + (reset * carry) @ of_new)
        carry = new + update * (carry - new)
        return (carry, carry), st

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
        # The product with what was reset does not enter the gates by addition, which the faster loop is made for.
        if self.reset_before:
            return AbstractRecurrentCell.scan(self, xs, carry, ps, st, mask, reverse, unroll)
        return super().scan(xs, carry, ps, st, mask, reverse, unroll)

    def project(self, x: Array, ps: Parameters) -> tuple[Array, Any]:
        y = x @ ps.weight_input
        if self.use_bias:
            y = y + jnp.broadcast_to(ps.bias_input, y.shape)
        reset_and_update, new = jnp.split(y, [2 * self.hidden_features], axis=-1)
        added = jnp.concatenate([reset_and_update, jnp.zeros_like(new)], axis=-1)
        if self.use_bias:
            added = added + jnp.broadcast_to(ps.bias_hidden, added.shape)
        return added, new

    def advance(self, gates: tuple[Array, ...], rest: Any, carry: Any) -> Any:
        reset, update, from_hidden = gates
        new = jnp.tanh(rest + jax.nn.sigmoid(reset) * from_hidden)
        return new + jax.nn.sigmoid(update) * (carry - new)


stands_for(AbstractGatedCell.scan, GRUCell.__call__, GRUCell.project)
