"""What an estimate says of times at which nothing was measured, and how sure it is."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ...core import CachedFunction, State, cached_function, differentiation_mode, failure_mode
from ...flatten import Layout
from .._types import Numbers
from ..noise import AbstractNoise
from ..problem import Arrays, Data, Problem
from ._estimate import Estimate
from ._information import UNSEEN
from ._laplace import coordinate_covariance

Band = tuple[Float[np.ndarray, "experiments times"], Float[np.ndarray, "experiments times"]]


class Prediction(NamedTuple):
    """By observable, with a row for each of `experiments`: `values`; `confidence`: the ends of the band in which the curve lies;
    `prediction`: that in which a new measurement lies, NaN where experiments bring standard deviations of their own. Both are pointwise,
    by the delta method, where the noise is normal (the logarithm, for log-normal noise); of noise of other kinds the normal one of the same
    information is taken."""

    ts: Float[np.ndarray, " times"]
    experiments: tuple[str, ...]
    values: dict[str, Float[np.ndarray, "experiments times"]]
    confidence: dict[str, Band]
    prediction: dict[str, Band]


def predict(estimate: Estimate, ts: ArrayLike, level: float) -> Prediction:
    """**Errors:** those of an `Experiment` for the times; `ValueError` for a level that is none."""
    if not 0 < level < 1:
        raise ValueError(f"a level is between 0 and 1, got {level}")
    problem = _at(estimate.problem, ts)
    arrays, noise = problem.arrays, dict(problem.function.simulation.noise)
    with cached_function((problem.function,)) as cached, differentiation_mode("forward"), failure_mode("nan"):
        found, rates = _predicted(cached, estimate.point.layout, estimate.point.vector, (estimate.st, arrays))
    covariance, sizes = coordinate_covariance(estimate), np.asarray(estimate.task.sizes, np.float64)
    unknown = ~np.isfinite(np.diag(covariance))
    covariance = np.nan_to_num(covariance, posinf=0.0)
    width = scipy.special.ndtri((1 + level) / 2)
    values, confidence, prediction = {}, {}, {}
    for name, (location, linked, spread) in found.items():
        rate = np.asarray(rates[name], np.float64)
        variance = np.einsum("etp,pq,etq->et", rate, covariance, rate)
        scatter = _scatter(noise[name], location, spread)
        # Where a large change of what is not determined at all would be seen, there is no band.
        moved = np.abs(rate[..., unknown]) * sizes[unknown]
        threshold = UNSEEN * np.sqrt(np.nan_to_num(scatter, nan=0.0))
        variance = np.where(np.any(moved > threshold[..., None], axis=-1), np.inf, variance)
        values[name] = np.asarray(location, np.float64)
        confidence[name] = _band(noise[name], linked, width * np.sqrt(variance))
        prediction[name] = _band(noise[name], linked, width * np.sqrt(variance + scatter))
    names = tuple(one.name for one in problem.data.experiments)
    return Prediction(np.asarray(arrays.ts[0]), names, values, confidence, prediction)


def _at(problem: Problem, ts: ArrayLike) -> Problem:
    """The problem, with every observable at these times in every experiment: numbers that any noise allows stand for measurements."""
    simulation = problem.function.simulation
    own = {name: 1.0 for name, noise in simulation.noise if noise.has_spread and noise.spread is None}
    experiments = [
        dataclasses.replace(
            one, ts=ts, observations={name: np.ones(np.shape(ts)) for name in problem.data.observables}, sigma=own
        )
        for one in problem.data.experiments
    ]
    return dataclasses.replace(problem, data=Data(experiments))


def _scatter(noise: AbstractNoise, location: Numbers, spread: Numbers | None) -> np.ndarray:
    """The variance of a measurement, of what the noise links to."""
    if spread is None and noise.has_spread:
        return np.full(np.shape(location), np.nan)
    information, _ = noise.information(location, jnp.ones_like(location) if spread is None else spread)
    return 1.0 / np.asarray(information, np.float64)


def _band(noise: AbstractNoise, linked: Numbers, width: np.ndarray) -> Band:
    lower, upper = (
        np.asarray(noise.unlink(jnp.asarray(np.asarray(linked) + sign * width)), np.float64) for sign in (-1, 1)
    )
    return lower, upper


@eqx.filter_jit
def _predicted(
    cached: CachedFunction, layout: Layout, vector: Float[Array, " size"], args: tuple[State, Arrays]
) -> Any:
    """By observable, prediction, what the noise links it to, and spread; and the derivative of the second by the vector."""
    function, (st, arrays) = cached.use()[0], args
    noise = dict(function.simulation.noise)

    def linked(vector: Float[Array, " size"]) -> Any:
        predicted, _ = function.simulation(layout.unravel(vector), st, arrays)
        found = {name: noise[name].link(one.location) for name, one in predicted.items()}
        return found, {name: (one.location, found[name], one.spread) for name, one in predicted.items()}

    _, tangent_map, found = jax.linearize(linked, vector, has_aux=True)
    return found, jax.vmap(tangent_map, out_axes=-1)(jnp.eye(vector.size, dtype=vector.dtype))
