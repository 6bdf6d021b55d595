"""What a solve is asked for, before and after it was cut into samples."""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import numpy as np

from ...core import State


class Request(NamedTuple):
    """What a solve is asked for. With `batching="each"`, what differs from sample to sample has a leading axis.

    `y0`: the initial value, as it was given; `t0`: where the solve starts, if not at that of the settings; `ts`: times to save at;
    `lengths`: how many of them are real; `inputs`: functions of time that the equation is given; `drives`: what else drives it, which only
    its family knows, such as doses; `saveat`: in place of `ts`; `key`: the random key of an equation that has one, or that of each sample.
    """

    y0: Any
    t0: Any = None
    ts: Any = None
    lengths: Any = None
    inputs: Any = None
    drives: Any = None
    saveat: diffrax.SaveAt | None = None
    key: Any = None

    def axes(self, inputs: Any, drives: Any) -> "Request":
        """Which arrays have a leading axis, the samples, as for `equinox.filter_vmap`; `inputs` and `drives` say it of theirs."""
        return Request(
            y0=eqx.if_array(0),
            t0=0 if np.ndim(self.t0) else None,
            ts=0 if np.ndim(self.ts) == 2 else None,
            lengths=None if self.lengths is None else 0,
            inputs=inputs,
            drives=drives,
            saveat=None,
            key=None if self.key is None else 0,
        )

    def seen_by(self, state: State) -> State:
        """The state, in which `key` is that of this solve."""
        return state if self.key is None else State({**state, "key": self.key})


class Start(NamedTuple):
    """One solve as it begins, of one sample or of all jointly, all of it checked: times are of the precision of the solve.

    `y0`: what is solved for, as `lift` made it; `t0`; `ts`: times to save at, the last of which ends the solve, or `None` for the end
    alone; `params`, `state`, `inputs`, `drives`, `saveat`. The random key of the solve, if it has one, is `state["key"]`.
    """

    y0: Any
    t0: Any
    ts: Any
    params: Any
    state: Any
    inputs: Any
    drives: Any = None
    saveat: diffrax.SaveAt | None = None

    @property
    def args(self) -> tuple[Any, Any, Any]:
        """What terms are given beside time and state: `(params, state, inputs)`."""
        return self.params, self.state, self.inputs
