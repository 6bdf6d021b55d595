"""The problems of `initialization.py`: small networks, each with a fit that takes seconds and the number that judges it, float32.

Three kinds: fields of Neural ODEs, regressions (one held back, one in two dimensions, one wide), a classification, a differential equation.
"""

import itertools
import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax

import sciml_lux as lux

DIGITS = pathlib.Path(__file__).parent.parent / "examples" / "data" / "digits.npz"


@dataclass(frozen=True)
class Problem:
    """`fit(ps, st)` returns what judges the fit: the lower the better. `layer`: what `ps` and `st` are set up for."""

    name: str
    about: str
    layer: Any
    fit: Callable[[Any, Any], float]


def network(*sizes: int, activation: Any, last: Any = None) -> lux.Chain:
    hidden = [lux.Dense(a, b, activation) for a, b in itertools.pairwise(sizes[:-1])]
    return lux.Chain(*hidden, lux.Dense(sizes[-2], sizes[-1], last))


def solved(field: Callable[[Any, Any], Any], y0: Any, ts: Any) -> jax.Array:
    """What a Neural ODE is to learn: `(samples, times, components)`."""

    def one(y0: Any) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, _: field(t, y)),
            diffrax.Tsit5(),
            t0=ts[0],
            t1=ts[-1],
            dt0=None,
            y0=y0,
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6),
        ).ys

    return jax.vmap(one)(y0)


class Scaled(lux.AbstractLayer):
    """`scale * x` with one learned number, 1 at first."""

    def initial_parameters(self, key: Any) -> dict[str, Any]:
        return {"scale": jnp.ones(())}

    def __call__(self, x: Any, ps: Any, st: Any) -> Any:
        return ps.scale * x, st


