"""Experiments as arrays of one shape: ragged ones are padded, and what is padded is marked."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree

from ..._errors import ParameterError, ShapeError
from ..noise import AbstractNoise
from ._experiment import Data, Experiment


class Observed(NamedTuple):
    """One observable, `(experiments, replicates, times)`: the numbers, with a harmless one where there is none; which were observed;
    their standard deviations, if experiments brought any; and on which side they are censored, if any are."""

    value: Any
    mask: Any
    sigma: Any
    censored: Any


class Arrays(NamedTuple):
    """All that differs between experiments, each with a leading axis for them. `overrides`: numbers by path, of which those that are not
    overridden by a number are not read."""

    ts: Any
    t0: Any
    y0: Any
    doses: Any
    inputs: Any
    observed: dict[str, Observed]
    overrides: dict[str, Any]


def arrays_of(
    data: Data, noise: dict[str, AbstractNoise], references: dict[str, tuple[str | None, ...]], dtype: DTypeLike
) -> Arrays:
    """**Errors:** those of `_observed`."""
    experiments = tuple(data.experiments)
    longest = max(one.ts.size for one in experiments)
    first = experiments[0]

    def stacked(values: list[PyTree]) -> Any:
        return jax.tree.map(lambda *leaves: np.stack(leaves).astype(dtype), *values)

    overrides = {
        path: stacked(
            [np.float64(value if isinstance(value := named(one).get(path, 0.0), float) else 0.0) for one in experiments]
        )
        for path in references
    }
    return Arrays(
        # The last time again: no step is taken for it.
        ts=stacked([np.pad(one.ts, (0, longest - one.ts.size), mode="edge") for one in experiments]),
        t0=None if first.t0 is None else stacked([np.float64(one.t0) for one in experiments]),
        y0=None if first.y0 is None else stacked([one.y0 for one in experiments]),
        doses=_doses(experiments, dtype),
        inputs=_inputs(experiments),
        observed={name: _observed(name, experiments, noise[name], longest, dtype) for name in data.observables},
        overrides=overrides,
    )


def _doses(experiments: tuple[Experiment, ...], dtype: DTypeLike) -> tuple[np.ndarray, np.ndarray] | None:
    """Times and amounts, padded by doses of 0 that are never given. **Errors:** `ShapeError` for amounts of different shapes."""
    given = [one.doses for one in experiments if one.doses is not None]
    if not given:
        return None
    shape, most = given[0][1].shape[1:], max(len(times) for times, _ in given)
    all_times, all_amounts = np.full((len(experiments), most), np.inf), np.zeros((len(experiments), most, *shape))
    for i, one in enumerate(experiments):
        if one.doses is not None:
            times, amounts = one.doses
            if amounts.shape[1:] != shape:
                raise ShapeError(
                    f"experiment {one.name!r}: an amount has shape {amounts.shape[1:]}, those before have {shape}"
                )
            all_times[i, : len(times)], all_amounts[i, : len(times)] = times, amounts
    return all_times.astype(dtype), all_amounts.astype(dtype)


def _inputs(experiments: tuple[Experiment, ...]) -> PyTree:
    """Stacked. **Errors:** `ShapeError` where experiments have inputs of different kinds or numbers of samples, or some have none."""
    given = [one.inputs for one in experiments]
    if all(one is None for one in given):
        return None
    structures = [(jax.tree.structure(one), [np.shape(leaf) for leaf in jax.tree.leaves(one)]) for one in given]
    for one, structure in zip(experiments, structures, strict=True):
        if structure != structures[0]:
            raise ShapeError(
                f"experiment {one.name!r}: its inputs are of another kind than those of {experiments[0].name!r}, or have another number of "
                "samples; sample all at equally many times"
            )
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *given)


def named(experiment: Experiment) -> dict[str, float | str]:
    """The overrides, numbers as floats."""
    return {
        name: value if isinstance(value, str) else float(value) for name, value in (experiment.overrides or {}).items()
    }


def _observed(
    name: str, experiments: tuple[Experiment, ...], noise: AbstractNoise, longest: int, dtype: DTypeLike
) -> Observed:
    """One observable of all experiments.

    **Errors:** `ValueError` for observations that the noise gives no density; `ParameterError` where a standard deviation is missing, or
    given twice.
    """
    replicates = max(one.observations[name].shape[0] for one in experiments if name in one.observations)
    value = np.full((len(experiments), replicates, longest), np.nan)
    sigma, censored = np.ones(value.shape), np.zeros(value.shape)
    for i, one in enumerate(experiments):
        if name not in one.observations:
            continue
        array = one.observations[name]
        value[i, : array.shape[0], : array.shape[1]] = array
        _check_support(one, name, array, noise)
        if name in (one.censored or {}):
            assert one.censored is not None
            if not noise.has_tails:
                raise ParameterError(
                    f"experiment {one.name!r}: {name} is censored, of which {type(noise).__name__} noise gives no probability; write "
                    "est.noise.Normal or LogNormal"
                )
            censored[i, : array.shape[0], : array.shape[1]] = one.censored[name]
        if (name in (one.sigma or {})) != (noise.has_spread and noise.spread is None):
            raise ParameterError(_which_sigma(one, name, noise))
        if noise.spread is None and noise.has_spread:
            assert one.sigma is not None
            sigma[i, : array.shape[0], : array.shape[1]] = one.sigma[name]
    mask = ~np.isnan(value)
    own = noise.spread is None and noise.has_spread
    return Observed(
        np.where(mask, value, 1.0).astype(dtype),
        mask,
        np.where(mask, sigma, 1.0).astype(dtype) if own else None,
        np.where(mask, censored, 0.0).astype(dtype) if np.any(censored) else None,
    )


def _check_support(one: Experiment, name: str, array: np.ndarray, noise: AbstractNoise) -> None:
    seen = array[~np.isnan(array)]
    kind = type(noise).__name__
    if np.any(seen <= noise.lowest):
        limit = "0 or more" if noise.whole else f"above {noise.lowest:g}"
        raise ValueError(f"experiment {one.name!r}: {name} is {limit} under {kind} noise, got {float(np.min(seen)):g}")
    if noise.whole and np.any(seen != np.round(seen)):
        raise ValueError(
            f"experiment {one.name!r}: {name} holds counts under {kind} noise, got {float(seen[seen != np.round(seen)][0]):g}"
        )


def _which_sigma(one: Experiment, name: str, noise: AbstractNoise) -> str:
    if name in (one.sigma or {}):
        return (
            f"experiment {one.name!r} brings a sigma of {name}, and its noise says {noise!r}; write one of the two, such as "
            f"noise={{{name!r}: est.noise.{type(noise).__name__}()}}"
        )
    return (
        f"experiment {one.name!r} brings no sigma of {name}, and its noise says none; write sigma={{{name!r}: ...}} there, or a number "
        "or the name of a parameter as noise"
    )
