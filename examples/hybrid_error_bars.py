"""Error bars for the known part of a half-known law: rates of a mechanism beside a network.

A predator in a pond eats prey and grows by it:

    prey' = growth prey - eaten(prey) predator,    predator' = yield eaten(prey) predator - death predator        per litre; days

Nobody knows how much one predator eats, `eaten(prey)`; wanted are growth, yield and death. In one pond both are counted for twelve days; in
a second one, which started elsewhere, predators alone, and each time twice; with errors of 10 per cent. The data are simulated, with
predators that get full, `eaten = attack prey / (1 + attack handling prey)`, so that the rates are known. Three laws are fitted:

1. a wrong one, which also is the simplest: `eaten = attack prey`, that of Lotka and Volterra;
2. a network: `eaten = prey softplus(network(log prey))`, with a penalty on its weights, which is a normal prior of theirs;
3. the true one, which nobody would have: what can be known at best.

The rates have intervals by standard errors and by profiles, for which the network is a nuisance that is fitted anew at every point, and
more data sets show how often such intervals hold the truth. The first data set is an unlucky one: even the true law misses death, by a
hair; that is what one in twenty means.

    python examples/hybrid_error_bars.py            prints the tables and writes hybrid_error_bars.png
"""

import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from tqdm import tqdm

import sciml_lux as lux

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".cache"))
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import ticker

est = lux.estimation
DAYS, ERROR, DATA_SETS = 12.0, 0.1, 16
TRUE = {"growth": 0.8, "yield": 0.4, "death": 0.6}
ATTACK, HANDLING = 0.6, 0.2
PONDS = {"both counted": (4.0, 1.0), "predators only": (8.0, 3.0)}
TIMES = {"both counted": np.arange(0.5, DAYS + 0.1, 0.5), "predators only": np.arange(1.0, DAYS + 0.1)}
NETWORK = lux.MLP(1, (3,), 1, jnp.tanh)
BUDGET = est.Budget(steps=300)
COLORS = {"wrong law": "tab:red", "network": "tab:blue", "true law": "0.4"}


def linear(prey, terms):
    return terms.predation.attack * prey


def learned(prey, terms):
    return prey * jax.nn.softplus(terms.network(jnp.log(jnp.maximum(prey, 1e-6))[None])[0])


def saturating(prey, terms):
    p = terms.predation
    return p.attack * prey / (1 + p.attack * p.handling * prey)


def pond(eaten, **layers):
    """The equation, with what one predator eats a day."""

    def field(t, y, terms):
        prey, predator = y
        taken, rates = eaten(prey, terms) * predator, terms.rates
        return jnp.stack([rates.growth * prey - taken, rates["yield"] * taken - rates.death * predator])

    rates = {"growth": 0.7, "yield": 0.5, "death": 0.7}
    declared = {name: lux.positive(value, unit=None if name == "yield" else "1/day") for name, value in rates.items()}
    rates = lux.ParameterDict(**declared, sigma=lux.positive(0.2))
    return lux.HybridODE(field, rates=rates, t1=DAYS, rtol=1e-8, atol=1e-8, **layers)


ATTACKS = lux.positive(0.5, unit="l/day")
HANDLINGS = lux.positive(0.1, unit="day")
LAWS = {
    "wrong law": pond(linear, predation=lux.ParameterDict(attack=ATTACKS)),
    "network": pond(learned, network=NETWORK),
    "true law": pond(saturating, predation=lux.ParameterDict(attack=ATTACKS, handling=HANDLINGS)),
}


def solve(node, ps, st, name, ts):
    """Prey and predators of one pond, a row each."""
    return np.asarray(node.solve(jnp.array(PONDS[name]), ps, st, ts=jnp.asarray(ts))[0].ys).T


