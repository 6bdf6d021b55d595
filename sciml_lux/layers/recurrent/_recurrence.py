"""`Recurrence` and `Bidirectional`: a cell over a whole sequence."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from ..._errors import LayerError, ShapeError
from ...core import AbstractContainer, State, as_input, as_params, as_state
from ...flatten import Parameters
from ...kernels import may_stand_in
from .._checks import check_flag, check_mask, check_positive
from ._cell import AbstractRecurrentCell


class Recurrence(AbstractContainer):
    """A cell run over a sequence, by one `scan` over the time.

    **Arguments:** `cell`: a recurrent cell, such as `LSTMCell(4, 8)`; `return_sequence`: whether the outputs of all
    steps come back, or that of the last step only; `reverse`: whether to run from the last step to the first (the outputs stay
    in the order of the inputs, so that the last step is the first in time); `unroll`: steps to a turn of the loop, more of
    which take longer to compile.

    **Call:** `x` of shape `(..., time, in)` gives `(..., time, out)`, or `(..., out)` without `return_sequence`. Sequences of
    unequal lengths are padded, and come as `(x, mask)` with a boolean mask `(..., time)`, True where there is a step. Steps that are
    masked out leave the carry as it is, wherever they are and whatever stands there, and their outputs are zero; the last
    output is that of the last step that is not masked out, and zero if there is none. One layer on another takes the same mask:
    `self.second((y, mask), ps.second, st.second)`. `run` takes the first carry and returns the last one.

    **Parameters** and **states:** `cell`: those of the cell.

    **Errors:** `LayerError` for what is no cell; `ShapeError` for an input without time steps and for a mask that does not fit.
    """

    cell: AbstractRecurrentCell
    return_sequence: bool = True
    reverse: bool = False
    unroll: int = 1

    def __post_init__(self) -> None:
        _check_cell(self, cell=self.cell)
        check_flag(self, return_sequence=self.return_sequence, reverse=self.reverse)
        check_positive(self, unroll=self.unroll)

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        x, mask = _with_mask(self, x)
        (ys, last, _), st = self.run(x, ps, st, mask)
        return (ys if self.return_sequence else last), st

    def run(
        self, x: Array, ps: Any, st: Any, mask: Bool[Array, "..."] | None = None, carry: Any = None
    ) -> tuple[tuple[Any, Any, Any], State]:
        """Everything that a run over a sequence gives.

        **Arguments:** `x`, `ps`, `st`, `mask`: as for a call; `carry`: the first one (default: the cell's `initial_carry`).

        **Returns:** `((ys, last, carry), st)`: the outputs of all steps, that of the last step, and the last carry.
        """
        params, state = as_params(ps), as_state(st)
        results, cell = _over_time(
            self, self.cell, x, params.cell, state.cell, mask, carry, self.reverse, unroll=self.unroll
        )
        return results, State(cell=cell)


class Bidirectional(AbstractContainer):
    """Two cells run over a sequence, one forward and one backward in time; their outputs are concatenated.

    With a mask, the backward one starts at each sequence's own last step.

    **Arguments:** `forward`: a recurrent cell; `backward`: another one (default: one like `forward`, with parameters of its
    own); `return_sequence`, `unroll`: as for `Recurrence`.

    **Call:** `x` of shape `(..., time, in)`, or `(x, mask)` as for `Recurrence`, gives `(..., time, out + out)`, the output of each
    step; without `return_sequence` `(..., out + out)`, the output of each cell's own last step, which is the first in time for
    the backward one. `run` takes the first carries and returns the last ones.

    **Parameters** and **states:** `forward`, `backward`: those of the cells.

    **Errors:** as for `Recurrence`.
    """

    forward: AbstractRecurrentCell
    backward: AbstractRecurrentCell | None = None
    return_sequence: bool = True
    unroll: int = 1

    def __post_init__(self) -> None:
        if self.backward is None:
            object.__setattr__(self, "backward", self.forward)
        _check_cell(self, forward=self.forward, backward=self.backward)
        check_flag(self, return_sequence=self.return_sequence)
        check_positive(self, unroll=self.unroll)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional, named = super().constructor_arguments()
        if self.backward == self.forward:
            del named["backward"]
        return positional, named

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        x, mask = _with_mask(self, x)
        (ys, last, _), st = self.run(x, ps, st, mask)
        return (ys if self.return_sequence else last), st

    def run(
        self, x: Array, ps: Any, st: Any, mask: Bool[Array, "..."] | None = None, carry: Any = None
    ) -> tuple[tuple[Any, Any, Any], State]:
        """Everything that a run over a sequence gives.

        **Arguments:** `x`, `ps`, `st`, `mask`: as for a call; `carry`: a pair of the first ones, of the forward cell at the first step
        and of the backward one at the last (default: each cell's `initial_carry`; None for one of them: that cell's).

        **Returns:** `((ys, last, carry), st)`: the outputs of all steps, those of each cell's last step, and the pair of last carries.
        """
        if carry is not None and not (isinstance(carry, tuple) and len(carry) == 2):
            raise ShapeError(
                f"Bidirectional: carry is a pair, that of the forward and that of the backward cell, got {type(carry).__name__}; "
                "write (forward_carry, None) for the backward cell's initial_carry"
            )
        firsts = (None, None) if carry is None else carry
        params, state = as_params(ps), as_state(st)
        results, states = [], {}
        for (name, cell), first in zip(self.children().items(), firsts, strict=True):
            result, states[name] = _over_time(
                self, cell, x, params[name], state[name], mask, first, name == "backward", unroll=self.unroll
            )
            results.append(result)
        (ys, lasts, carries) = zip(*results, strict=True)
        joined = (jax.tree.map(lambda *both: jnp.concatenate(both, axis=-1), *parts) for parts in (ys, lasts))
        return (*joined, carries), State(states)


def _over_time(
    layer: Any, cell: Any, x: Any, ps: Any, st: Any, mask: Any, carry: Any, reverse: bool, *, unroll: int
) -> tuple[tuple[Any, Any, Any], State]:
    """`cell.scan` for an input with time before the features, instead of first; the outputs likewise."""
    shape = jnp.shape(as_input(layer, x))
    if len(shape) < 2 or shape[-2] < 1:
        raise ShapeError(
            f"{type(layer).__name__} expects an input (..., time, features) with at least one step in time, got one of shape {shape}"
        )
    batch_shape = shape[:-2]
    if mask is not None:
        check_mask(layer, mask, shape[:-1], "an input")
        x = _without_padding(x, mask)
        mask = jnp.moveaxis(mask, -1, 0)
    if carry is None:
        carry = cell.initial_carry(ps, batch_shape, x.dtype)
    own = type(cell).scan
    scan = own if may_stand_in(own, cell) else AbstractRecurrentCell.scan
    (ys, last, carry), st = scan(cell, jnp.moveaxis(x, -2, 0), carry, ps, st, mask, reverse, unroll)
    return (jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, len(batch_shape)), ys), last, carry), st


def _without_padding(x: Array, mask: Bool[Array, "..."]) -> Array:
    """`x` with that of each sequence's first valid step wherever a step is masked out.

    What is computed from it is dropped, but only numbers that are finite, with finite derivatives, leave no trace in gradients: whatever
    stood in the padding may not be, and 0 need not be one of those that a cell is made for.
    """
    first = jnp.take_along_axis(x, jnp.argmax(mask, axis=-1)[..., None, None], axis=-2)
    first = jnp.where(jnp.any(mask, axis=-1)[..., None, None], first, 1)
    return jnp.where(mask[..., None], x, lax.stop_gradient(first))


def _with_mask(layer: Any, x: Any) -> tuple[Any, Any]:
    if not isinstance(x, tuple):
        return x, None
    if len(x) != 2:
        raise ShapeError(f"{type(layer).__name__} takes x or (x, mask), got a tuple of {len(x)}")
    return x


def _check_cell(layer: Any, **cells: Any) -> None:
    for name, cell in cells.items():
        if not isinstance(cell, AbstractRecurrentCell):
            raise LayerError(
                f"{type(layer).__name__}: {name} is a recurrent cell such as LSTMCell(4, 8), got {cell!r}; "
                "one of your own is a class Cell(lux.AbstractRecurrentCell)"
            )
