"""How convolutions, gated cells and attention start: the defaults of five libraries on small problems, all else equal.

`initialization.py` does this for dense layers; `initialization_layers_problems.py` says what judges a fit.

    python benchmarks/initialization_layers.py
"""

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import record, table
from initialization import LUX_GAINS, RESAMPLES, means, resampled
from initialization_layers_problems import PROBLEMS
from initialization_problems import Problem

import sciml_lux as lux

# Three show whether anything is to be decided; of convolutions it was.
SEEDS = {"Convolutions": 10, "Cells": 3, "Attention": 3}
Start = Callable[[Any, Any, str, tuple[int, ...]], Any]  # of key, layer, name and shape of a parameter


def uniform(key: Any, shape: tuple[int, ...], bound: float) -> Any:
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def inputs(layer: Any, name: str) -> int:
    """Of an element of a convolution's output, or of a projection."""
    if isinstance(layer, lux.MultiHeadAttention):
        return layer.features
    return math.prod(layer.kernel_size) * layer.in_channels // layer.groups


# Convolutions and attention


def glorot_and_zeros(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    return jnp.zeros(shape) if name.endswith("bias") else lux.init.glorot_uniform()(key, shape)


def fan_in_uniform(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Equinox; and PyTorch, but for transposed convolutions, whose inputs it takes to be the outputs."""
    return uniform(key, shape, 1 / math.sqrt(inputs(layer, name)))


def pytorch_convolution(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    if not isinstance(layer, lux.ConvTranspose):
        return fan_in_uniform(key, layer, name, shape)
    return uniform(key, shape, 1 / math.sqrt(math.prod(layer.kernel_size) * layer.out_channels // layer.groups))


def lux_convolution(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Kaiming uniform with the gain of the activation, and a uniform bias (`src/layers/conv.jl` of Lux 1.31)."""
    gain = 1.0 if name.endswith("bias") else math.sqrt(3.0) * LUX_GAINS.get(layer.activation, 1.0)
    return gain * pytorch_convolution(key, layer, name, shape)


def flax(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    return jnp.zeros(shape) if name.endswith("bias") else lux.init.lecun_normal()(key, shape)


def pytorch_attention(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Glorot of the three projections as one matrix, `Linear`'s start of the last, zeros (`torch/nn/modules/activation.py`)."""
    if name.endswith("bias"):
        return jnp.zeros(shape)
    return uniform(key, shape, math.sqrt((1 if name.startswith("output") else 1.5) / layer.features))


def equinox_attention(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    """No biases are the default: they start at zero here."""
    return jnp.zeros(shape) if name.endswith("bias") else fan_in_uniform(key, layer, name, shape)


def lux_attention(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    """No biases are the default: they start at zero here."""
    return math.sqrt(3.0) * equinox_attention(key, layer, name, shape)


# Cells


def by_gates(kernel: Any, recurrent: Any) -> Start:
    def start(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
        if name.startswith("bias"):
            return jnp.zeros(shape)
        make, size = (kernel, layer.in_features) if name == "weight_input" else (recurrent, layer.hidden_features)
        return jnp.concatenate([make(k, (size, layer.hidden_features)) for k in jax.random.split(key, layer.gates)], -1)

    return start


def hidden_uniform(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    return uniform(key, shape, 1 / math.sqrt(layer.hidden_features))


def one_bias(key: Any, layer: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Equinox's cells have one bias; a GRU has a second for what is new."""
    start = hidden_uniform(key, layer, name, shape)
    if name != "bias_hidden":
        return start
    return jnp.where(jnp.arange(shape[0]) >= 2 * layer.hidden_features, start, 0) if layer.gates == 3 else 0 * start


GLOROT, ORTHOGONAL = lux.init.glorot_uniform(), lux.init.orthogonal()
CANDIDATES: dict[str, dict[str, Start]] = {
    "Convolutions": {
        "Glorot, zeros": glorot_and_zeros,
        "Lux.jl": lux_convolution,
        "PyTorch": pytorch_convolution,
        "Equinox": fan_in_uniform,
        "Flax": flax,
    },
    "Cells": {
        "Glorot, orthogonal, zeros": by_gates(GLOROT, ORTHOGONAL),
        "Lux.jl": hidden_uniform,
        "PyTorch": hidden_uniform,
        "Equinox": one_bias,
        "Flax": by_gates(lux.init.lecun_normal(), ORTHOGONAL),
    },
    "Attention": {
        "Glorot, zeros": glorot_and_zeros,
        "Lux.jl": lux_attention,
        "PyTorch": pytorch_attention,
        "Equinox": equinox_attention,
        "Flax": flax,
    },
}
KINDS = {
    "Convolutions": (lux.Conv, lux.ConvTranspose),
    "Cells": (lux.RNNCell, lux.LSTMCell, lux.GRUCell),
    "Attention": (lux.MultiHeadAttention,),
}


def layers_of(kind: tuple[type, ...], layer: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every layer of a kind in a model, with the path of its parameters."""
    if isinstance(layer, kind):
        yield path, layer
    elif isinstance(layer, lux.AbstractContainer):
        for name, child in layer.children().items():
            yield from layers_of(kind, child, f"{path}{name}.")


def started(kind: str, start: Start, seed: int, layer: Any) -> Any:
    """Parameters and state, with every layer of the kind started anew; the others by the same seed, as they do."""
    ps, st = lux.setup(jax.random.key(seed), layer)
    keys = iter(jax.random.split(jax.random.key(seed + 10_000), 64))
    for path, found in layers_of(KINDS[kind], layer):
        for entry in ps.layout.entries:
            if entry.path.startswith(path):
                value = start(next(keys), found, entry.path.removeprefix(path), ps[entry.path].shape)
                ps = ps.set(entry.path, value)
    return ps, st


def results(kind: str, problem: Problem) -> np.ndarray:
    """What judges the fits: `(candidates, seeds)`. A fit that fails counts as infinitely bad."""
    judged = np.empty((len(CANDIDATES[kind]), SEEDS[kind]))
    for i, start in enumerate(CANDIDATES[kind].values()):
        for seed in range(SEEDS[kind]):
            try:
                judged[i, seed] = problem.fit(*started(kind, start, 100 * i + seed, problem.layer))
            except lux.FitError:
                judged[i, seed] = math.inf
        print(problem.name, list(CANDIDATES[kind])[i], judged[i], file=sys.stderr, flush=True)
    return judged


def section(kind: str, problems: list[Problem], judged: np.ndarray) -> str:
    """The table of one kind, from results `(problems, candidates, seeds)`."""
    ratios, mean = means(judged)
    rows = []
    for problem, ratio, row in zip(problems, ratios, judged, strict=True):
        shown = [f"{r:.2f} ({np.median(e):.2g}: {e.min():.2g}, {e.max():.2g})" for r, e in zip(ratio, row, strict=True)]
        rows.append([problem.name, *shown])
    rows.append(["**geometric mean**", *(f"**{value:.2f}**" for value in mean)])
    low, high = np.quantile(resampled(judged), (0.05, 0.95), axis=0)
    rows.append(["from, to", *(f"{a:.2f}, {b:.2f}" for a, b in zip(low, high, strict=True))])
    return table([f"{kind}: median, x the best", *CANDIDATES[kind]], rows)


def main() -> None:
    texts, figures, about = [], {}, []
    for kind, makers in PROBLEMS.items():
        problems = [make() for make in makers]
        judged = np.stack([results(kind, problem) for problem in problems])
        texts.append(section(kind, problems, judged))
        about += [f"- {problem.name}: {problem.about}." for problem in problems]
        figures[kind] = {
            problem.name: dict(zip(CANDIDATES[kind], row.tolist(), strict=True))
            for problem, row in zip(problems, judged, strict=True)
        }
    explained = (
        f"In brackets the median of the seeds itself ({', '.join(f'{number} of {kind.lower()}' for kind, number in SEEDS.items())}), the "
        f"least and the largest; from, to: 5 and 95 % of the geometric means of {RESAMPLES} resamples of the seeds. Dense layers start the "
        "same everywhere. Where two libraries start by one distribution, as Equinox and PyTorch do convolutions, the difference "
        "between their columns is noise."
    )
    text = "\n\n".join([*texts, explained, "\n".join(about)])
    record("initialization_layers", "How convolutions, gated cells and attention start", text, figures)


if __name__ == "__main__":
    main()
