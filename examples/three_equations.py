"""Three equations that a plain Neural ODE is the wrong tool for, and the layers that are right for them.

1. `AugmentedODE`: learn `y -> -y`. Solutions of one equation on a line cannot pass each other; with one more dimension they go around.
2. `SecondOrderODE`: learn an oscillator's law of motion from positions alone. Position does not say which way it moves next.
3. `SteadyStateODE`: fit an enzyme's measured rates, which are those of a reaction scheme at rest. When it comes to rest nobody knows.

The first two are simulated, so that the truth is known; the third has real data, and a closed form to be checked with.

    python examples/three_equations.py         prints three tables and writes three_equations.png
"""

import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax

import sciml_lux as lux

HERE = pathlib.Path(__file__).parent
jax.config.update("jax_compilation_cache_dir", str(HERE / ".cache"))
jax.config.update("jax_enable_x64", True)
matplotlib.use("Agg")
import matplotlib.pyplot as plt

KEY = jax.random.key(0)
COLORS = {"NeuralODE": "tab:orange", "AugmentedODE": "tab:blue", "SecondOrderODE": "tab:green"}


# 1. The mirror


def mirror():
    """Fits both to `y(1) = -y(0)` at 32 points, and judges them between those."""
    print("1. The mirror: learn y -> -y on [-1, 1]")
    nodes = {
        "NeuralODE": lux.NeuralODE(lux.MLP(1, (16, 16), 1, jnp.tanh)),
        "AugmentedODE": lux.AugmentedODE(lux.MLP(2, (16, 16), 2, jnp.tanh), 1),
    }
    starts = jnp.linspace(-1.0, 1.0, 32)[:, None]
    between = jnp.linspace(-0.99, 0.99, 199)[:, None]
    ts, paths, rows = np.linspace(0.0, 1.0, 101), {}, []
    for name, node in nodes.items():

        def loss(ps, st, starts, node=node):
            y, st = node(starts, ps, st)
            return jnp.mean((y + starts) ** 2), st

        ps, st = lux.setup(KEY, node)
        print(f"   {name}")
        rate = optax.cosine_decay_schedule(2e-2, 400)
        fitted = lux.fit(loss, ps, st, optax.adam(rate), steps=400, data=starts, progress=True)
        y, _ = node(between, fitted.ps, fitted.st)
        rows.append((name, fitted.ps.vector.size, float(jnp.sqrt(jnp.mean((y + between) ** 2)))))
        paths[name] = node.solve(starts[::5], fitted.ps, fitted.st, ts=ts)[0].ys[..., 0]
    best = float(jnp.sqrt(jnp.mean(between**2)))
    print(f"\n   {'':16s}{'parameters':>12s}{'rms error':>12s}")
    for name, size, error in rows:
        print(f"   {name:16s}{size:12d}{error:12.4f}")
    print(f"   A NeuralODE on a line keeps the order of points; the best map that does is y -> 0: {best:.4f}.\n")
    return ts, paths


# 2. The spring

STEP, RECORDED, FORECAST, NOISE = 0.2, 10.0, 20.0, 0.05
RELEASES, UNSEEN = (2.0, 1.2, -0.6), 1.6


def spring(state):
    """A spring that stiffens as it is stretched, and friction."""
    x, v = state
    return -x - 0.5 * x**3 - 0.15 * v


def join(state):
    return jnp.concatenate(state, axis=-1)


def from_rest(node, x):
    """What a solve starts at: only the second order asks for the velocity, which is 0."""
    return (x, jnp.zeros_like(x)) if isinstance(node, lux.SecondOrderODE) else x


def positions(node, ps, st, released, ts):
    ys = node.solve(from_rest(node, released[:, None]), ps, st, ts=ts)[0].ys
    return (ys[0] if isinstance(ys, tuple) else ys)[..., 0]


def learn_motion(node, ts, records):
    """Fits the first quarter of the records, then half, then all of them."""

    def loss(ps, st, data):
        records, weights = data
        errors = positions(node, ps, st, jnp.asarray(RELEASES), ts) - records
        return jnp.mean(weights[:, None] * errors**2), st

    ps, st = lux.setup(KEY, node)
    for part, steps in ((0.25, 200), (0.5, 200), (1.0, 600)):
        data = (records, jnp.where(ts <= part * RECORDED, 1 / part, 0.0))
        rate = optax.cosine_decay_schedule(1e-2, steps)
        fitted = lux.fit(loss, ps, st, optax.adam(rate), steps=steps, data=data, progress=True)
        ps, st = fitted.ps, fitted.st
    return ps, st