def simulate(seed):
    """Counts of both ponds, with log-normal errors; in the second, each day's predators are counted twice."""
    node, random = LAWS["true law"], np.random.default_rng(seed)
    ps, st = lux.setup(jax.random.key(0), node)
    for name, value in TRUE.items():
        ps = ps.set(f"rates.{name}", value)
    ps = ps.set("predation.attack", ATTACK).set("predation.handling", HANDLING)
    counts = {name: solve(node, ps, st, name, TIMES[name]) for name in PONDS}

    def counted(values):
        return values * np.exp(ERROR * random.normal(size=values.shape))

    first, second = counts.values()
    observed = {
        "both counted": {"prey": counted(first[0]), "predator": counted(first[1])},
        "predators only": {"predator": counted(np.stack([second[1], second[1]]))},
    }
    return est.Data([est.Experiment(name, TIMES[name], observed[name], y0=PONDS[name]) for name in PONDS])


def penalty(ps):
    """Halves of its squares are summed: a normal prior of mean 0 and standard deviation 0.5 for every weight."""
    return jax.tree.map(lambda weight: weight / 0.5, ps.network)


def problem_of(law, data):
    return est.Problem(
        LAWS[law],
        data,
        observe={"prey": 0, "predator": 1},
        noise=est.noise.LogNormal("sigma"),
        penalties={"network": penalty} if law == "network" else None,
    )


def fit(law, data, start=None):
    if start is None:
        start, _ = lux.setup(jax.random.key(0), LAWS[law])
    return est.fit(problem_of(law, data), start, budget=BUDGET)


def intervals_of(fit):
    """95 % by standard errors, by the names of the rates."""
    found = fit.conf_interval(names=list(TRUE))
    return {name: found[f"rates.{name}"] for name in TRUE}


def profiles_of(fit):
    """95 % by profile likelihood."""
    found = fit.profile(list(TRUE), points=4)
    return {name: found.interval(name) for name in TRUE}


def compare(fits):
    """Estimates and intervals of the rates on the first data set; returns the intervals by law and method."""
    intervals = {(law, "standard errors"): intervals_of(fit) for law, fit in fits.items()}
    intervals["network", "profile"] = profiles_of(fits["network"])
    print(f"\n{'95 % intervals':29s}" + "".join(f"{name:>22s}" for name in TRUE))
    for law in fits:
        for method in ("standard errors", "profile"):
            if (law, method) in intervals:
                texts = [f"[{low:.3f}, {high:.3f}]" for low, high in intervals[law, method].values()]
                print(f"{law + ', ' + method:29s}" + "".join(f"{text:>22s}" for text in texts))
    print(f"{'truth':29s}" + "".join(f"{value:>22.3f}" for value in TRUE.values()))
    return intervals


def count_covered(fits):
    """How many of the intervals by standard errors hold the truth, on the first data set and others; nothing is compiled."""
    held = {law: dict.fromkeys(TRUE, 0) for law in fits}
    for seed in tqdm(range(DATA_SETS), desc="data sets", dynamic_ncols=True):
        data = simulate(seed)
        for law, first in fits.items():
            for name, (low, high) in intervals_of(fit(law, data, first.ps)).items():
                held[law][name] += low <= TRUE[name] <= high
    print(f"\n{f'truth held, of {DATA_SETS} data sets':29s}" + "".join(f"{name:>22s}" for name in TRUE))
    for law, counts in held.items():
        print(f"{law + ', standard errors':29s}" + "".join(f"{count:>22d}" for count in counts.values()))


def learned_law(fit, prey):
    """What one predator eats, by the network, with its standard error."""
    _, st = lux.setup(jax.random.key(0), NETWORK)

    def eaten(ps):
        return prey * jax.nn.softplus(NETWORK(jnp.log(prey)[:, None], ps.network, st)[0][:, 0])

    return fit.derived(eaten)


def draw(fits, intervals, path):
    figure = plt.figure(figsize=(13, 7.6), layout="constrained")
    above, below = figure.subfigures(2, 1)
    draw_counts(fits, above.subplots(1, 3))
    left, right = below.subfigures(1, 2, width_ratios=[1, 2])
    draw_law(fits, left.subplots())
    draw_intervals(fits, intervals, right.subplots(1, 3, sharey=True))
    figure.savefig(path, dpi=110)


