"""Hare and lynx, 1900-1920: one data set, three models, one kind of vector.

Fits the first 15 years of the Hudson's Bay Company's pelt counts with (1) the Lotka-Volterra equations, (2) a Neural ODE and
(3) a universal differential equation, the Lotka-Volterra equations with their predation term replaced by a network, and judges each on the
last 6 years. Every model is a layer, its parameters one vector; initial values are parameters, too. The equations with few parameters have
standard errors, and bands in which the curve and new counts lie.

    python examples/hare_and_lynx.py            prints the tables and writes hare_and_lynx.png
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
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import ticker

est = lux.estimation
HERE = pathlib.Path(__file__).parent
FITTED_YEARS = 15
SPECIES = ("hare", "lynx")
YEARS_DRAWN = np.linspace(1900.0, 1920.0, 401)


def lotka_volterra(t, y, terms):
    """Prey h and predator l: dh/dt = growth h - predation h l,  dl/dt = gain h l - death l."""
    hare, lynx = y
    rates = terms.rates
    return jnp.stack(
        [rates.growth * hare - rates.predation * hare * lynx, rates.gain * hare * lynx - rates.death * lynx]
    )


def learned_predation(t, y, terms):
    """Lotka-Volterra whose predation is a network: dh/dt = growth h - P,  dl/dt = yield P - death l,  P = softplus(net) h l."""
    hare, lynx = y
    rates = terms.rates
    # The logarithms, since the counts span two decades; the shift puts the untrained rate near 0.02 per thousand a year.
    scaled = jnp.log(jnp.maximum(y, 1e-3)) - 3.0
    predation = jax.nn.softplus(terms.network(scaled)[0] - 4.0) * hare * lynx
    return jnp.stack([rates.growth * hare - predation, rates["yield"] * predation - rates.death * lynx])


def load():
    """Years and log counts (in thousands of pelts)."""
    table = np.genfromtxt(HERE / "data" / "lynx_hare.csv", delimiter=",", skip_header=2, names=True)
    return table["year"], np.log(np.stack([table["hare"], table["lynx"]], axis=1))


def pelts(field, hare, lynx, **settings):
    """An equation of the counts whose initial values are parameters, observed through the logarithm."""
    return lux.HybridODE(
        field,
        start=lux.ParameterDict(hare=lux.positive(hare, unit="thousand"), lynx=lux.positive(lynx, unit="thousand")),
        initial=lambda x, terms: jnp.stack([terms.start.hare, terms.start.lynx]),
        observation=lambda y, terms: jnp.log(y),
        t0=1900.0,
        t1=1920.0,
        **settings,
    )


def fit_mechanistic(years, observed):
    """Four rates, two initial values and the scatter of the counts, which is log-normal, by maximum likelihood: all positive, with standard
    errors. Without the scatter it is least squares on the log counts."""
    rates = lux.ParameterDict(
        growth=lux.positive(0.6, unit="1/year"),
        predation=lux.positive(0.03, unit="1/(year thousand)"),
        death=lux.positive(0.9, unit="1/year"),
        gain=lux.positive(0.03, unit="1/(year thousand)"),
    )
    scatter = lux.ParameterDict(sigma=lux.positive(0.3))
    node = pelts(lotka_volterra, *np.exp(observed[0]), rates=rates, scatter=scatter, rtol=1e-8, atol=1e-8)
    counts = dict(zip(SPECIES, np.exp(observed).T, strict=True))
    problem = est.Problem(
        node,
        est.Data([est.Experiment("pelts", years, counts)]),
        observe=lambda t, y, ps: dict(zip(SPECIES, jnp.exp(y), strict=True)),
        noise=est.noise.LogNormal("sigma"),
    )
    ps, _ = lux.setup(jax.random.key(0), node)
    fit = est.fit(problem, ps)
    print(fit)
    return fit, lambda at: node.solve(None, fit.ps, fit.st, ts=at)[0].ys


def fit_neural(years, observed):
    """A Neural ODE for the standardised log counts, with a penalty on the weights: fifteen points cannot hold many numbers down."""
    mean, spread = observed.mean(0), observed.std(0)
    network = lux.Chain(lux.Dense(2, 16, jnp.tanh), lux.Dense(16, 2, init_weight=lux.init.normal(0.1)))
    node = lux.NeuralODE(network, t0=1900.0, t1=1920.0, rtol=1e-5, atol=1e-6)
    ps, st = lux.setup(jax.random.key(1), node)
    start = (observed[0] - mean) / spread

    def loss(ps, st, data):
        years, observed = data
        solution, st = node.solve(start, ps, st, ts=years)
        misfit = jnp.mean((solution.ys * spread + mean - observed) ** 2)
        return misfit + 1e-3 * jnp.mean(ps.vector**2), st

    stages = [(optax.adam(2e-2), 800), (optimistix.LBFGS(rtol=1e-6, atol=1e-6), 300)]
    fitted = lux.fit(loss, ps, st, stages, data=(years, observed), progress=True)
    print(fitted)
    return lambda at: node.solve(start, fitted.ps, fitted.st, ts=at)[0].ys * spread + mean


def fit_universal(years, observed):
    """Mechanistic rates and network weights in one vector, fitted together."""
    rates = lux.ParameterDict(
        growth=lux.positive(0.6, unit="1/year"),
        death=lux.positive(0.9, unit="1/year"),
        **{"yield": lux.positive(1.0)},
    )
    network = lux.Chain(lux.Dense(2, 8, jnp.tanh), lux.Dense(8, 1, init_weight=lux.init.normal(0.1)))
    node = pelts(learned_predation, *np.exp(observed[0]), rates=rates, network=network, rtol=1e-5, atol=1e-6)
    ps, st = lux.setup(jax.random.key(2), node)

    def loss(ps, st, data):
        years, observed = data
        solution, st = node.solve(None, ps, st, ts=years)
        penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(ps.network))
        return jnp.mean((solution.ys - observed) ** 2) + 1e-3 * penalty, st

    stages = [(optax.adam(2e-2), 500), (optimistix.LBFGS(rtol=1e-6, atol=1e-6), 200)]
    fitted = lux.fit(loss, ps, st, stages, data=(years, observed), progress=True)
    print(fitted)
    print(fitted.ps)
    return lambda at: node.solve(None, fitted.ps, fitted.st, ts=at)[0].ys


def judge(models, years, observed):
    """Root-mean-square errors of the log counts, within the fitted years and after them."""
    print(f"\n{'':32s}{'fitted 1900-1914':>18s}{'forecast 1915-1920':>20s}   (root-mean-square error of log counts)")
    same_as_last_year = np.vstack([np.full((1, 2), np.nan), observed[:-1]])
    rows = {
        **{name: np.asarray(model(years)) for name, model in models.items()},
        "same as last year": same_as_last_year,
    }
    for name, predicted in rows.items():
        errors = [
            np.sqrt(np.nanmean((predicted - observed)[part] ** 2))
            for part in (slice(FITTED_YEARS), slice(FITTED_YEARS, None))
        ]
        print(f"{name:32s}{errors[0]:18.3f}{errors[1]:20.3f}")


def count_covered(fit, years, observed):
    """How many of the counts lie where the equations with their errors say that 95 of 100 do."""
    bands = fit.predict(YEARS_DRAWN).prediction
    at = np.searchsorted(YEARS_DRAWN, years)
    low, high = (np.stack([bands[name][end][0, at] for name in SPECIES], axis=1) for end in range(2))
    inside = (low <= np.exp(observed)) & (np.exp(observed) <= high)
    within, beyond = inside[:FITTED_YEARS], inside[FITTED_YEARS:]
    print(
        f"\nLotka-Volterra, 95 % bands of a new count: they hold {within.sum()} of the {within.size} counts that were fitted, "
        f"{beyond.sum()} of the {beyond.size} after them"
    )


def draw(models, fit, years, observed, path):
    """Data and curves over time, with the bands of Lotka-Volterra and the forecast part marked, and the phase portrait."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 5.2), width_ratios=[1.25, 1.25, 1], layout="constrained")
    fine, predicted = YEARS_DRAWN, fit.predict(YEARS_DRAWN)
    last = years[FITTED_YEARS - 1]
    for (name, model), color in zip(models.items(), ("tab:blue", "tab:orange", "tab:green"), strict=True):
        curves = np.exp(np.asarray(model(fine)))
        known = fine <= last
        for axis, column in zip(axes[:2], curves.T, strict=True):
            axis.plot(fine[known], column[known], color=color, label=name)
            axis.plot(fine[~known], column[~known], color=color, linestyle="--")
        axes[2].plot(*curves[known].T, color=color)
        axes[2].plot(*curves[~known].T, color=color, linestyle="--")
    for axis, name in zip(axes[:2], SPECIES, strict=True):
        for band, alpha, title in ((predicted.confidence, 0.25, "curve"), (predicted.prediction, 0.1, "new count")):
            ends = (end[0] for end in band[name])
            axis.fill_between(
                fine, *ends, color="tab:blue", alpha=alpha, linewidth=0, label=f"Lotka-Volterra: {title}, 95 %"
            )
    counts = np.exp(observed)
    for axis, column, title in zip(axes[:2], counts.T, SPECIES, strict=True):
        axis.axvspan(last, years[-1], color="0.92", zorder=0)
        axis.plot(years[:FITTED_YEARS], column[:FITTED_YEARS], "ko", label="data, fitted")
        axis.plot(
            years[FITTED_YEARS:], column[FITTED_YEARS:], "o", color="k", fillstyle="none", label="data, held back"
        )
        axis.set(
            title=title, xlabel="year", ylabel="pelts (thousand)", yscale="log", xlim=(years[0] - 0.5, years[-1] + 0.5)
        )
        axis.set_xticks(np.arange(1900, 1921, 5))
    axes[1].text(0.86, 0.97, "forecast", transform=axes[1].transAxes, ha="center", va="top", color="0.4")
    axes[2].plot(*counts[:FITTED_YEARS].T, "ko")
    axes[2].plot(*counts[FITTED_YEARS:].T, "o", color="k", fillstyle="none")
    axes[2].set(title="phase portrait", xlabel="hare (thousand)", ylabel="lynx (thousand)", xscale="log", yscale="log")
    for axis in (axes[0].yaxis, axes[1].yaxis, axes[2].xaxis, axes[2].yaxis):
        axis.set_major_locator(ticker.FixedLocator([5, 10, 20, 50]))
        axis.set_major_formatter(ticker.ScalarFormatter())
        axis.set_minor_locator(ticker.NullLocator())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def main():
    jax.config.update("jax_enable_x64", True)
    begin = time.perf_counter()
    years, observed = load()
    fitted_part = jnp.asarray(years[:FITTED_YEARS]), jnp.asarray(observed[:FITTED_YEARS])
    print("1. Lotka-Volterra, maximum likelihood\n")
    fit, model = fit_mechanistic(*fitted_part)
    models = {"Lotka-Volterra": model}
    print("\n2. Neural ODE, Adam then L-BFGS\n")
    models["Neural ODE"] = fit_neural(*fitted_part)
    print("\n3. Lotka-Volterra with a learned predation term, Adam then L-BFGS\n")
    models["Lotka-Volterra + network"] = fit_universal(*fitted_part)
    judge(models, years, observed)
    count_covered(fit, years, observed)
    draw(models, fit, years, observed, pathlib.Path("hare_and_lynx.png"))
    print(f"\nwrote hare_and_lynx.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
