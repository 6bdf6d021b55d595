"""Draws of a posterior, by the No-U-Turn sampler."""

import importlib.util
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from ..._errors import ParameterError, SolveError
from ...core import cached_function, differentiation_mode, failure_mode
from ...flatten import Layout
from ...training import Progress
from ._box import box_of
from ._estimate import Estimate
from ._nuts import FORWARD, Chains, Drawn, Stage, Target, advance, begin, stages
from ._open import Open, open_coordinates
from ._posterior import Posterior

# The program takes chains so many steps further at once; the bar is drawn, and Ctrl-C heard, in between.
_CHUNK = 50

# Starts scatter so many standard deviations around the estimate, or half as many, a quarter, ..., if the model fails there.
_SCATTER, _HALVINGS = 2.0, 8

# What is undetermined scatters by so many times what a large change is; what is on a bound starts so far beside it (1.8 % of the way to the
# other bound).
_WIDEST, _BESIDE = 3.0, 4.0


def sample(
    estimate: Estimate,
    key: Key[Array, ""],
    draws: int,
    warmup: int,
    chains: int,
    target_accept: float,
    progress: bool,
) -> Posterior:
    """See `Fit.sample`."""
    _check_key(key, draws)
    _check(estimate, draws, warmup, chains, target_accept)
    at = open_coordinates(estimate.point.vector, box_of(estimate.coordinates))
    if not at.free.size:
        raise ParameterError("there is nothing to sample: equal bounds, or their declarations, fix all parameters")
    own, scatter = jax.random.split(key)
    standing = _starts(estimate, at, chains, scatter)
    plan, total = stages(warmup, draws), warmup + draws
    plan = np.append(plan, np.full(-total % _CHUNK, int(Stage.KEEP)))
    function, layout = estimate.problem.function, estimate.point.layout
    is_forward = at.free.size <= FORWARD
    target, accept = Target(at, estimate.st, estimate.problem.arrays), jnp.asarray(target_accept, layout.dtype)
    found: list[Drawn] = []
    with (
        cached_function(function) as cached,
        differentiation_mode("forward" if is_forward else "reverse"),
        failure_mode("nan"),
        jax.numpy_dtype_promotion("standard"),  # BlackJAX multiplies by integers
        Progress(progress, "sample", total, of="divergences") as bar,
    ):
        for first in range(0, len(plan), _CHUNK):
            part = slice(first, first + _CHUNK)
            schedule = (jnp.asarray(plan[part], jnp.int32), jnp.arange(first, first + _CHUNK, dtype=jnp.int32))
            standing, drawn = advance(cached, layout, is_forward, target, standing, schedule, own, accept)
            found.append(jax.tree.map(np.asarray, drawn))
            bar.update(min(_CHUNK, total - first), float(sum(np.sum(one.diverging) for one in found)))
    # Chains first, and draws only.
    every = jax.tree.map(lambda *parts: np.swapaxes(np.concatenate(parts)[warmup:total], 0, 1), *found)
    step_size = float(jnp.exp(standing.steps.log_step_size_avg))
    return Posterior(estimate, np.asarray(_vectors(at, jnp.asarray(every.z))), every, step_size)


def _check_key(key: PyTree, draws: int) -> None:
    if hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
        return
    number = key if isinstance(key, int) else draws
    raise ParameterError(
        f"one typed random key comes first, got {type(key).__name__}; write fit.sample(jax.random.key(0), draws={number})"
    )


def _check(estimate: Estimate, draws: int, warmup: int, chains: int, target_accept: float) -> None:
    for name, number, least in (("draws", draws, 8), ("warmup", warmup, 20), ("chains", chains, 1)):
        if not isinstance(number, int) or number < least:
            raise ParameterError(f"{name} is a whole number, {least} or more, got {number!r}")
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept is a share between 0 and 1, got {target_accept!r}")
    if estimate.outcome == "failed":
        raise SolveError(f"the fit failed, so that there is no point to sample from: {estimate.reason}")
    missing = [name for name in ("blackjax", "arviz") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"posteriors are drawn with {' and '.join(missing)}; write pip install 'sciml-lux[sampling]'")


