"""What is summed: the logarithms of the densities of data and priors, penalties, and the rows from which a fit takes its steps.

The method of scoring (Fisher 1925): near a point, `-log p(observed | location, log spread)` has the gradient `-score` and, on average over
data, the curvature `information`, which is diagonal in these two. As rows of a least-squares problem: `r = -score / sqrt(information)`,
with the derivative `sqrt(information) d(location)`, and the same of `log spread` where that is estimated. For normal noise that is known
`r` is the residual divided by its standard deviation, and the method that of Gauss and Newton.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from ...core import State
from ...flatten import Params
from .._types import Numbers
from ..noise import AbstractNoise
from ..priors import AbstractPrior
from ._arrays import Arrays, Observed
from ._simulate import Predicted, Simulation


class Terms(NamedTuple):
    """`log_likelihood`, with all constants; `log_prior`; `penalty`: half the sum of the squares of the penalties; `chi_square`: of the data
    alone, in their standard deviations; `rows`: by kind, `data`, `prior` and `penalty`; `predicted`: by observable; `st`."""

    log_likelihood: Float[Array, ""]
    log_prior: Float[Array, ""]
    penalty: Float[Array, ""]
    chi_square: Float[Array, ""]
    rows: dict[str, Float[Array, " rows"]]
    predicted: dict[str, Predicted]
    st: State

    @property
    def objective(self) -> Float[Array, ""]:
        """What a fit minimises."""
        return self.penalty - self.log_likelihood - self.log_prior


@dataclass(frozen=True)
class Sum:
    """All terms of a problem, as a function of parameters, state and data. `priors`, `penalties`: pairs of paths and densities, of names
    and functions."""

    simulation: Simulation
    priors: tuple[tuple[str, AbstractPrior], ...]
    penalties: tuple[tuple[str, Callable[[Params], Any]], ...]

    def __call__(self, params: Params, st: State, arrays: Arrays) -> Terms:
        predicted, new = self.simulation(params, st, arrays)
        dtype = arrays.ts.dtype
        log_likelihood, chi_square, data = jnp.zeros((), dtype), jnp.zeros((), dtype), [jnp.zeros((0,), dtype)]
        for name, noise in self.simulation.noise:
            density, squares, rows = _observable(noise, predicted[name], arrays.observed[name])
            log_likelihood, chi_square = log_likelihood + density, chi_square + squares
            data += rows
        log_prior, prior = jnp.zeros((), dtype), [jnp.zeros((0,), dtype)]
        for path, density in self.priors:
            value = jnp.asarray(params[path])
            log_prior = log_prior + jnp.sum(density.log_density(value)).astype(dtype)
            prior.append(_prior_rows(density, value).astype(dtype))
        penalties = [jnp.ravel(ravel_pytree(penalty(params))[0]).astype(dtype) for _, penalty in self.penalties]
        penalty = jnp.concatenate([jnp.zeros((0,), dtype), *penalties])
        return Terms(
            log_likelihood,
            log_prior,
            0.5 * jnp.sum(penalty**2),
            chi_square,
            {"data": jnp.concatenate(data), "prior": jnp.concatenate(prior), "penalty": penalty},
            predicted,
            new,
        )


def filled(predicted: Predicted, observed: Observed) -> tuple[Any, Any]:
    """Location and spread of every number, harmless where nothing was observed: 0 times NaN is NaN, in derivatives as well."""
    location = jnp.broadcast_to(jnp.asarray(predicted.location)[:, None, :], observed.mask.shape)
    spread = jnp.ones_like(location)
    if observed.sigma is not None:
        spread = jnp.asarray(observed.sigma)
    elif predicted.spread is not None:
        spread = jnp.broadcast_to(jnp.asarray(predicted.spread)[:, None, :], observed.mask.shape)
    return jnp.where(observed.mask, location, 1.0), jnp.where(observed.mask, spread, 1.0)


def _observable(noise: AbstractNoise, predicted: Predicted, observed: Observed) -> tuple[Any, Any, list[Any]]:
    """The logarithm of the density of all measurements of one observable, their chi-square, and their rows."""
    location, spread = filled(predicted, observed)
    mask, value = observed.mask, jnp.asarray(observed.value)
    total = lambda numbers: jnp.sum(jnp.where(mask, numbers, 0.0))  # noqa: E731
    log_density = lambda location, spread: _log_density(noise, observed, location, spread)  # noqa: E731
    density = total(log_density(location, spread))
    squares = noise.standardized(value, location, spread) ** 2
    squares = total(
        squares if observed.censored is None else jnp.where(jnp.asarray(observed.censored) == 0, squares, 0.0)
    )

    linked, log_spread = noise.link(location), jnp.log(spread)
    at = stop_gradient((linked, log_spread))
    scores_of = jax.grad(
        lambda linked, log_spread: total(log_density(noise.unlink(linked), jnp.exp(log_spread))), (0, 1)
    )
    scores = scores_of(*at)
    information = noise.information(*stop_gradient((location, spread)))
    if observed.censored is not None:
        is_censored = jnp.asarray(observed.censored) != 0
        curvatures = (
            -jax.grad(lambda one: jnp.sum(scores_of(one, at[1])[0]))(at[0]),
            -jax.grad(lambda one: jnp.sum(scores_of(at[0], one)[1]))(at[1]),
        )
        information = tuple(
            jnp.where(is_censored, _positive(curvature, score), own)
            for curvature, score, own in zip(curvatures, scores, information, strict=True)
        )
    is_estimated = noise.has_spread and predicted.spread is not None and not isinstance(noise.spread, int | float)
    pairs = list(zip(scores, information, (linked, log_spread), at, strict=True))
    rows = []
    for score, weight, number, now in pairs if is_estimated else pairs[:1]:
        root = jnp.sqrt(stop_gradient(weight))
        row = stop_gradient(-score / root) + root * (number - now)
        rows.append(jnp.ravel(jnp.where(mask, row, 0.0)))
    return density, squares, rows


def _log_density(noise: AbstractNoise, observed: Observed, location: Numbers, spread: Numbers) -> Numbers:
    """Of each measurement: of one that is censored, the logarithm of the probability of what is known of it."""
    value = jnp.asarray(observed.value)
    density = noise.log_density(value, location, spread)
    if observed.censored is None:
        return density
    side = jnp.asarray(observed.censored)
    return jnp.where(side == 0, density, noise.log_tail(value, location, spread, side))


def _positive(curvature: Numbers, slope: Numbers) -> Numbers:
    """A curvature; where there is none that holds, the square of the slope, or 1."""
    weight = jnp.where(curvature > 0, curvature, slope**2)
    return jnp.where(weight > 0, weight, 1.0)


def _prior_rows(density: AbstractPrior, value: Float[Array, "..."]) -> Float[Array, " size"]:
    """As of data; for the information the curvature, or, where the density has none that holds, the square of the slope."""
    at = stop_gradient(jnp.ravel(value))
    slope_of = jax.grad(lambda number: -density.log_density(number))
    slope = jax.vmap(slope_of)(at)
    curvature = jax.vmap(jax.grad(slope_of))(at)
    weight = jnp.where(curvature > 0, curvature, slope**2)
    root = jnp.sqrt(jnp.where(weight > 0, weight, 1.0))
    row = slope / root + root * (jnp.ravel(value) - at)
    return jnp.where(weight > 0, row, 0.0)
