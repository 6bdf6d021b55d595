"""A long oscillating series, a bad start, and what helps.

Prey and predators go through nine cycles, a fifth of the counts is missing and the rest noisy. Fitted from rates that make the cycles
slower, the trajectory is out of step nearly everywhere, and its loss is a landscape of valleys: descent ends in the nearest one. Each
strategy of `sciml_lux.training.strategies` finds a way around that, and the plain fit then finishes it. Missing values are left out
of every loss. The last table shows what training on the solver's own estimates saves.

    python examples/hard_data.py            prints the tables and writes hard_data.png
"""

import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax

import sciml_lux as lux
from sciml_lux.training import strategies

matplotlib.use("Agg")
import matplotlib.pyplot as plt

jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".cache"))
jax.config.update("jax_enable_x64", True)

FITTED, FORECAST = 100.0, 150.0
TRUTH = {"growth": 1.1, "predation": 0.4, "death": 0.4, "gain": 0.1}
START = {"growth": 0.6, "predation": 0.2, "death": 0.2, "gain": 0.05}
Y0 = np.log([10.0, 5.0])  # known, as are the counts that one starts an experiment with
NOISE, MISSING = 0.1, 0.2
ADAM = optax.adam(2e-2)
FINISH = 200  # steps of the plain fit that ends every row


class LotkaVolterra(lux.AbstractContainer):
    """The logarithms of prey x and predators z: dx/dt = growth - predation e^z,  dz/dt = gain e^x - death."""

    rates: lux.ParameterDict

    def __call__(self, y, ps, st):
        x, z = y
        rates = ps.rates
        return jnp.stack([rates.growth - rates.predation * jnp.exp(z), rates.gain * jnp.exp(x) - rates.death]), st


def made(rates):
    """The adapter, its parameters and its state. A start from which a solve fails is a bad one, and no reason to stop."""
    model = LotkaVolterra(lux.ParameterDict(**{name: lux.positive(rate) for name, rate in rates.items()}))
    node = lux.NeuralODE(model, t1=FORECAST, rtol=1e-6, atol=1e-6, throw=False)
    return node, *lux.setup(jax.random.key(0), node)


def simulate():
    """Times until the end of the forecast, the true trajectory, and what was measured of it."""
    node, ps, st = made(TRUTH)
    ts = np.linspace(0.0, FORECAST, 301)
    truth = np.asarray(jax.jit(lambda ps: node.solve(jnp.asarray(Y0), ps, st, ts=ts)[0].ys)(ps))
    random = np.random.default_rng(0)
    measured = truth + NOISE * random.normal(size=truth.shape)
    measured[random.random(truth.shape) < MISSING] = np.nan
    return ts, truth, measured


class Task:
    """What every strategy is given: a bad start, the series, and smoothed states."""

    def __init__(self, ts, measured):
        self.node, self.ps, self.st = made(START)
        known = ts <= FITTED
        self.ts, self.ys = ts[known], measured[known]
        self.spline = strategies.collocate_spline(self.ts, self.ys)
        self.whole = strategies.series(self.ts, self.ys, y0=Y0)
        self.loss = strategies.TrajectoryLoss(self.node)

    def fit(self, ps, **options):
        return lux.fit(self.loss, ps, self.st, ADAM, progress=True, throw=False, **options).ps

    def finish(self, ps):
        return self.fit(ps, steps=FINISH, data=self.whole)


def plain(task):
    return task.fit(task.ps, steps=1000, data=task.whole)


def growing_horizon(task):
    horizons = np.linspace(0.0, FITTED, 9)[1:]
    return task.fit(task.ps, data=strategies.growing_horizon(task.whole, horizons, 75), steps=600)


def collocation(task, estimates):
    loss = strategies.CollocationLoss(task.node)
    return lux.fit(loss, task.ps, task.st, ADAM, steps=600, data=estimates, progress=True).ps


def by_kernel(task):
    return collocation(task, strategies.collocate_kernel(task.ts, task.ys, degree=3))


def by_spline(task):
    return collocation(task, task.spline)


def minibatches(task):
    windows = strategies.windows(task.whole, 16, stride=5, starts=task.spline.ys)
    return task.fit(task.ps, data=strategies.minibatches(windows, 8, jax.random.key(1)), steps=400)


def shooting(task):
    """A `MultipleShooting` of segments of 16 points, its parameters and state, and its data."""
    segments = strategies.windows(task.whole, 16, starts=task.spline.ys)
    layer = strategies.MultipleShooting(task.node, *segments.y0.shape)
    ps, st = lux.setup(jax.random.key(0), layer)
    return layer, layer.start_from(ps.set("node", task.ps.params), segments), st, segments


def shooting_by_penalty(task):
    layer, ps, st, segments = shooting(task)
    fitted = lux.fit(strategies.ShootingLoss(layer), ps, st, ADAM, steps=400, data=segments, progress=True)
    return layer.plain(fitted.ps, fitted.st)[0]


def shooting_by_multipliers(task):
    layer, ps, st, segments = shooting(task)
    options = {"data": segments, "steps": 100, "rounds": 4, "tolerance": 1e-2, "progress": True, "throw": False}
    fitted = strategies.fit_augmented_lagrangian(strategies.ShootingLoss(layer), ps, st, ADAM, **options)
    return layer.plain(fitted.ps, fitted.st)[0]