def draw_counts(fits, axes):
    fine = np.linspace(0.0, DAYS, 241)
    found, wrong = fits["network"].predict(fine), fits["wrong law"]
    curves = [solve(LAWS["wrong law"], wrong.ps, wrong.st, name, fine) for name in PONDS]
    data = fits["network"].problem.data.experiments
    panels = ((0, "prey"), (0, "predator"), (1, "predator"))
    for axis, (i, name) in zip(axes, panels, strict=True):
        axis.plot(fine, curves[i][("prey", "predator").index(name)], "--", color=COLORS["wrong law"], label="wrong law")
        axis.plot(fine, found.values[name][i], color=COLORS["network"], label="network")
        for band, alpha, title in ((found.prediction, 0.15, "a count"), (found.confidence, 0.4, "the curve")):
            ends = (end[i] for end in band[name])
            axis.fill_between(fine, *ends, color=COLORS["network"], alpha=alpha, linewidth=0, label=f"{title}, 95 %")
        for row in data[i].observations[name]:
            axis.plot(data[i].ts, row, "ko", markersize=3)
        axis.set(yscale="log", xlabel="days", ylabel="per litre", xlim=(0, DAYS), title=f"{name}, pond {i + 1}")
        axis.yaxis.set_major_locator(ticker.FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10, 20]))
        axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_locator(ticker.NullLocator())
    axes[0].legend(frameon=False, fontsize=8)


def draw_law(fits, axis):
    prey = jnp.linspace(0.05, 14.0, 141)
    found = learned_law(fits["network"], prey)
    width = 1.96 * found.stderr
    axis.fill_between(prey, found.values - width, found.values + width, color=COLORS["network"], alpha=0.3, linewidth=0)
    axis.plot(prey, found.values, color=COLORS["network"], label="network, 95 %")
    axis.plot(prey, ATTACK * prey / (1 + ATTACK * HANDLING * prey), ":", color="k", label="truth")
    slope = float(fits["wrong law"].values.predation.attack)
    axis.plot(prey, slope * prey, "--", color=COLORS["wrong law"], label="wrong law")
    seen = fits["network"].problem.data.experiments[0].observations["prey"].ravel()
    axis.plot(seen, np.zeros_like(seen), "k|", markersize=8, label="prey counted")
    axis.set(xlabel="prey per litre", ylabel="eaten by one predator, per day", xlim=(0, 14), ylim=(-0.1, 4.5))
    axis.set_title("the law that was learned")
    axis.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.08))


def draw_intervals(fits, intervals, axes):
    rows = [key for law in fits for key in intervals if key[0] == law]
    for axis, name in zip(axes, TRUE, strict=True):
        known = [intervals[key][name] for key in rows if key[0] != "wrong law"]
        low, high = min(end for end, _ in known), max(end for _, end in known)
        low, high = low - 0.6 * (high - low), high + 0.6 * (high - low)
        axis.axvline(TRUE[name], color="k", linestyle=":", label="truth")
        for i, key in enumerate(rows):
            value = float(fits[key[0]].values.rates[name])
            if low < value < high:
                axis.plot(intervals[key][name], [i, i], color=COLORS[key[0]], linewidth=3, solid_capstyle="butt")
                axis.plot(value, i, "o", color=COLORS[key[0]], markeredgecolor="white")
            else:
                side, text = (
                    (0.97, f"{value:.2g} $\\rightarrow$") if value > high else (0.03, f"$\\leftarrow$ {value:.2g}")
                )
                where = {"ha": "right" if value > high else "left", "va": "center"}
                axis.text(side, i, text, color=COLORS[key[0]], transform=axis.get_yaxis_transform(), **where)
        unit = "" if name == "yield" else " (1/day)"
        axis.set(xlim=(low, high), xlabel=f"{name}{unit}", ylim=(len(rows) - 0.5, -0.5))
    axes[0].set_yticks(range(len(rows)), [",\n".join(key) for key in rows])
    axes[1].set_title("95 % intervals of the rates; dotted: the truth")


def main():
    begin = time.perf_counter()
    data, fits = simulate(0), {}
    for i, law in enumerate(LAWS):
        print(f"{i + 1}. The {law}\n" if law != "network" else f"{i + 1}. A network for the law\n")
        fits[law] = fit(law, data)
        print(f"{fits[law]}\n")
    intervals = compare(fits)
    count_covered(fits)
    draw(fits, intervals, pathlib.Path("hybrid_error_bars.png"))
    print(f"\nwrote hybrid_error_bars.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
