"""Theophylline: twelve people, one dose each, and what a dose every eight hours would do.

Fits a one-compartment model with first-order absorption to the blood of twelve people who took one dose of theophylline by mouth, each
measured eleven times at times of their own: all of them together, and each alone. A dose is a jump of the amount in the gut, so that
the same layer, a `JumpODE`, predicts any schedule of doses.

    python examples/theophylline.py            prints the tables and writes theophylline.png
"""

import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import sciml_lux as lux

jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".cache"))
matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = pathlib.Path(__file__).parent
EVERY, DOSES = 8.0, 9
# Typical subject of the nonlinear mixed-effects fit of these data in Pinheiro and Bates 2000, section 8.1.3 (log ka 0.466, log ke -2.455,
# log Cl -3.227).
PUBLISHED = {"ka": 1.59, "ke": 0.0858, "Cl": 0.0397}


class Absorption(lux.AbstractContainer):
    """Amount in the gut (mg/kg) and concentration in the blood (mg/l): d gut = -ka gut,  d blood = ka ke / Cl gut - ke blood."""

    rates: lux.ParameterDict

    def __call__(self, y, ps, st):
        gut, blood = y
        rates = ps.rates
        absorbed = rates.ka * gut
        return jnp.stack([-absorbed, absorbed * rates.ke / rates.Cl - rates.ke * blood]), st


def swallow(t, y, amount, ps):
    """A dose (mg/kg) goes into the gut."""
    return y.at[0].add(amount)


def load():
    """Times (h), concentrations (mg/l), doses (mg/kg), a row for each subject."""
    table = np.genfromtxt(HERE / "data" / "theophylline.csv", delimiter=",", names=True)
    rows = [table[table["subject"] == subject] for subject in np.unique(table["subject"])]
    ts, concentrations = (np.stack([row[name] for row in rows]) for name in ("time", "concentration"))
    return ts, concentrations, np.array([row["dose"][0] for row in rows])


RATES = lux.ParameterDict(
    ka=lux.positive(1.0, unit="1/h"), ke=lux.positive(0.1, unit="1/h"), Cl=lux.positive(0.05, unit="l/(h kg)")
)
NODE = lux.JumpODE(Absorption(RATES), dose=swallow, t1=EVERY * DOSES, batching="each", rtol=1e-8, atol=1e-8)


def concentrations_at(ps, st, ts, dose_times, doses):
    """The model's concentrations, subject by subject; every array has a row for each."""
    start = jnp.zeros((len(ts), 2))
    solution, st = NODE.solve(start, ps, st, ts=ts, doses=(dose_times, doses))
    return solution.ys[..., 1], st


def residual(ps, st, data):
    ts, measured, doses = data
    predicted, st = concentrations_at(ps, st, ts, jnp.zeros((len(ts), 1)), doses[:, None])
    return predicted - measured, st


def fit(ps, st, data):
    return lux.estimation.least_squares(residual, ps, st, jax.tree.map(jnp.asarray, data))


def compare(pooled, single):
    """One line for each parameter: the fit of all together, the fits one by one, and what was published."""
    print(
        f"\n{'':12s}{'all together':>22s}{'one by one: median':>22s}{'lowest':>10s}{'highest':>10s}{'published':>12s}"
    )
    for name, unit in (("ka", "1/h"), ("ke", "1/h"), ("Cl", "l/(h kg)")):
        path = f"model.rates.{name}"
        alone = np.array([float(fitted.ps[path]) for fitted in single])
        together = f"{pooled.values[path]:.4f} +- {pooled.stderr[path]:.4f}"
        spread = f"{np.median(alone):22.4f}{alone.min():10.4f}{alone.max():10.4f}"
        print(f"{name + ' ' + unit:12s}{together:>22s}{spread}{PUBLISHED[name]:12.4f}")
    rms = [
        np.sqrt(np.mean(np.concatenate([np.ravel(fitted.residuals) for fitted in part]) ** 2))
        for part in ([pooled], single)
    ]
    print(f"\nroot-mean-square residual: {rms[0]:.2f} mg/l together, {rms[1]:.2f} mg/l one by one")


