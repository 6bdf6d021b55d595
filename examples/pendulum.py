"""A pendulum's law from two noisy swings: what keeps the energy, and what only fits it.

Angle and velocity are recorded, with noise, for one and a half periods each of a wide and a narrow swing; three models learn the law of
motion from them and are run for fifty periods of a swing in between, which none has seen: (1) a Neural ODE; (2) a Hamiltonian network,
any energy `H(q, p)`; (3) one whose energy has two parts, `V(q) + T(p)`, solved by the symplectic Stormer-Verlet method. All have
networks of the same size and see the same data. The pendulum is simulated, so that the truth is known long after.

    python examples/pendulum.py         prints a table and writes pendulum.png
"""

import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import optimistix

import sciml_lux as lux

jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".cache"))
jax.config.update("jax_enable_x64", True)
matplotlib.use("Agg")
import matplotlib.pyplot as plt

STEP, WINDOW, NOISE = 0.25, 12, 0.05
RECORDED, AMPLITUDES = 11.0, (1.8, 0.9)
AMPLITUDE, PERIOD, PERIODS = 1.4, 7.15, 50


def network(inputs, outputs):
    return lux.MLP(inputs, (16, 16), outputs, jnp.tanh)


def two(y):
    return y[:1], y[1:]


def models():
    """Each equation with its network, for the state `(q, p)`."""
    settings = {"t1": PERIODS * PERIOD, "max_steps": 100_000}
    return {
        "Neural ODE": lux.NeuralODE(lux.Chain(jnp.concatenate, network(2, 2), two), rtol=1e-6, **settings),
        "Hamiltonian H(q, p)": lux.HamiltonianODE(lux.Chain(jnp.concatenate, network(2, 1)), rtol=1e-6, **settings),
        "Hamiltonian V(q) + T(p), symplectic": lux.HamiltonianODE(
            network(1, 1), kinetic=network(1, 1), solver=lux.solvers.StormerVerlet(), dt0=STEP / 2, **settings
        ),
    }


def truth(amplitude, ts):
    """The pendulum itself, `H = p^2 / 2 - cos q`, let go at an angle, to nine digits."""
    pendulum = lux.SecondOrderODE(
        lux.WrappedFunction(lambda q: -jnp.sin(q)),
        velocity=False,
        solver=lux.solvers.Yoshida4(),
        dt0=0.005,
        t1=PERIODS * PERIOD,
        max_steps=None,
    )
    ps, st = lux.setup(jax.random.key(0), pendulum)
    start = (jnp.asarray([amplitude]), jnp.zeros(1))
    return jnp.concatenate(pendulum.solve(start, ps, st, ts=ts)[0].ys, axis=-1)


def energy(states):
    return states[..., 1] ** 2 / 2 - jnp.cos(states[..., 0])


def learn(node, records, key):
    """Fits short windows, one from each recorded point, which cannot go far astray."""
    ps, st = lux.setup(key, node)
    ahead = STEP * jnp.arange(1.0, WINDOW + 1)
    first = [(record, i) for record in records for i in range(len(record) - WINDOW)]
    starts = jnp.stack([record[i] for record, i in first])
    windows = jnp.stack([record[i + 1 : i + 1 + WINDOW] for record, i in first])

    def run(ps, st, start, ts):
        solution, st = node.solve(two(start), ps, st, ts=ts)
        return jnp.concatenate(solution.ys, axis=-1), st

    def loss(ps, st, data):
        starts, windows = data
        predicted, _ = jax.vmap(lambda start: run(ps, st, start, ahead))(starts)
        return jnp.mean((predicted - windows) ** 2) + 1e-5 * jnp.sum(ps.vector**2), st

    stages = [(optax.adam(5e-3), 300), (optimistix.LBFGS(rtol=1e-6, atol=1e-7), 100)]
    fitted = lux.fit(loss, ps, st, stages, data=(starts, windows), progress=True)
    print(f"  {fitted.ps.vector.size} parameters, loss {fitted.losses[0]:.4f} -> {fitted.losses[-1]:.4f}")
    return jax.jit(lambda ts: run(fitted.ps, fitted.st, jnp.asarray([AMPLITUDE, 0.0]), ts)[0])


def table(predictions, ts, exact):
    """How far from the truth, in state and in energy, at first and long after."""
    parts = {"periods 1, 2": (0, 2), "to 10": (2, 10), "41 to 50": (40, 50)}
    print(f"\n{'root-mean-square error of':38s}{'the state':^39s}   {'the energy':^39s}")
    print(f"{'':38s}" + 2 * ("".join(f"{name:>13s}" for name in parts) + "   "))
    for name, states in predictions.items():
        of_state = jnp.sum((states - exact) ** 2, axis=-1)
        of_energy = (energy(states) - energy(exact)) ** 2
        cells = [
            "".join(f"{jnp.sqrt(jnp.mean(e[(ts >= a * PERIOD) & (ts < b * PERIOD)])):13.3f}" for a, b in parts.values())
            for e in (of_state, of_energy)
        ]
        print(f"{name:38s}" + "   ".join(cells))


def draw(predictions, records, ts, exact, path):
    """The last periods in time, the orbits with the records, and the energy."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.4), width_ratios=[1.5, 1, 1.5], layout="constrained")
    colors = dict(zip(predictions, ("tab:orange", "tab:blue", "tab:green"), strict=True))
    last = ts > (PERIODS - 3) * PERIOD
    axes[0].plot(ts[last] / PERIOD, exact[last, 0], "k", linewidth=3, alpha=0.3, label="pendulum")
    axes[1].plot(*exact[ts < 1.05 * PERIOD].T, "k", linewidth=3, alpha=0.3)
    axes[2].plot(ts / PERIOD, energy(exact), "k", linewidth=3, alpha=0.3)
    for name, states in predictions.items():
        axes[0].plot(ts[last] / PERIOD, states[last, 0], color=colors[name], label=name)
        axes[1].plot(*states.T, color=colors[name], linewidth=0.4, alpha=0.7)
        axes[2].plot(ts / PERIOD, energy(states), color=colors[name], linewidth=0.8)
    axes[1].plot(*jnp.concatenate(records).T, "k.", markersize=4, label="records")
    axes[0].set(title="the last three of fifty periods", xlabel="periods", ylabel="angle", ylim=(-1.6, 2.9))
    axes[1].set(title="orbits", xlabel="angle", ylabel="velocity")
    axes[2].set(title="energy", xlabel="periods", ylabel="$p^2/2 - \\cos q$")
    axes[0].legend(fontsize=8, loc="upper right")
    axes[1].legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=110)


def main():
    begin = time.perf_counter()
    times = np.arange(0.0, RECORDED, STEP)
    swings = jnp.stack([truth(amplitude, times) for amplitude in AMPLITUDES])
    records = swings + NOISE * jax.random.normal(jax.random.key(7), swings.shape)
    ts = np.arange(0.0, PERIODS * PERIOD, STEP)
    exact, predictions = truth(AMPLITUDE, ts), {}
    for name, node in models().items():
        print(name)
        predictions[name] = learn(node, records, jax.random.key(1))(ts)
    table(predictions, ts, exact)
    draw(predictions, records, ts, exact, pathlib.Path("pendulum.png"))
    print(f"\nwrote pendulum.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
