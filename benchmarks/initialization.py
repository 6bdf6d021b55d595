"""How a dense layer starts: the defaults of four libraries, each fitting nine small problems from ten seeds.

All else is equal: model, data, order of batches, optimiser and steps. `initialization_problems.py` says what judges a fit.

    python benchmarks/initialization.py
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from harness import record, table
from initialization_problems import PROBLEMS, Problem

import sciml_lux as lux

SEEDS, RESAMPLES = 10, 4000
LUX_GAINS = {
    jnp.tanh: 5 / 3,
    jax.nn.relu: 2.0,
    jax.nn.sigmoid: 1.0,
    jax.nn.selu: 0.75,
}  # src/utils.jl of Lux 1.31; others: 1


def uniform(key: Any, bound: float, *shape: int) -> Any:
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def glorot_and_zeros(key: Any, layer: lux.Dense) -> tuple[Any, Any]:
    weight = lux.init.glorot_uniform()(key, (layer.in_features, layer.out_features))
    return weight, jnp.zeros(layer.out_features)


def glorot_and_uniform(key: Any, layer: lux.Dense) -> tuple[Any, Any]:
    weight_key, bias_key = jax.random.split(key)
    weight, _ = glorot_and_zeros(weight_key, layer)
    return weight, uniform(bias_key, 1 / math.sqrt(layer.in_features), layer.out_features)


def lux_jl(key: Any, layer: lux.Dense) -> tuple[Any, Any]:
    """Kaiming uniform with the gain of the activation, and a uniform bias (`src/layers/basic.jl` of Lux 1.31)."""
    weight_key, bias_key = jax.random.split(key)
    bound = 1 / math.sqrt(layer.in_features)
    gain = LUX_GAINS.get(layer.activation, 1.0)
    weight = uniform(weight_key, math.sqrt(3.0) * gain * bound, layer.in_features, layer.out_features)
    return weight, uniform(bias_key, bound, layer.out_features)


def pytorch(key: Any, layer: lux.Dense) -> tuple[Any, Any]:
    torch.manual_seed(int(jax.random.bits(key)))
    linear = torch.nn.Linear(layer.in_features, layer.out_features)
    return jnp.asarray(linear.weight.detach().numpy().T), jnp.asarray(linear.bias.detach().numpy())


def equinox(key: Any, layer: lux.Dense) -> tuple[Any, Any]:
    linear = eqx.nn.Linear(layer.in_features, layer.out_features, key=key)
    return linear.weight.T, linear.bias


CANDIDATES: dict[str, Callable[[Any, lux.Dense], tuple[Any, Any]]] = {
    "Glorot, zeros": glorot_and_zeros,
    "Glorot, uniform": glorot_and_uniform,
    "Lux.jl": lux_jl,
    "PyTorch": pytorch,
    "Equinox": equinox,
}


def dense_layers(layer: Any, path: str = "") -> Iterator[tuple[str, lux.Dense]]:
    """Every `Dense` in a model, with the path of its parameters."""
    if isinstance(layer, lux.Dense):
        yield path, layer
    elif isinstance(layer, lux.AbstractContainer):
        for name, child in layer.children().items():
            yield from dense_layers(child, f"{path}{name}.")


def started(candidate: Callable[[Any, lux.Dense], tuple[Any, Any]], seed: int, layer: Any, ps: Any) -> Any:
    """`ps` with every dense layer started anew."""
    keys = iter(jax.random.split(jax.random.key(seed), 16))
    for path, dense in dense_layers(layer):
        weight, bias = candidate(next(keys), dense)
        ps = ps.set(f"{path}weight", weight).set(f"{path}bias", bias)
    return ps


def results(problem: Problem) -> np.ndarray:
    """What judges the fits: `(candidates, seeds)`. A fit that fails counts as infinitely bad."""
    ps, st = lux.setup(jax.random.key(0), problem.layer)
    judged = np.empty((len(CANDIDATES), SEEDS))
    for i, candidate in enumerate(CANDIDATES.values()):
        for seed in range(SEEDS):
            try:
                judged[i, seed] = problem.fit(started(candidate, 1000 * i + seed, problem.layer, ps), st)
            except lux.FitError:
                judged[i, seed] = math.inf
    return judged


def means(judged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of results `(problems, candidates, seeds)`, the ratios of the medians to the best on each problem, and their geometric means."""
    medians = np.median(judged, axis=-1)
    ratios = medians / medians.min(axis=1, keepdims=True)
    return ratios, np.exp(np.mean(np.log(ratios), axis=0))