@jax.jit
def curves(ps, st, hours, times, amounts):
    """Concentrations at `hours` for each row of a batch of parameter vectors, under one schedule."""
    one = lambda vector: concentrations_at(ps.replace(vector), st, hours[None], times[None], amounts[None])[0][0]  # noqa: E731
    return jax.vmap(one)(ps.vector)


def predict(fitted, st, hours, times, amounts):
    ps = fitted[0].ps.replace(jnp.stack([one.ps.vector for one in fitted]))
    return np.asarray(curves(ps, st, hours, times, jnp.asarray(amounts)))


def draw(data, pooled, single, st, path):
    """Twelve subjects with their fits, and the prediction for repeated doses."""
    ts, measured, doses = data
    figure = plt.figure(figsize=(15, 8.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    axes = left.subplots(4, 3, sharex=True, sharey=True)
    hours = jnp.linspace(0.0, 25.0, 201)
    for i, axis in enumerate(axes.flat):
        both = predict([single[i], pooled], st, hours, jnp.zeros(1), doses[i : i + 1])
        axis.plot(hours, both[1], color="0.6", label="all together")
        axis.plot(hours, both[0], color="tab:blue", label="this subject alone")
        axis.plot(ts[i], measured[i], "ko", markersize=4, label="measured")
        axis.set_title(f"subject {i + 1}, {doses[i]:g} mg/kg", fontsize=9)
    axes[0, 0].legend(fontsize=7)
    left.supxlabel("hours after the dose")
    left.supylabel("theophylline in the blood (mg/l)")

    axis = right.subplots()
    hours = jnp.linspace(0.0, EVERY * DOSES, 721)
    times = EVERY * jnp.arange(DOSES)
    typical = float(np.mean(doses))
    repeated = predict([*single, pooled], st, hours, times, jnp.full(DOSES, typical))
    axis.axhspan(10, 20, color="tab:green", alpha=0.1, label="classical therapeutic range")
    axis.plot(hours, repeated[:-1].T, color="tab:blue", alpha=0.35, linewidth=1)
    axis.plot([], [], color="tab:blue", alpha=0.35, label="each subject's own parameters")
    axis.plot(hours, repeated[-1], color="k", linewidth=2, label="parameters of all together")
    axis.set(
        title=f"predicted: {typical:.1f} mg/kg every {EVERY:g} h", xlabel="hours", ylabel="mg/l", xlim=(0, hours[-1])
    )
    axis.legend(fontsize=9, loc="upper left")
    figure.savefig(path, dpi=110)
    last = np.asarray(hours) >= EVERY * (DOSES - 1)
    print(
        f"\n{typical:.1f} mg/kg every {EVERY:g} h, last interval: "
        f"{repeated[-1][last].min():.1f} to {repeated[-1][last].max():.1f} mg/l with the parameters of all together; "
        f"peaks from {repeated[:-1, last].max(1).min():.1f} to {repeated[:-1, last].max(1).max():.1f} mg/l between subjects"
    )


def main():
    jax.config.update("jax_enable_x64", True)
    begin = time.perf_counter()
    data = load()
    ps, st = lux.setup(jax.random.key(0), NODE)
    print("1. All subjects, one set of parameters\n")
    pooled = fit(ps, st, data)
    print(pooled)
    print("\n2. Each subject alone")
    single = []
    for i in range(len(data[0])):
        single.append(fit(pooled.ps, st, tuple(part[i : i + 1] for part in data)))
        print(f"   subject {i + 1:2d}: {single[-1].num_steps} steps", flush=True)
    compare(pooled, single)
    draw(data, pooled, single, st, pathlib.Path("theophylline.png"))
    print(f"\nwrote theophylline.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
