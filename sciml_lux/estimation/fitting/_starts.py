"""Where to start from: a Latin hypercube over bounds and priors."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from scipy.stats import qmc

from ..._errors import ParameterError
from ...core import setup_batch
from ...flatten import FlatParams
from .._coordinates import coordinates_of, has_order, part_of
from ..problem import Problem
from ._box import box_of
from ._fit import bounds_of


def sample_starts(key: Key[Array, ""], problem: Problem, n: int, *, screened: int = 1) -> FlatParams:
    """`n` starts, as a batch of parameters, spread evenly: each of `n` equally probable parts of every parameter's range has one start.

    A parameter with a prior is drawn from it, within its bounds; one with two bounds evenly between them, over the logarithm if it is
    stored as one; one with equal bounds is where they are. All others, such as the weights of a network, start as the model sets them up,
    anew in each start.

    `screened`: of so many times as many starts those are kept from which the objective is lowest, which costs one evaluation each.

    **Errors:** `ParameterError` if nothing differs between starts: no parameter has a prior, two bounds, or a random initial value.
    """
    if not isinstance(n, int) or n < 1:
        raise ParameterError(f"sample_starts draws 1 start or more, got n={n!r}")
    if not isinstance(screened, int) or screened < 1:
        raise ParameterError(f"sample_starts keeps one of 1 or more starts, got screened={screened!r}")
    if screened > 1:
        every = sample_starts(key, problem, n * screened)
        return _best(problem, every, n)
    setup_key, own = jax.random.split(key)
    ps, _ = setup_batch(setup_key, problem.model, n)
    coordinates = coordinates_of(bounds_of(problem), ps.replace(ps.vector[0]), check_start=False)
    layout, box = coordinates.start.layout, box_of(coordinates)
    lower, upper = np.asarray(box.lower, np.float64), np.asarray(box.upper, np.float64)
    seed = np.random.default_rng(np.asarray(jax.random.key_data(own)))
    shares = qmc.LatinHypercube(max(layout.size, 1), rng=seed).random(n)
    vectors = np.stack([np.asarray(coordinates.at(ps.replace(row)), np.float64) for row in ps.vector])
    priors = problem.priors or {}
    for entry in layout.entries:
        part = part_of(entry)
        if not entry.size or not has_order(entry.ravel_map):
            continue
        if entry.path in priors:
            shown = priors[entry.path].quantile(shares[:, part])
            drawn = np.asarray(entry.ravel_map.ravel(jnp.asarray(shown), entry.spec), np.float64).reshape(shown.shape)
        else:
            bounded = np.isfinite(lower[part]) & np.isfinite(upper[part])
            with np.errstate(invalid="ignore"):
                drawn = np.where(bounded, lower[part] + shares[:, part] * (upper[part] - lower[part]), vectors[:, part])
        vectors[:, part] = np.clip(drawn, lower[part], upper[part])
    if n > 1 and np.all(vectors == vectors[:1]):
        raise ParameterError(
            f"all {n} starts would be the same: no parameter has a prior or two bounds; write "
            "est.Problem(..., bounds={name: (lower, upper)})"
        )
    declared = [coordinates.declared(jnp.asarray(row, layout.dtype)).vector for row in vectors]
    return FlatParams(jnp.stack(declared), problem.layout)


def _best(problem: Problem, starts: FlatParams, n: int) -> FlatParams:
    """Those from which the objective is lowest, best first; those without a finite result come last."""
    state = problem.state
    objectives = [float(problem.terms(starts.replace(row), state).objective) for row in starts.vector]
    order = np.argsort(np.where(np.isfinite(objectives), objectives, np.inf), kind="stable")[:n]
    return starts.replace(starts.vector[jnp.asarray(order)])
