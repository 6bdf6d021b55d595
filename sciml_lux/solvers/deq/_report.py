"""What an equilibrium is reported as: in the solution, in the state, in an error."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optimistix as optx

from .._failure import Failure
from ._find import Found

_NONFINITE = int(optx.RESULTS.nonfinite._value)  # type: ignore[attr-defined]


def item(code: Any) -> Any:
    """The item of `optimistix.RESULTS` of a number, which may be traced."""
    return jax.tree.map(lambda _: jnp.asarray(code, jnp.int32), optx.RESULTS.successful)


def result_of(okay: Any, code: Any, throw: bool) -> Any:
    """The outcome of all samples: that of the first that failed; with `throw=False`, where failed samples are the caller's to leave
    out, only if all failed."""
    failed = jnp.any(~okay) if throw else jnp.all(~okay)
    return item(jnp.where(failed, code[jnp.argmax(~okay)], int(optx.RESULTS.successful._value)))  # type: ignore[attr-defined]


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
    else:
        what = f"the residual is {failure.largest:.3g} after {failure.t} steps of {solver}"
        advice = (
            f"raise max_steps={deq.max_steps}, loosen rtol or atol, or make the model contract: spectral_radius(...) should be below "
            "1, jacobian_penalty=JacobianPenalty() and normalized weights keep it so; unrolled(steps=...) trains before there is one"
        )
    return (
        f"{name}: no equilibrium was found{where}: {what}. Try this: {advice}. With throw=False failed samples are NaN, and "
        "st.solution.converged says which"
    )


def figures(found: Found) -> dict[str, Any]:
    """What is known of each sample."""
    return {"residual": found.residual, "num_steps": found.num_steps, "converged": found.converged}