def oscillator():
    """Learns from three releases, of which positions are recorded, and forecasts a fourth, twice as long."""
    print("2. The spring: learn its law from noisy positions")
    nodes = {
        "NeuralODE": lux.NeuralODE(lux.MLP(1, (16, 16), 1, jnp.tanh), t1=FORECAST),
        "AugmentedODE": lux.AugmentedODE(lux.MLP(2, (16, 16), 2, jnp.tanh), 1, t1=FORECAST),
        "SecondOrderODE": lux.SecondOrderODE(lux.Chain(join, lux.MLP(2, (16, 16), 1, jnp.tanh)), t1=FORECAST),
    }
    law = lux.SecondOrderODE(lux.WrappedFunction(spring), t1=FORECAST, rtol=1e-9, atol=1e-9)
    nothing, law_st = lux.setup(KEY, law)
    ts, later = np.arange(STEP, RECORDED, STEP), np.arange(0.0, FORECAST, 0.05)
    records = positions(law, nothing, law_st, jnp.asarray(RELEASES), ts)
    records += NOISE * jax.random.normal(KEY, records.shape)
    unseen = jnp.asarray([UNSEEN])
    exact, forecasts, rows = positions(law, nothing, law_st, unseen, later)[:, 0], {}, []
    for name, node in nodes.items():
        print(f"   {name}")
        ps, st = learn_motion(node, ts, records)
        forecasts[name] = positions(node, ps, st, unseen, later)[:, 0]
        squares = (forecasts[name] - exact) ** 2
        fit = jnp.mean((positions(node, ps, st, jnp.asarray(RELEASES), ts) - records) ** 2)
        errors = [fit, jnp.mean(squares[later < RECORDED]), jnp.mean(squares[later >= RECORDED])]
        rows.append((name, ps.vector.size, np.sqrt(errors)))
    print(f"\n   {'':16s}{'parameters':>12s}{'rms: records':>16s}{'new, to t=10':>16s}{'new, 10 to 20':>16s}")
    for name, size, errors in rows:
        print(f"   {name:16s}{size:12d}" + "".join(f"{error:16.3f}" for error in errors))
    print(
        f'   The noise of the records is {NOISE}; "new" is a release from {UNSEEN:g}, compared with the exact motion.'
    )
    print("   The AugmentedODE has to find the velocity by itself: with other learning rates it got stuck.\n")
    return later, exact, forecasts


# 3. The enzyme


class Binding(lux.AbstractContainer):
    """E + S <-> ES -> E + P: the fraction of the enzyme that is bound, in units of time in which 1 ppm binds at the rate 1.

    d bound = substrate (1 - bound) - K bound
    """

    kinetics: lux.ParameterDict

    def __call__(self, x, ps, st):
        bound, substrate = x
        return substrate * (1 - bound) - ps.kinetics.K * bound, st


KINETICS = lux.ParameterDict(
    treated=lux.positive(100.0, unit="counts/min^2"),
    untreated=lux.positive(100.0, unit="counts/min^2"),
    K=lux.positive(0.2, unit="ppm"),
)


def load():
    """Substrate (ppm), rate of the reaction (counts/min^2), and whether the cells were treated with puromycin."""
    path = HERE / "data" / "puromycin.csv"
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    return tuple(map(jnp.asarray, (table["concentration"], table["rate"].astype(float), table["state"] == "treated")))


def rates(node, ps, st, substrate, treated):
    """What is measured, one molecule of product for each that leaves, with the steps of the solve."""
    bound, st = node(jnp.zeros_like(substrate), ps, st, inputs=jax.tree_util.Partial(held, substrate))
    kinetics = ps.model.kinetics
    return jnp.where(treated, kinetics.treated, kinetics.untreated) * bound, st


def held(substrate, t):
    """The initial rates are measured: there is as much substrate as there was."""
    return substrate


