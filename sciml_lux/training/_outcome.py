"""Whether a fit was a success, and why not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import State, type_of
from ..flatten import FlatParams
from ._batches import Batches
from ._loss import solves

# Of the losses of differing batches, a tenth at each end is compared, and no fewer than these: that all of one end exceed all of the
# other by chance has a probability of 1 in 252.
_FEWEST_COMPARED = 5
_LONG = 20  # steps; a shorter fit may still be on its way, since optimisers with momentum overshoot at first


def explain_failures(carry: Any, ps: FlatParams, batches: Batches, step: int, max_failures: int) -> str:
    """Why the last steps were not taken, as far as can be told from outside the loss."""
    when, advice = "from the very first step", "start elsewhere"
    if step != max_failures:
        when, advice = (
            f"after {step} steps",
            "lower the learning rate, or clip the gradient with optax.clip_by_global_norm",
        )
    if any(_of_samples(carry.failed_st, path) for path in _failed_solves(carry)):
        advice = (
            "make the model inside the equilibrium contract: wrap the layers that act on z, as in lux.SpectralNorm(lux.Dense(16, 16)), for "
            'which a JacobianPenalty in the loss is no substitute; unconverged="best" goes on with what was reached'
        )
    return (
        f"the fit stopped {when}: {max_failures} steps in a row had a loss or gradient that is not finite, or a failed solve"
        f"{_reasons(carry, ps, batches)}. Try to {advice}; the last good parameters are in error.fitted.ps"
    )


def explain_no_step(carry: Any, ps: FlatParams, batches: Batches, step: int) -> str:
    """Why no step was taken."""
    return (
        f"no step was taken: none of {step} losses and gradients was finite, or each had a failed solve{_reasons(carry, ps, batches)}. "
        "Try to start elsewhere"
    )


def explain_no_progress(step: int) -> str:
    """That the fit ends where it began, since nothing else that it came to is any good."""
    return (
        f"the fit came to no point with a finite loss beside its start, in {step} steps. Try to lower the learning rate, or clip the "
        "gradient with optax.clip_by_global_norm"
    )


def explain_rise(start: float, end: float, best: float, step: int) -> str:
    """That the loss is higher than it was."""
    return (
        f"the loss rose from {start:.6g} to {end:.6g}. Try to lower the learning rate; the best point, with the loss {best:.6g} at step "
        f"{step}, is in error.fitted.best"
    )


def _reasons(carry: Any, ps: FlatParams, batches: Batches) -> str:
    reasons = [
        f"the solve at {path} failed: {_of_samples(carry.failed_st, path) or type_of(result)[result].rstrip('.')}"
        for path, result in _failed_solves(carry).items()
    ]
    with_nan = {
        f"data{jax.tree_util.keystr(path)}": None
        for batch in batches.latest
        for path, leaf in jax.tree_util.tree_leaves_with_path(batch)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) and bool(jnp.isnan(leaf).any())
    }
    reasons += [f"{path} holds NaN; leave such points out, or mask them in the loss" for path in with_nan]
    bad = [
        entry.path
        for entry in ps.layout.entries
        if not bool(jnp.isfinite(ps.vector[..., entry.offset : entry.offset + entry.size]).all())
    ]
    if bad:
        reasons.append(f"the parameters {', '.join(bad)} are not finite")
    return f": {'; '.join(reasons)}" if reasons else ""


def _failed_solves(carry: Any) -> dict[str, Any]:
    return {path: result for path, result in solves(carry.failed_st).items() if type_of(result)[result]}


def _of_samples(st: State, path: str) -> str:
    """What the state says of the samples whose equilibrium was looked for, if that is what failed."""
    place = path.rpartition(".")[0]
    solution = st[place] if place else st
    if not {"converged", "residual"} <= set(solution):
        return ""
    converged, residual = np.atleast_1d(solution["converged"]), np.atleast_1d(solution["residual"])
    if converged.all():
        return ""
    largest = np.max(residual[~converged])
    return f"{(~converged).sum()} of {converged.size} samples found no equilibrium, and ended with residuals of up to {largest:.3g}"


def seems_to_have_risen(losses: np.ndarray, end: float, streamed: bool) -> bool:
    """Whether every loss of the last tenth is above every one of the first; of a few steps, whether the loss more than doubled."""
    finite = losses[np.isfinite(losses)]
    compared = max(_FEWEST_COMPARED if streamed else 2, finite.size // 10)
    if finite.size < 2 * compared or (finite.size < _LONG and not streamed):
        return bool(not streamed and finite.size and end - finite[0] > abs(finite[0]))
    late = [*finite[finite.size - compared + 1 :], end]
    return bool(min(late) > max(finite[:compared]))
