"""What an equilibrium is reported as: in the solution, in the state, in an error."""

import math
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, Bool, Int

from ...core import item_of, number_of
from .._failure import Failure
from ._find import Found
from ._rows import row_norms

_NONFINITE = int(number_of(optx.RESULTS.nonfinite))
_ADRIFT = int(number_of(optx.RESULTS.nonlinear_divergence))

# How many times the residual an estimated error is that is worth a warning.
_WEAK = 1e3


def item(code: Int[Array, ""]) -> Any:
    """The item of `optimistix.RESULTS` of a number, which may be traced."""
    return item_of(optx.RESULTS, code)


def result_of(okay: Bool[Array, " samples"], code: Int[Array, " samples"], throw: bool) -> Any:
    """The outcome of all samples: that of the first that failed; with `throw=False`, where failed samples are the caller's to leave
    out, only if all failed."""
    failed = jnp.any(~okay) if throw else jnp.all(~okay)
    return item(jnp.where(failed, code[jnp.argmax(~okay)], number_of(optx.RESULTS.successful)))


def explain(deq: Any, failure: Failure) -> str:
    """What happened, in which sample, and what to try."""
    where = (
        f" in sample {failure.sample} ({failure.number} of {failure.samples} samples failed)"
        if failure.samples > 1
        else ""
    )
    name, solver = type(deq).__name__, type(deq.solver).__name__
    if failure.result == _NONFINITE or not math.isfinite(failure.largest):
        what = "the model is not finite"
        advice = "look for NaN in x and in the parameters; bound a model that grows without bound in z, as by tanh or a normalization"
    elif failure.result == _ADRIFT:
        what = (
            f"the residual, {failure.largest:.3g}, is within the tolerances, but after {failure.t} steps of {solver} it is not seen to "
            "go as z moves: either z drifts, as under z -> z + c, and there is no equilibrium, or the model hardly contracts, and the "
            "equilibrium is far away still"
        )
        advice = (
            f"make the model contract, by lux.SpectralNorm around the layers that act on z; raise max_steps={deq.max_steps}, or start "
            "nearer, by init="
        )
    else:
        what = f"the residual is {failure.largest:.3g} after {failure.t} steps of {solver}"
        advice = (
            f"raise max_steps={deq.max_steps}, loosen rtol or atol, or make the model contract: spectral_radius(...) should be below "
            "1, lux.SpectralNorm around the layers that act on z keeps it so; unrolled(steps=...) trains before there is one"
        )
    return (
        f"{name}: no equilibrium was found{where}: {what}. Try this: {advice}. With throw=False failed samples are NaN, and "
        'st.solution.converged says which; unconverged="best" goes on with the best iterates'
    )


def figures(found: Found) -> dict[str, Any]:
    """What is known of each sample."""
    return {
        "residual": found.residual,
        "error": found.error,
        "num_steps": found.num_steps,
        "converged": found.converged,
    }


def warn_of_weak_contraction(name: str, found: Found) -> None:
    """Warns, outside compiled functions, where the residual says little of the error."""
    known = (found.residual, found.error, found.converged)
    if any(isinstance(leaf, Tracer) for leaf in known):
        return
    residual, error, converged = (np.asarray(leaf) for leaf in known)
    # A residual of 0 is known to rounding only.
    least = np.finfo(error.dtype).eps * np.asarray(row_norms(found.z))
    seen = np.maximum(residual, least)
    contrast = np.divide(error, seen, out=np.zeros_like(error), where=(seen > 0) & np.isfinite(error))
    weak = converged & (contrast > _WEAK) & np.isfinite(error)
    if not weak.any():
        return
    i = int(np.argmax(np.where(weak, contrast, 0)))
    times = contrast[i]
    warnings.warn(
        f"{name}: the model contracts weakly, by {1 - 1 / times:.7g} a step or so where sample {i} rests ({weak.sum()} of {weak.size} "
        f"samples): an error {times:.2g} times the residual is to be expected, about {error[i]:.2g} for a residual of {residual[i]:.2g}. "
        "Tighten rtol and atol if that is too much, or make the model contract more, by lux.SpectralNorm, or by training with a "
        "JacobianPenalty in the loss",
        stacklevel=4,
    )