@eqx.filter_jit
def _vectors(at: Open, z: Float[Array, "chains draws free"]) -> Float[Array, "chains draws size"]:
    return jax.vmap(jax.vmap(at.closed))(z)


@eqx.filter_jit
def _maps(layout: Layout, at: Open, z: Float[Array, " free"]) -> tuple[Array, Array, Array, Array]:
    """The vector, the slopes of its free numbers, and what the maps add to the logarithm of the density, with its gradient."""

    def added(z: Float[Array, " free"]) -> Float[Array, ""]:
        return layout.log_abs_det_jacobian(at.closed(z)) + jnp.sum(at.log_rates(z))

    rates = jax.jvp(lambda z: at.closed(z)[at.free], (z,), (jnp.ones_like(z),))[1]
    return at.closed(z), rates, *jax.value_and_grad(added)(z)


def _starts(estimate: Estimate, at: Open, chains: int, key: Key[Array, ""]) -> Chains:
    """Points scattered around the estimate, more widely than the posterior is, at which the density and its gradient are finite."""
    layout, dtype = estimate.point.layout, estimate.point.layout.dtype
    centre = at.opened(_BESIDE)
    covariance = _covariance(estimate, at, centre)
    root = np.linalg.cholesky(covariance)
    seed = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    found: list[tuple[np.ndarray, float, np.ndarray]] = []
    for normal in seed.standard_normal((chains, len(centre))):
        for halving in range(_HALVINGS):
            z = jnp.asarray(centre + _SCATTER * 0.5**halving * root @ normal, dtype)
            value, slope = _density(estimate, layout, at, z)
            if math.isfinite(value) and np.all(np.isfinite(slope)):
                found.append((np.asarray(z), value, slope))
                break
        else:
            raise SolveError(
                "the density is not finite anywhere near the estimate, so that no chain can start: priors, bounds or the model end there"
            )
    z, value, slope = (np.stack(part) for part in zip(*found, strict=True))
    return begin(z, value, slope, covariance, dtype)


def _density(estimate: Estimate, layout: Layout, at: Open, z: Float[Array, " free"]) -> tuple[float, np.ndarray]:
    """The logarithm of the density of `z`, and its gradient, by the program with which the fit was made."""
    vector, rates, added, slope = _maps(layout, at, z)
    value, gradient = estimate.task.look(vector, box_of(estimate.coordinates), estimate.problem.arrays)
    return float(added) - value, np.asarray(slope) - np.asarray(rates) * gradient[np.asarray(at.free)]


def _covariance(estimate: Estimate, at: Open, centre: Float[np.ndarray, " free"]) -> Float[np.ndarray, "free free"]:
    """Of the normal approximation around the estimate; what the data do not determine is as wide as a few large changes of it."""
    free = np.asarray(at.free)
    rates = np.asarray(
        _maps(estimate.point.layout, at, jnp.asarray(centre, estimate.point.layout.dtype))[1], np.float64
    )
    root = estimate.information.root[:, free] * rates
    precision = root.T @ root
    bounded = np.isfinite(np.asarray(at.lower)) | np.isfinite(np.asarray(at.upper))
    own, sizes = np.diag(precision), np.asarray(estimate.task.sizes, np.float64)[free]
    known = np.where(own > 0, 1 / np.sqrt(np.where(own > 0, own, 1.0)), 0.0)
    widths = np.where(bounded, 1.0, np.maximum(sizes, known))
    widths = _WIDEST * np.where(widths > 0, widths, 1.0)
    # In units of these widths, where the matrix is not far from one of ones.
    scaled = precision * widths[:, None] * widths[None, :] + np.eye(len(free))
    return np.linalg.inv(scaled) * widths[:, None] * widths[None, :]
