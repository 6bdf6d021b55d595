"""Layers against Equinox and Flax NNX: run time, compile time, the price of a call, and small networks trained on a CPU.

python benchmarks/layers.py
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from harness import alternate, compile_ratio, record, shown, table
from jax import lax
from layer_models import KEY, MODELS, EquinoxMLP, NnxMLP, chain_of

import sciml_lux as lux

PEERS = ("Equinox", "Flax NNX")


def mean_square(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda arrays, x: jnp.mean(function(arrays, x) ** 2)


def against_peers(taken: dict[str, float], prefix: str = "") -> float:
    """Our time over that of the faster peer."""
    return taken[f"{prefix}sciml_lux"] / min(taken[f"{prefix}{peer}"] for peer in PEERS)


def run_times() -> tuple[str, Any]:
    rows, figures = [], {}
    for title, make in MODELS.items():
        models, x = make()
        for kind, change in (("forward", lambda f: f), ("gradient", lambda f: jax.grad(mean_square(f)))):
            contenders = {
                name: functools.partial(jax.jit(change(function)), arrays, x)
                for name, (function, arrays) in models.items()
            }
            taken = alternate(contenders, turns=15, seconds=0.05)
            ratio = against_peers(taken)
            figures[f"{title}, {kind}"] = {**taken, "ratio": ratio}
            rows.append([title, kind, *(shown(taken[name]) for name in models), f"{ratio:.2f}"])
        jax.clear_caches()
    return table(["run time", "", "sciml_lux", *PEERS, "to the faster peer (<= 1.05)"], rows), figures


def training_steps(function: Callable[[Any, Any], Any], arrays: Any, x: Any, steps: int = 20) -> Callable[[], Any]:
    """Steps of Adam in one compiled loop, which is where a layer's gradient is taken in practice."""
    optimizer = optax.adam(1e-3)

    @jax.jit
    def run(arrays: Any, x: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            arrays, state = carry
            updates, state = optimizer.update(jax.grad(mean_square(function))(arrays, x), state)
            return (optax.apply_updates(arrays, updates), state), None

        return lax.scan(step, (arrays, optimizer.init(arrays)), length=steps)[0][0]

    return functools.partial(run, arrays, x)


def loops() -> tuple[str, Any]:
    rows, figures = [], {}
    for title, make in MODELS.items():
        models, x = make()
        taken = alternate({name: training_steps(function, arrays, x) for name, (function, arrays) in models.items()})
        ratio = against_peers(taken)
        figures[title] = {**taken, "ratio": ratio}
        rows.append([title, *(shown(taken[name]) for name in models), f"{ratio:.2f}"])
        jax.clear_caches()
    return table(
        ["20 steps of Adam in a compiled loop", "sciml_lux", *PEERS, "to the faster peer (<= 1.05)"], rows
    ), figures


def compile_times() -> tuple[str, Any]:
    rows, figures = [], {}
    for title, make in MODELS.items():
        models, x = make()
        makers = {
            name: lambda function=function, arrays=arrays, x=x: (jax.grad(mean_square(function)), (arrays, x))
            for name, (function, arrays) in models.items()
        }
        taken = compile_ratio(makers, turns=7)
        ratio = against_peers(taken)
        figures[title] = {**taken, "ratio": ratio}
        rows.append([title, *(shown(taken[name]) for name in models), f"{ratio:.2f}"])
    return table(["trace and compile the gradient", "sciml_lux", *PEERS, "to the faster peer (<= 1)"], rows), figures


def depths() -> tuple[str, Any]:
    """`Repeated` compiles in the same time whatever the depth, with weights of their own or tied."""
    rows, figures = [], {}
    x = jnp.ones((16, 32))
    for depth in (5, 50, 200):
        makers = {}
        for name, tied in (("untied", False), ("tied", True)):
            layer = lux.Repeated(lux.Dense(32, 32, jnp.tanh), depth, tied=tied)
            ps, st = lux.setup(KEY, layer)
            loss = mean_square(lambda ps, x, layer=layer, st=st: layer(x, ps, st)[0])
            makers[name] = lambda loss=loss, ps=ps: (jax.grad(loss), (ps, x))
        figures[depth] = compile_ratio(makers, turns=5)
        rows.append([depth, *(shown(seconds) for seconds in figures[depth].values())])
    return table(["Repeated: number of layers", "compile the gradient", "tied"], rows), figures


def calls() -> tuple[str, Any]:
    """What Python does around a compiled call of a model, as users write it."""
    rows, figures = [], {}
    for depth in (3, 30):
        sizes = (4,) * (depth + 1)
        x = jnp.ones((1, 4))
        model = chain_of(sizes, jnp.tanh)
        ps, st = lux.setup(KEY, model)
        by_equinox = eqx.filter_jit(lambda model, x: jax.vmap(model)(x))
        contenders = {
            "sciml_lux": functools.partial(jax.jit(model), x, ps, st),
            "Equinox": functools.partial(by_equinox, EquinoxMLP(sizes, jnp.tanh), x),
            "Flax NNX": functools.partial(nnx.jit(lambda model, x: model(x)), NnxMLP(sizes, jnp.tanh), x),
        }
        taken = alternate(contenders)
        ratio = against_peers(taken)
        figures[depth] = {**taken, "ratio": ratio}
        rows.append([f"{depth} layers", *(shown(taken[name]) for name in contenders), f"{ratio:.2f}"])
    return table(
        ["one jitted call of a 4-...-4 network", "sciml_lux", *PEERS, "to the faster peer (far below 1)"], rows
    ), figures


# Small networks, all samples in every step


EPOCHS = 100


def train_ours(sizes: tuple[int, ...], x: Any, y: Any) -> Callable[[], Any]:
    model = chain_of(sizes, jnp.tanh)
    ps, st = lux.setup(KEY, model)
    optimizer = optax.adam(1e-3)  # made once: fit compiles anew for another one

    def loss(ps: Any, st: Any, batch: Any) -> Any:
        prediction, st = model(batch[0], ps, st)
        return jnp.mean((prediction - batch[1]) ** 2), st

    return lambda: lux.fit(loss, ps, st, optimizer, steps=EPOCHS, data=(x, y)).ps.vector


def train_ours_by_hand(sizes: tuple[int, ...], x: Any, y: Any) -> Callable[[], Any]:
    """The same without `fit`'s bookkeeping: one scan over the steps."""
    model = chain_of(sizes, jnp.tanh)
    ps, st = lux.setup(KEY, model)
    optimizer = optax.adam(1e-3)

    @jax.jit
    def run(ps: Any, x: Any, y: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            ps, state = carry
            gradient = jax.grad(lambda ps: jnp.mean((model(x, ps, st)[0] - y) ** 2))(ps)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(ps, updates), state), None

        return lax.scan(step, (ps, optimizer.init(ps)), length=EPOCHS)[0][0]

    return lambda: run(ps, x, y)


def train_equinox(sizes: tuple[int, ...], x: Any, y: Any) -> Callable[[], Any]:
    start, optimizer = EquinoxMLP(sizes, jnp.tanh), optax.adam(1e-3)

    @eqx.filter_jit
    def step(model: Any, state: Any, x: Any, y: Any) -> Any:
        loss, gradient = eqx.filter_value_and_grad(lambda model: jnp.mean((jax.vmap(model)(x) - y) ** 2))(model)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(model, updates), state, loss

    def run() -> Any:
        model, state = start, optimizer.init(eqx.filter(start, eqx.is_array))
        for _ in range(EPOCHS):
            model, state, _ = step(model, state, x, y)
        return eqx.filter(model, eqx.is_array)

    return run


def train_nnx(sizes: tuple[int, ...], x: Any, y: Any) -> Callable[[], Any]:
    model = NnxMLP(sizes, jnp.tanh)
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        loss, gradient = nnx.value_and_grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
        optimizer.update(model, gradient)
        return loss

    def run() -> Any:
        for _ in range(EPOCHS):
            step(model, optimizer, x, y)
        return nnx.state(model, nnx.Param)

    return run


def floor_seconds(sizes: tuple[int, ...], samples: int) -> float:
    """What the arithmetic of one step alone takes here: the products at the speed of a large one, and the tanh of every unit."""
    pairs = list(itertools.pairwise(sizes))
    # Forward, the gradient of the weights, and that of the inputs, which the first layer does not need.
    products = 2 * samples * (3 * sum(a * b for a, b in pairs) - math.prod(pairs[0]))
    square = jnp.ones((1024, 1024))
    units = jnp.ones((sum(sizes[1:-1]), samples))
    taken = alternate(
        {
            "product": functools.partial(jax.jit(lambda a: a @ a), square),
            "tanh": functools.partial(jax.jit(jnp.tanh), units),
        }
    )
    return products * taken["product"] / (2 * 1024**3) + taken["tanh"]


def small_networks() -> tuple[str, Any]:
    rows, figures = [], {}
    for sizes, samples in (((4, 32, 16, 4), 10_000), ((24, 8, 2), 10_000), ((24, 8, 2), 200)):
        x = jax.random.normal(KEY, (samples, sizes[0]))
        y = jnp.sin(x[:, : sizes[-1]])
        makers = {
            "sciml_lux": train_ours,
            "in one scan": train_ours_by_hand,
            "Equinox": train_equinox,
            "Flax NNX": train_nnx,
        }
        taken = alternate({name: make(sizes, x, y) for name, make in makers.items()}, turns=9, seconds=0.01)
        floor = floor_seconds(sizes, samples)
        ratio, share = 1 / against_peers(taken), floor / (taken["sciml_lux"] / EPOCHS)
        title = f"{'-'.join(map(str, sizes))}, {samples:,} samples"
        figures[title] = {**taken, "ratio": ratio, "floor": floor, "share": share}
        cells = [shown(taken[name] / EPOCHS) for name in makers]
        rows.append([title, *cells, f"{ratio:.1f}", shown(floor), f"{100 * share:.0f}%"])
        jax.clear_caches()
    head = [
        "an epoch of full-batch Adam",
        "lux.fit",
        "one scan by hand",
        *PEERS,
        "faster peer / lux.fit (>= 2)",
        "floor",
        "share",
    ]
    return table(head, rows), figures


NOTE = (
    "The floor is the arithmetic alone: the products at the speed of a 1024 x 1024 one, and one tanh for each hidden unit and sample. "
    "Small networks run with the samples on the last axis (`sciml_lux/layers/_columns.py`)."
)


def main() -> None:
    parts = [run_times(), loops(), compile_times(), depths(), calls(), small_networks()]
    names = ["run_times", "loops", "compile_times", "depths", "calls", "small_networks"]
    text = "\n\n".join([*(text for text, _ in parts), NOTE])
    record("layers", "Layers", text, {name: figures for name, (_, figures) in zip(names, parts, strict=True)}, "flax")


if __name__ == "__main__":
    main()