def ensemble(task, members=8):
    """Starts around the bad one, all fitted at once; the best of them goes on."""
    ps, st = lux.setup_batch(jax.random.key(0), task.node, members)
    spread = np.random.default_rng(1).normal(size=(members, ps.layout.size)) * 0.5
    ps = ps.replace(task.ps.vector + jnp.asarray(spread))
    fitted = strategies.fit_ensemble(task.loss, ps, st, ADAM, steps=200, data=task.whole, progress=True, throw=False)
    return fitted.best.ps


STRATEGIES = {
    "plain fit": plain,
    "growing horizon": growing_horizon,
    "collocation, kernel": by_kernel,
    "collocation, spline": by_spline,
    "minibatches of windows": minibatches,
    "multiple shooting, penalty": shooting_by_penalty,
    "multiple shooting, multipliers": shooting_by_multipliers,
    "ensemble of 8 starts": ensemble,
}


def compare(ts, truth, measured):
    """Runs every strategy and prints the table; returns the curves."""
    task = Task(ts, measured)
    judge = jax.jit(lambda ps: task.loss(ps, task.st, task.whole)[0])
    solve = jax.jit(lambda ps: task.node.solve(jnp.asarray(task.whole.y0), ps, task.st, ts=ts)[0].ys)
    later = ts > FITTED
    curves, rows = {}, []

    def add(name, ps, seconds):
        curves[name] = np.asarray(solve(ps))
        error = np.sqrt(np.mean((curves[name] - truth)[later] ** 2))
        rates = ps["model.rates"]
        values = " ".join(f"{float(rates[name]):9.3f}" for name in TRUTH)
        rows.append(f"{name:32s}{float(judge(ps)):10.4f}{error:12.3f}{seconds:10.1f}   {values}")

    add("the start", task.ps, 0.0)
    for name, strategy in STRATEGIES.items():
        print(f"\n{name}", flush=True)
        begin = time.perf_counter()
        ps = task.finish(strategy(task))
        add(name, ps, time.perf_counter() - begin)
    _, ps, _ = made(TRUTH)
    add("the truth", task.ps.replace(ps.vector), 0.0)
    print(f"\n{'':32s}{'loss':>10s}{'forecast':>12s}{'seconds':>10s}   {' '.join(f'{name:>9s}' for name in TRUTH)}")
    print("\n".join(rows))
    print(
        f"loss: mean squared error until t = {FITTED:g}, noise variance {NOISE**2:g}; forecast: root-mean-square error from there to "
        f"t = {FORECAST:g}, without noise;\nseconds include the {FINISH} steps of plain fit that end every row, and compiling "
        "what no row above has compiled."
    )
    return curves


def save_steps():
    """A network that carries a point to where it is wanted, trained with and without the solver's estimates; how is left to it."""
    network = lux.Chain(lux.Dense(2, 8, jnp.tanh, init_weight=lux.init.normal(1.5)), lux.Dense(8, 2))
    node = lux.NeuralODE(network, rtol=1e-7, atol=1e-7)
    ps, st = lux.setup(jax.random.key(0), node)
    data = strategies.series([0.0, 1.0], [[np.nan] * 2, [-0.5, 1.0]], y0=np.array([1.0, 0.5]))
    solve = functools.partial(lux.solvers.solve_with_estimates, node)
    plain = strategies.TrajectoryLoss(node)

    def loss(ps, st, data):
        # The weights are data, so that all fits share one compilation.
        data, weights = data
        penalty = lambda solution: sum(weight * solution.stats[name] for name, weight in weights.items())  # noqa: E731
        return strategies.TrajectoryLoss(node, solve=solve, penalty=penalty)(ps, st, data)

    table = []
    for chosen in (None, "error_estimate", "stiffness_estimate"):
        fitted = None
        for on, steps in ((1e-2, 200), (0.0, 100)):  # the last steps are those of the plain loss
            weights = {name: on * (name == chosen) for name in ("error_estimate", "stiffness_estimate")}
            start = ps if fitted is None else fitted.ps
            fitted = lux.fit(loss, start, st, ADAM, steps=steps, data=(data, weights), progress=True)
        value, new = plain(fitted.ps, st, data)
        table.append(f"{chosen or 'plain fit':32s}{float(value):10.1e}{int(new.solution.num_steps):22d}")
    print(f"\n{'':32s}{'loss':>10s}{'steps of the solver':>22s}")
    print("\n".join(table))


def draw(ts, truth, measured, curves, path):
    """One panel a fit: data, truth and curve, with the forecast part marked."""
    figure, axes = plt.subplots(len(curves) - 1, 1, figsize=(11, 13), sharex=True, sharey=True, layout="constrained")
    known = ts <= FITTED
    names = [name for name in curves if name != "the truth"]
    for axis, name in zip(axes, names, strict=True):
        axis.axvspan(FITTED, FORECAST, color="0.92", zorder=0)
        axis.plot(ts, truth[:, 0], color="0.6", linewidth=3)
        axis.plot(ts[known], measured[known, 0], "k.", markersize=2)
        axis.plot(ts, curves[name][:, 0], color="tab:red", linewidth=1.2)
        axis.set_title(name, fontsize=10, loc="left", pad=2)
    axes[0].text((FITTED + FORECAST) / 2, 3.6, "forecast", ha="center", va="top", color="0.4")
    axes[-1].set(xlabel="time", xlim=(0.0, FORECAST), ylim=(-2.0, 4.0))
    figure.supylabel("log prey: truth (gray), measured (dots), fitted (red)")
    figure.savefig(path, dpi=90)


def main():
    begin = time.perf_counter()
    ts, truth, measured = simulate()
    curves = compare(ts, truth, measured)
    save_steps()
    draw(ts, truth, measured, curves, pathlib.Path("hard_data.png"))
    print(f"\nwrote hard_data.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