def estimate(node, data):
    def residual(ps, st, data):
        substrate, measured, treated = data
        predicted, st = rates(node, ps, st, substrate, treated)
        return predicted - measured, st

    return lux.estimation.least_squares(residual, *lux.setup(KEY, node), data)


def closed_form(x, treated, untreated, half):
    """`half`: the concentration at which half is bound, K."""
    substrate, is_treated = x
    return jnp.where(is_treated, treated, untreated) * substrate / (half + substrate)


def enzyme():
    """Fits the equilibrium, the same equation run for a time that has to be chosen, and the formula of Michaelis and Menten."""
    print("3. The enzyme: rates of a reaction from its steady states\n")
    data = load()
    substrate, measured, is_treated = data
    nodes = {"SteadyStateODE": lux.SteadyStateODE(Binding(KINETICS))}
    nodes |= {f"NeuralODE, t1={t1:g}": lux.NeuralODE(Binding(KINETICS), t1=t1) for t1 in (10.0, 30.0, 300.0)}
    fits = {name: estimate(node, data) for name, node in nodes.items()}
    start = {"treated": 100.0, "untreated": 100.0, "half": 0.2}
    formula = lux.estimation.curve_fit(closed_form, (substrate, is_treated), measured, start)
    print(fits["SteadyStateODE"])
    print(f"\n   {'':20s}{'treated':>17s}{'untreated':>17s}{'K':>20s}{'residual':>11s}{'steps':>8s}")
    for label, result in {**fits, "closed form": formula}.items():
        numbers = zip((result.ps[name] for name in result.names), np.sqrt(np.diag(result.covariance)), strict=True)
        *two, half = ((f"{value:.{d}f} +- {error:.{d}f}") for (value, error), d in zip(numbers, (1, 1, 4), strict=True))
        steps = "" if result is formula else f"{result.st.solution.num_steps}"
        print(f"   {label:20s}{two[0]:>17s}{two[1]:>17s}{half:>20s}{result.residual_std:11.2f}{steps:>8s}")
    print("   Stopped at t1 = 10 or 30, the equation bends K to make up for what is not yet at rest.")
    return data, nodes, fits


# The picture


def draw(paths, motion, kinetics, path):
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.4), layout="constrained")
    ts, lines = paths
    for name, ys in lines.items():
        axes[0].plot(ts, ys, color=COLORS[name])
        axes[0].plot([], [], color=COLORS[name], label=name)
    axes[0].plot(jnp.ones(7), -lines["NeuralODE"][0], "ko", markersize=5, label="where each should end")
    axes[0].set(title="1. the mirror, $y \\to -y$", xlabel="t", ylabel="y")

    later, exact, forecasts = motion
    axes[1].plot(later, exact, "k", linewidth=4, alpha=0.3, label="spring")
    for name, x in forecasts.items():
        axes[1].plot(later, x, color=COLORS[name], label=name)
    axes[1].axvline(RECORDED, color="0.5", linestyle=":", label="end of the records")
    axes[1].set(title="2. the spring, a release that was not recorded", xlabel="t", ylabel="position")

    (substrate, measured, treated), nodes, fits = kinetics
    grid = jnp.linspace(0.0, 1.2, 241)
    for state, color, name in ((True, "tab:red", "treated"), (False, "tab:purple", "untreated")):
        axes[2].plot(substrate[treated == state], measured[treated == state], "o", color=color, label=name)
        for label, style in (("SteadyStateODE", "-"), ("NeuralODE, t1=10", "--")):
            fitted = fits[label]
            curve = rates(nodes[label], fitted.ps, fitted.st, grid, jnp.full(grid.shape, state))[0]
            axes[2].plot(grid, curve, style, color=color, alpha=1.0 if style == "-" else 0.6)
    axes[2].plot([], [], "k-", label="SteadyStateODE")
    axes[2].plot([], [], "k--", alpha=0.6, label="NeuralODE, stopped at t = 10")
    axes[2].set(title="3. the enzyme, steady states", xlabel="substrate (ppm)", ylabel="rate (counts/min$^2$)", ylim=0)
    for axis in axes:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main():
    begin = time.perf_counter()
    draw(mirror(), oscillator(), enzyme(), pathlib.Path("three_equations.png"))
    print(f"\nwrote three_equations.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
