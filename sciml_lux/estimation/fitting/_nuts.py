"""Chains of the No-U-Turn sampler: one compiled program, which takes all chains some steps further, whether they warm up or draw.

The kernel, the adaptation of the step size and the estimate of the covariance are BlackJAX's. What a chain learns while it warms up is
pooled: all have one step size and one mass matrix, so that none waits for another whose steps are shorter.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ...core import CachedFunction, State
from ...flatten import Layout
from ..problem import Arrays
from ._open import Open

# Up to so many numbers the gradient is taken forward, in one pass with a tangent for each; beyond backward.
FORWARD = 4

# The mass matrix is dense up to so many numbers, and diagonal beyond.
DENSE = 100


class Stage(IntEnum):
    """Of a step: `FAST` adapts the step size; `SLOW` gathers the covariance as well; `CLOSE` ends a window, whose covariance becomes the
    mass matrix; `KEEP` adapts nothing, and its draw is one."""

    FAST = 0
    SLOW = 1
    CLOSE = 2
    KEEP = 3


class Chains(NamedTuple):
    """Where all chains stand. `state`: of the kernel, with an axis of chains; `steps`: of the step size; `metric`: of the mass matrix."""

    state: PyTree
    steps: PyTree
    metric: PyTree


class Target(NamedTuple):
    """What the density is of, beside the function: coordinates, state, data."""

    at: Open
    st: State
    arrays: Arrays


class Drawn(NamedTuple):
    """Of each step and chain, in arrays with these two axes first: `z`; the logarithm of its density there; `energy`; the share that was
    accepted along the trajectory; its steps; whether it diverged."""

    z: Any
    log_density: Any
    energy: Any
    acceptance: Any
    num_steps: Any
    diverging: Any


def _blackjax() -> Any:
    import blackjax  # an extra, whose annotations say float for arrays

    return blackjax


def stages(warmup: int, draws: int) -> Int[np.ndarray, " steps"]:
    """The schedule of Stan: windows that double, in which the covariance is gathered, between two in which only the step size adapts."""
    with jax.numpy_dtype_promotion("standard"):
        kinds, ends = np.asarray(_blackjax().adaptation.window_adaptation.build_schedule(warmup)).reshape(warmup, 2).T
    return np.concatenate([np.where(ends == 1, int(Stage.CLOSE), kinds), np.full(draws, int(Stage.KEEP))])


def begin(
    z: Float[np.ndarray, "chains free"],
    log_density: Float[np.ndarray, " chains"],
    slope: Float[np.ndarray, "chains free"],
    covariance: Float[np.ndarray, "free free"],
    dtype: np.dtype[Any],
) -> Chains:
    """Chains at these points, with a step of 1 in the units of this covariance."""
    library, is_diagonal = _blackjax(), len(covariance) > DENSE
    matrix = jnp.asarray(np.diag(covariance) if is_diagonal else covariance, dtype)
    with jax.numpy_dtype_promotion("standard"):
        metric = library.adaptation.mass_matrix.mass_matrix_adaptation(is_diagonal)[0](len(covariance), matrix)
        steps = library.adaptation.step_size.dual_averaging_adaptation(0.8)[0](1.0)
    made = Chains(library.mcmc.hmc.HMCState(z, log_density, slope), steps, metric)
    return jax.tree.map(lambda leaf: _as(leaf, dtype), made)


def _as(leaf: PyTree, dtype: np.dtype[Any]) -> PyTree:
    array = jnp.asarray(leaf)
    return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.int32)


def log_density_of(
    cached: CachedFunction, layout: Layout, target: Target, is_forward: bool
) -> Callable[[Float[Array, " free"]], Float[Array, ""]]:
    """The logarithm of the density of `z`, with a gradient that is finite: where either is not, -inf and 0."""
    function = cached.use()

    def total(z: Float[Array, " free"]) -> Float[Array, ""]:
        vector = target.at.closed(z)
        terms = function(layout.unravel(vector), target.st, target.arrays)
        return layout.log_abs_det_jacobian(vector) + jnp.sum(target.at.log_rates(z)) - terms.objective

    def both(z: Float[Array, " free"]) -> tuple[Float[Array, ""], Float[Array, " free"]]:
        if is_forward:
            basis = jnp.eye(z.size, dtype=z.dtype)
            value, slope = jax.vmap(lambda one: jax.jvp(total, (z,), (one,)), out_axes=(None, 0))(basis)
        else:
            value, slope = jax.value_and_grad(total)(z)
        is_finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
        return jnp.where(is_finite, value, -jnp.inf), jnp.where(is_finite, slope, 0.0)

    once = jax.jit(both)  # loops around it are mapped over chains several times while they are traced
    density = jax.custom_vjp(lambda z: once(z)[0])
    density.defvjp(once, lambda slope, cotangent: (cotangent * slope,))
    return density


@eqx.filter_jit
def advance(
    cached: CachedFunction,
    layout: Layout,
    is_forward: bool,
    target: Target,
    chains: Chains,
    schedule: tuple[Int[Array, " steps"], Int[Array, " steps"]],
    key: Key[Array, ""],
    target_accept: Float[Array, ""],
) -> tuple[Chains, Drawn]:
    """All chains, as many steps further as the schedule has: pairs of a stage and the number of the step, which makes its random key."""
    log_density, kernel = log_density_of(cached, layout, target, is_forward), _blackjax().mcmc.nuts.build_kernel()
    count = jax.tree.leaves(chains.state)[0].shape[0]

    def step(chains: Chains, planned: tuple[Int[Array, ""], Int[Array, ""]]) -> tuple[Chains, Drawn]:
        stage, index = planned
        size = jnp.exp(jnp.where(stage == Stage.KEEP, chains.steps.log_step_size_avg, chains.steps.log_step_size))
        matrix = chains.metric.inverse_mass_matrix
        one = lambda key, state: kernel(key, state, log_density, size, matrix)  # noqa: E731
        state, info = jax.vmap(one)(jax.random.split(jax.random.fold_in(key, index), count), chains.state)
        drawn = Drawn(
            state.position,
            state.logdensity,
            info.energy,
            info.acceptance_rate,
            info.num_integration_steps,
            info.is_divergent,
        )
        return _adapted(chains._replace(state=state), stage, jnp.mean(info.acceptance_rate), target_accept), drawn

    return jax.lax.scan(step, chains, schedule)


def _adapted(
    chains: Chains, stage: Int[Array, ""], acceptance: Float[Array, ""], target_accept: Float[Array, ""]
) -> Chains:
    adaptation = _blackjax().adaptation
    restart, correct, settle = adaptation.step_size.dual_averaging_adaptation(target_accept)
    _, gather, close = adaptation.mass_matrix.mass_matrix_adaptation(chains.metric.inverse_mass_matrix.ndim == 1)

    def slow(chains: Chains) -> Chains:
        metric, _ = jax.lax.scan(lambda kept, z: (gather(kept, z), None), chains.metric, chains.state.position)
        return chains._replace(metric=metric)

    def end(chains: Chains) -> Chains:
        return chains._replace(metric=close(chains.metric), steps=restart(settle(chains.steps)))

    def where(is_so: Bool[Array, ""], change: Callable[[Chains], Chains], chains: Chains) -> Chains:
        # BlackJAX makes what it restarts of JAX's default types.
        like = lambda c: jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), change(c), c)  # noqa: E731
        return jax.lax.cond(is_so, like, lambda c: c, chains)

    chains = where(stage != Stage.KEEP, lambda c: c._replace(steps=correct(c.steps, acceptance)), chains)
    chains = where((stage == Stage.SLOW) | (stage == Stage.CLOSE), slow, chains)
    return where(stage == Stage.CLOSE, end, chains)