def batches(number: int, size: int, steps: int) -> np.ndarray:
    """The indices of each step's batch, epoch by epoch; what is left over of an epoch is dropped."""
    generator = np.random.default_rng(0)
    epochs = -(-steps // (number // size))
    orders = [generator.permutation(number)[: number // size * size].reshape(-1, size) for _ in range(epochs)]
    return np.concatenate(orders)[:steps]


def tutorial() -> Problem:
    """Diffrax's tutorial, `docs/examples/neural_ode.ipynb`: its data, network, optimiser, batches and two stages."""
    ts = jnp.linspace(0.0, 10.0, 100)
    starts = jax.random.uniform(jax.random.key(0), (256, 2), minval=-0.6, maxval=1.0)
    ys = np.asarray(solved(lambda t, y: (y / (1 + y))[::-1] * jnp.array([1.0, -1.0]), starts, ts))
    model = lux.Chain(network(2, 64, 64, 2, activation=jax.nn.softplus, last=jnp.tanh), Scaled())
    optimizer = optax.adabelief(3e-3)
    indices = batches(256, 32, 500)

    def stage(times: int) -> tuple[Any, Any]:
        node = lux.NeuralODE(model, t1=float(ts[times - 1]), rtol=1e-3, atol=1e-6, batching="each")

        def loss(ps: Any, st: Any, batch: Any) -> Any:
            solution, st = node.solve(batch[:, 0], ps, st, ts=ts[:times])
            return jnp.mean((solution.ys - batch) ** 2), st

        return node, loss

    (_, first), (node, second) = stage(10), stage(100)
    whole = jax.jit(lambda ps, st: second(ps, st, ys)[0])

    def fit(ps: Any, st: Any) -> float:
        for loss, times in ((first, 10), (second, 100)):
            data: Iterator[Any] = (ys[batch, :times] for batch in indices)
            fitted = lux.fit(loss, ps, st, optimizer, steps=len(indices), data=data)
            ps, st = fitted.ps, fitted.st
        return float(whole(ps, st))

    about = (
        "Neural ODE, softplus, diffrax's tutorial: 256 series of 100 times, batches of 32, 500 + 500 steps of AdaBelief"
    )
    return Problem("tutorial", about, node, fit)


def ode_problem(
    name: str, about: str, model: Any, field: Any, starts: Any, ts: Any, steps: int, **settings: Any
) -> Problem:
    """A Neural ODE fitted to all of the data at once by Adam."""
    ys = solved(field, starts, ts)
    scale = jnp.std(ys, axis=(0, 1))
    node = lux.NeuralODE(model, t1=float(ts[-1]), rtol=1e-4, atol=1e-5, **settings)

    def loss(ps: Any, st: Any, data: Any) -> Any:
        solution, st = node.solve(data[:, 0], ps, st, ts=ts)
        return jnp.mean(((jnp.moveaxis(solution.ys, 0, 1) - data) / scale) ** 2), st

    return Problem(name, about, node, adam(loss, steps, ys, 1e-2))


def adam(loss: Any, steps: int, data: Any, rate: float, judge: Any = None) -> Callable[[Any, Any], float]:
    """A fit by Adam with a rate that falls to 0 as a cosine; it is judged by its last loss, or by `judge(ps, st)`."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))
    judge = jax.jit(judge or (lambda ps, st: loss(ps, st, data)[0]))

    def fit(ps: Any, st: Any) -> float:
        fitted = lux.fit(loss, ps, st, optimizer, steps=steps, data=data() if callable(data) else data)
        return float(judge(fitted.ps, fitted.st))

    return fit


def spiral() -> Problem:
    matrix = jnp.array([[-0.1, 2.0], [-2.0, -0.1]])
    return ode_problem(
        "cubic spiral",
        "Neural ODE, tanh, DiffEqFlux's spiral of `y^3`: 30 times, 500 steps",
        lux.Chain(lambda y: y**3, network(2, 50, 2, activation=jnp.tanh)),
        lambda t, y: y**3 @ matrix,
        jnp.array([[2.0, 0.0]]),
        jnp.linspace(0.0, 1.5, 30),
        500,
    )


def lotka_volterra() -> Problem:
    return ode_problem(
        "Lotka-Volterra",
        "Neural ODE, silu, two hidden layers: 4 series of 30 times, 600 steps",
        network(2, 32, 32, 2, activation=jax.nn.silu),
        lambda t, y: y * jnp.array([1.5, -3.0]) + y[0] * y[1] * jnp.array([-1.0, 1.0]),
        jnp.array([[1.0, 1.0], [2.0, 1.0], [3.0, 2.0], [4.0, 1.0]]),
        jnp.linspace(0.0, 4.0, 30),
        600,
    )


def forced() -> Problem:
    return ode_problem(
        "forced oscillator",
        "Neural ODE with time, tanh: a pendulum with friction and a drive, 6 series of 40 times, 600 steps",
        lux.Chain(
            lambda x: jnp.concatenate([jnp.broadcast_to(x[0], (*x[1].shape[:-1], 1)), x[1]], axis=-1),
            network(3, 32, 32, 2, activation=jnp.tanh),
        ),
        lambda t, y: jnp.stack([y[1], -jnp.sin(y[0]) - 0.2 * y[1] + 0.5 * jnp.cos(1.3 * t)]),
        jnp.array([[-2.0, 0.0], [-1.0, 1.0], [0.0, -1.0], [0.5, 0.0], [1.0, 1.5], [2.0, -0.5]]),
        jnp.linspace(0.0, 6.0, 40),
        600,
        time=True,
    )


def regression(name: str, about: str, model: Any, x: Any, y: Any, steps: int, held_back: int = 0) -> Problem:
    """Mean squared error over the variance, of what was held back if there is such a part."""
    learned = (x[held_back:], y[held_back:])
    judged = (x[:held_back], y[:held_back]) if held_back else learned
    scale = jnp.std(y)

    def loss(ps: Any, st: Any, data: Any) -> Any:
        predicted, st = model(data[0], ps, st)
        return jnp.mean(((predicted - data[1]) / scale) ** 2), st

    return Problem(name, about, model, adam(loss, steps, learned, 3e-3, lambda ps, st: loss(ps, st, judged)[0]))


def waves() -> Problem:
    x = jnp.linspace(-2.0, 2.0, 200)[:, None]
    y = jnp.sin(3 * x) + 0.3 * jnp.sin(11 * x)
    model = network(1, 64, 64, 1, activation=jnp.tanh)
    return regression("waves", "regression, tanh: two sines on a line, 200 points, 2000 steps", model, x, y, 2000)


def friedman() -> Problem:
    x = jax.random.uniform(jax.random.key(1), (1200, 10))
    y = 10 * jnp.sin(jnp.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = y[:, None] + jax.random.normal(jax.random.key(2), (1200, 1))
    about = "regression, relu: 10 inputs, noise, 200 points, 1000 held back and judged, 600 steps"
    return regression("Friedman 1", about, network(10, 64, 64, 1, activation=jax.nn.relu), x, y, 600, 1000)


def deep() -> Problem:
    x = jax.random.uniform(jax.random.key(3), (256, 2), minval=-1.0, maxval=1.0)
    y = jnp.sin(4 * x[:, :1] * x[:, 1:]) + jnp.abs(x[:, :1] - x[:, 1:])
    model = network(2, 48, 48, 48, 48, 48, 1, activation=jax.nn.gelu)
    return regression(
        "deep", "regression, gelu, five hidden layers: two inputs, 256 points, 1000 steps", model, x, y, 1000
    )


def digits() -> Problem:
    with np.load(DIGITS) as stored:
        images = stored["images"].reshape(-1, 64) / np.float32(8.0) - np.float32(1.0)
        labels = stored["labels"].astype(np.int32)
    order = np.random.default_rng(0).permutation(len(labels))
    judged, learned = order[:360], order[360:]
    model = network(64, 64, 64, 10, activation=jax.nn.relu)

    def loss(ps: Any, st: Any, batch: Any) -> Any:
        scores, st = model(batch[0], ps, st)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, batch[1])), st

    def data() -> Iterator[Any]:
        return ((images[learned[batch]], labels[learned[batch]]) for batch in batches(len(learned), 64, 300))

    def judge(ps: Any, st: Any) -> Any:
        return loss(ps, st, (images[judged], labels[judged]))[0]

    about = (
        "classification, relu: handwritten digits, batches of 64, 360 held back and judged by cross-entropy, 300 steps"
    )
    return Problem("digits", about, model, adam(loss, 300, data, 3e-3, judge))


def poisson() -> Problem:
    x = jnp.linspace(-1.0, 1.0, 65)[:, None]
    model = network(1, 32, 32, 32, 32, 1, activation=jnp.tanh)

    def truth(x: Any) -> Any:
        return jnp.sin(jnp.pi * x) + 0.2 * jnp.sin(4 * jnp.pi * x)

    source = -(jnp.pi**2) * (jnp.sin(jnp.pi * x) + 3.2 * jnp.sin(4 * jnp.pi * x))

    def loss(ps: Any, st: Any, data: Any) -> Any:
        def slope(x: Any) -> Any:
            return jax.jvp(lambda x: model(x, ps, st)[0], (x,), (jnp.ones_like(x),))[1]

        curvature = jax.jvp(slope, (x,), (jnp.ones_like(x),))[1]
        ends = model(x[jnp.array([0, -1])], ps, st)[0]
        return jnp.mean((curvature - source) ** 2) / jnp.mean(source**2) + 10 * jnp.mean(ends**2), st

    def judge(ps: Any, st: Any) -> Any:
        return jnp.mean((model(x, ps, st)[0] - truth(x)) ** 2) / jnp.mean(truth(x) ** 2)

    about = "physics-informed, tanh, four hidden layers: `u'' = f` with two ends at 0, judged by the squared error of `u`, 2000 steps"
    return Problem("Poisson", about, model, adam(loss, 2000, None, 3e-3, judge))


PROBLEMS = (tutorial, spiral, lotka_volterra, forced, waves, friedman, deep, digits, poisson)
