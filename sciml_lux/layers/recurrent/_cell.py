"""`AbstractRecurrentCell`: what a recurrence runs over a sequence."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..._errors import LayerError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import scan, stands_for, where


class AbstractRecurrentCell(AbstractLayer):
    """One step of a recurrence: an input and a carry give an output and the next carry.

        class LeakyIntegrator(lux.AbstractRecurrentCell):
            features: int

            def initial_parameters(self, key):
                return {"rate": lux.bounded(jnp.full(self.features, 0.1), 0.0, 1.0)}

            def initial_carry(self, ps, batch_shape, dtype):
                return jnp.zeros((*batch_shape, self.features), dtype)

            def __call__(self, x_and_carry, ps, st):
                x, carry = x_and_carry
                carry = carry + ps.rate * (x - carry)
                return (carry, carry), st

    Write `initial_carry` and `__call__`; `Recurrence`, `Bidirectional` and `StatefulRecurrentCell` then take the cell.

    **Call:** `(x, carry)`, with `x` of shape `(..., in)` and the carry any tree of arrays `(..., size)`, gives `(y, carry)`; the
    carry keeps its structure, shapes and dtypes.
    """

    # What a `scan` written by a class stands for, as that class finds it: a subclass that overrides one of these runs step by step.
    scan_stands_for: ClassVar[tuple[str, ...]] = ("__call__",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "scan" in vars(cls):
            stands_for(cls.scan, *(getattr(cls, name) for name in cls.scan_stands_for))

    def initial_carry(self, ps: Parameters, batch_shape: tuple[int, ...], dtype: Any) -> Any:
        """The carry before the first step: a tree of arrays of that dtype whose leading axes are `batch_shape`."""
        raise LayerError(
            f"{type(self).__name__} has no initial_carry(self, ps, batch_shape, dtype); "
            "write one that returns an array such as jnp.zeros((*batch_shape, features), dtype), or a tree of them"
        )

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
        """All steps of a sequence, by one `scan`; a cell that can share work between the steps overrides it.

        Such a `scan` stands for the `__call__` of the class that wrote it: a subclass with another `__call__` runs step by step.

        **Arguments:** `xs`: inputs with time as the first axis; `carry`: the one to start from; `mask`: of the same leading
        axes, False where a step is to be left out: its output is zero, and the carry stays; `reverse`: from the last step
        to the first; `unroll`: steps to a turn of the loop.

        **Returns:** `((ys, last, carry), st)`: the outputs, time first; the output of the last step that was not left out (zero if
        there was none); the carry after it.
        """

        def step(carried: Any, given: Any) -> Any:
            carry, last, st = carried
            x, valid = given
            (y, new), st = self((x, carry), ps, st)
            if valid is None:
                return (new, y, st), y
            y = where(valid, y, jax.tree.map(jnp.zeros_like, y))
            return (where(valid, new, carry), where(valid, y, last), st), y

        y = jax.eval_shape(lambda x: self((x, carry), ps, st)[0][0], xs[0])
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), y)
        (carry, last, st), ys = scan(step, (carry, nothing, st), (xs, mask), reverse=reverse, unroll=unroll)
        return (ys, last, carry), st
