"""The outer loop of multiple shooting: fit, raise the multipliers, fit again, until the segments meet."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix

from ..._errors import FitError, LayerError
from ...core import State, failure_mode
from ...flatten import FlatParams
from .._fit import fit
from .._result import Fitted
from ._checks import check_count
from ._multiple_shooting import ShootingLoss, check_segments

# A round after which the defect is not this much smaller than before makes defects more expensive.
_ENOUGH = 0.25


def fit_augmented_lagrangian(
    loss: ShootingLoss,
    ps: FlatParams,
    st: State,
    optimizer: Any,
    *,
    data: Any,
    steps: int | None = None,
    rounds: int = 20,
    growth: float = 10.0,
    tolerance: float = 1e-6,
    progress: bool = False,
    throw: bool = True,
) -> Fitted:
    """Minimises the misfit of all segments subject to their meeting: `min misfit(p, s)` such that `d_k(p, s) = 0`.

    Each round is a `lux.fit` of `misfit + mean(l d + r d^2 / 2)`; after it

        l <- l + r d,        and r <- growth * r if the largest defect has not fallen to a quarter.

    The multipliers make the defects vanish at a finite `r`, where a penalty alone would need one without bound, which no
    optimiser likes. All rounds share one compilation.

    **Arguments:** `loss`, `ps`, `st`: of a `MultipleShooting`; `optimizer`, `data`, `steps`: as for `lux.fit`, for one round (a
    minimiser such as `optimistix.BFGS` converges furthest); `rounds`: at most; `growth`: above 1; `tolerance`: the largest
    defect that counts as none, in the units of the state; `progress`; `throw`: whether to raise if it is not reached.

    **Returns:** `Fitted`; `losses` and `stats["defect"]` of all rounds end to end.

    **Errors:** `FitError` if a fit stopped, or the rounds ended before the segments met; `error.fitted` holds what was reached.
    `LayerError` for another loss, or an option that cannot be; `ShapeError` for segments that do not follow one another.

    **Source:** Nocedal and Wright 2006, Numerical Optimization, section 17.3; Bertsekas 1982, Constrained Optimization and
    Lagrange Multiplier Methods.
    """
    if not isinstance(loss, ShootingLoss):
        raise LayerError(
            f"fit_augmented_lagrangian takes a ShootingLoss, got {loss!r}; write ShootingLoss(MultipleShooting(node, ...))"
        )
    check_count("fit_augmented_lagrangian", "rounds", rounds, 1)
    if not growth > 1 or not tolerance > 0:
        raise LayerError(f"growth is above 1 and tolerance above 0, got growth={growth!r}, tolerance={tolerance!r}")
    check_segments(data)
    defects_at = jax.jit(lambda ps, st, data: loss.shooting(data, ps, st)[1])
    history: list[Fitted] = []
    largest = np.inf
    for _ in range(rounds):
        history.append(fit(loss, ps, st, optimizer, steps=steps, data=data, progress=progress, throw=False))
        ps, st = history[-1].ps, history[-1].st
        if history[-1].message:
            break
        with failure_mode("nan"):
            st = defects_at(ps, st, data)
        before, largest = largest, float(jnp.max(jnp.abs(st["defects"]), initial=0.0))
        if largest < tolerance:
            break
        st = _raised(st, growth if largest > _ENOUGH * before else 1.0)
    fitted = _joined(history, st, largest, tolerance)
    if fitted.message and throw:
        raise FitError(fitted.message, fitted)
    return fitted


def _raised(st: State, growth: float) -> State:
    st = st.set("multipliers", st["multipliers"] + st["penalty"] * st["defects"])
    return st.set("penalty", st["penalty"] * jnp.asarray(growth, st["penalty"].dtype))


def _joined(history: list[Fitted], st: State, largest: float, tolerance: float) -> Fitted:
    last = history[-1]
    message, result = last.message, last.result
    if not message and not largest < tolerance:
        message = (
            f"the segments do not meet after {len(history)} rounds: the largest defect is {largest:.2g}, wanted below {tolerance:g}. "
            "Try more steps or rounds, a minimiser such as optimistix.BFGS(rtol, atol), or a larger tolerance"
        )
        result = optimistix.RESULTS.nonlinear_max_steps_reached
    losses = np.concatenate([fitted.losses for fitted in history])
    stats = [fitted.stats for fitted in history if fitted.stats is not None]
    return dataclasses.replace(
        last,
        st=st,
        losses=losses,
        stats=jax.tree.map(lambda *leaves: np.concatenate(leaves), *stats) if stats else None,
        num_rejected=sum(fitted.num_rejected for fitted in history),
        result=result,
        message=message,
    )