def resampled(judged: np.ndarray) -> np.ndarray:
    """The geometric means if other seeds had come up, `(resamples, candidates)`: the bootstrap, each fit's seeds by themselves."""
    generator = np.random.default_rng(0)
    drawn = [
        np.take_along_axis(judged, generator.integers(0, judged.shape[-1], judged.shape), -1) for _ in range(RESAMPLES)
    ]
    return np.stack([means(sample)[1] for sample in drawn])


def fan_in_beside_glorot(judged: np.ndarray) -> np.ndarray:
    """Medians of Glorot, zeros over those of PyTorch and Equinox as one: 5, 50 and 95 % of the geometric means of resamples."""
    names, generator = list(CANDIDATES), np.random.default_rng(0)
    ours = np.concatenate([judged[:, names.index("PyTorch")], judged[:, names.index("Equinox")]], axis=-1)
    glorot = judged[:, names.index("Glorot, zeros")]

    def median(values: np.ndarray) -> np.ndarray:
        drawn = generator.integers(0, values.shape[-1], (RESAMPLES, *values.shape))
        return np.median(np.take_along_axis(values[None], drawn, -1), axis=-1)

    return np.quantile(np.exp(np.mean(np.log(median(glorot) / median(ours)), axis=-1)), (0.05, 0.5, 0.95))


def main() -> None:
    problems = [make() for make in PROBLEMS]
    report(problems, np.stack([results(problem) for problem in problems]))


def report(problems: list[Problem], judged: np.ndarray) -> None:
    """Writes the section, from results `(problems, candidates, seeds)`."""
    names = list(CANDIDATES)
    ratios, mean = means(judged)
    less, middle, more = fan_in_beside_glorot(judged)
    again = resampled(judged)
    low, high = np.quantile(again, (0.05, 0.95), axis=0)
    first = np.mean(again.argmin(axis=1)[:, None] == np.arange(len(names)), axis=0)
    rows = []
    for problem, ratio, row in zip(problems, ratios, judged, strict=True):
        shown = [f"{value:.2f} ({np.median(each):.2g})" for value, each in zip(ratio, row, strict=True)]
        rows.append([problem.name, *shown])
    rows.append(["**geometric mean**", *(f"**{value:.2f}**" for value in mean)])
    rows.append(["from, to", *(f"{a:.2f}, {b:.2f}" for a, b in zip(low, high, strict=True))])
    rows.append(["how often first", *(f"{100 * share:.0f} %" for share in first)])
    text = (
        f"{table(['median, x the best', *names], rows)}\n\n"
        f"In brackets the median of {SEEDS} seeds itself. Glorot, zeros: `init.glorot_uniform()` and zeros; Glorot, uniform: with biases "
        "that are uniform within `1 / sqrt(in_features)`. Lux.jl: Kaiming uniform with the gain of the activation, and that bias. PyTorch "
        "and Equinox: weights and biases uniform within `1 / sqrt(in_features)`; they are one distribution under different seeds, so that "
        "the difference between their columns is noise. From, to, and how often first: 5 and 95 % of the geometric means of "
        f"{RESAMPLES} resamples of the seeds, and the share of these in which each was the best.\n\n"
        "`Dense`, `MLP`, `Bilinear` and `TensorProductLayer` start as PyTorch and Equinox do. With their columns as one distribution of "
        f"{2 * SEEDS} seeds, what Glorot, zeros reaches is {middle:.2f} times as bad (5 and 95 %: {less:.2f}, {more:.2f}).\n\n"
        + "\n".join(f"- {problem.name}: {problem.about}." for problem in problems)
    )
    figures = {
        problem.name: dict(zip(names, row.tolist(), strict=True)) for problem, row in zip(problems, judged, strict=True)
    }
    record("initialization", "How a dense layer starts", text, figures, "torch")


if __name__ == "__main__":
    main()
