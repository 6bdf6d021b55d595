"""Puromycin: how fast an enzyme is, with and without the drug, and whether the drug changes how well it binds.

The initial rate of a reaction at six concentrations of its substrate, each measured twice (Treloar 1974), follows Michaelis and Menten:

    rate = vmax concentration / (km + concentration)        counts/min/min; ppm

Each state of the enzyme is fitted alone, as with SciPy's `curve_fit`: with bounds, intervals of three kinds, and bands. Then both are one
problem of two experiments with one standard deviation, in which an override says what the drug changes: vmax and km, or vmax alone. The
efficiency vmax / km, to which the rate is proportional where substrate is scarce, follows from the parameters with an error bar of its own.

    python examples/puromycin.py            prints the tables and writes puromycin.png
"""

import pathlib
import time

import jax
import matplotlib
import numpy as np
import scipy.special

import sciml_lux as lux

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".cache"))
matplotlib.use("Agg")
import matplotlib.pyplot as plt

est = lux.estimation
HERE = pathlib.Path(__file__).parent
COLORS = {"treated": "tab:red", "untreated": "tab:blue"}
RATE, CONCENTRATION = "counts/min/min", "ppm"
METHODS = {"wald": "standard errors", "f-test": "F-test", "profile": "likelihood ratio"}


def load():
    """By state of the enzyme, concentrations (ppm) and rates (counts/min/min), a pair for each measurement."""
    table = np.genfromtxt(HERE / "data" / "puromycin.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    return {
        state: (table["concentration"][table["state"] == state], table["rate"][table["state"] == state].astype(float))
        for state in COLORS
    }


def michaelis_menten(concentration, vmax, km):
    return vmax * concentration / (km + concentration)


def fit_alone(concentrations, rates):
    """One state of the enzyme, by least squares within bounds."""
    start = {"vmax": lux.real(100.0, unit=RATE), "km": lux.real(0.1, unit=CONCENTRATION)}
    return est.curve_fit(michaelis_menten, concentrations, rates, start, bounds=([0.0, 0.0], [1000.0, 10.0]))


def intervals_of(result):
    """By method, the 95 % intervals of vmax and km."""
    return {title: result.conf_interval(method=method) for method, title in METHODS.items()}


def print_intervals(intervals):
    print("\n  95 % confidence " + "".join(f"{name:>22s}" for name in ("vmax", "km")))
    for title, ends in intervals.items():
        print(f"  {title:16s}" + "".join(f"{f'[{low:.4g}, {high:.4g}]':>22s}" for low, high in ends.values()))


class Enzyme(lux.AbstractContainer):
    """The rate at each concentration."""

    kinetics: lux.ParameterDict

    def __call__(self, concentrations, ps, st):
        return michaelis_menten(concentrations, ps.kinetics.vmax, ps.kinetics.km), st


def as_experiment(state, concentrations, rates, overrides):
    """What is measured twice is two replicates; where there is one measurement, the other is NaN, "not observed"."""
    levels = np.unique(concentrations)
    replicates = np.full((2, len(levels)), np.nan)
    for i, level in enumerate(levels):
        found = rates[concentrations == level]
        replicates[: len(found), i] = found
    return est.Experiment(state, levels, {"rate": replicates}, overrides=overrides)


def fit_both(data, changed):
    """Both states with one standard deviation; the names in `changed` have a value of their own in the untreated enzyme."""
    declared = {"vmax": lux.positive(100.0, unit=RATE), "km": lux.positive(0.1, unit=CONCENTRATION)}
    own = {f"{name}_untreated": declared[name] for name in changed}
    enzyme = Enzyme(lux.ParameterDict(**declared, **own, sigma=lux.positive(10.0, unit=RATE)))
    overrides = {"treated": None, "untreated": {name: f"{name}_untreated" for name in changed}}
    experiments = [as_experiment(state, *pair, overrides[state]) for state, pair in data.items()]
    problem = est.Problem(
        enzyme, est.Data(experiments), observe={"rate": lambda concentration, rate, ps: rate}, noise="sigma"
    )
    ps, _ = lux.setup(jax.random.key(0), enzyme)
    return est.fit(problem, ps)


def efficiencies(ps):
    """vmax / km of both states, and their ratio, from the parameters of either problem."""
    kinetics = ps.kinetics
    km = kinetics.km_untreated if "km_untreated" in kinetics else kinetics.km
    treated, untreated = kinetics.vmax / kinetics.km, kinetics.vmax_untreated / km
    return {"treated": treated, "untreated": untreated, "treated / untreated": treated / untreated}


def compare(models):
    """One line for each problem: its criterion, and the efficiencies with their standard errors."""
    print(
        f"\n{'the drug changes':18s}{'AICc':>8s}   vmax / km ({RATE}/{CONCENTRATION}), treated, untreated, and their ratio"
    )
    for title, fit in models.items():
        found = fit.derived(efficiencies)
        digits = {"treated": 0, "untreated": 0, "treated / untreated": 2}
        texts = [f"{found.values[name]:.{n}f} +- {found.stderr[name]:.{n}f}" for name, n in digits.items()]
        print(f"{title:18s}{fit.aicc:8.1f}   " + "".join(f"{text:16s}" for text in texts).rstrip())
    larger, smaller = models.values()
    ratio = 2 * (larger.log_likelihood - smaller.log_likelihood)
    print(
        f"\nlikelihood ratio of the two: {ratio:.2f}, p = {scipy.special.chdtrc(1, ratio):.2f}: the data do not "
        "show that the drug changes km"
    )


def draw(data, alone, intervals, models, path):
    """Left: data, curves and bands. Right: km by three methods, and the efficiency by both problems."""
    figure = plt.figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.3, 1])
    axis, fine = left.subplots(), np.linspace(0.0, 1.15, 231)
    for state, (concentrations, rates) in data.items():
        color, curve = COLORS[state], alone[state].predict(fine)
        axis.plot(fine, curve.values, color=color, label=f"{state}, fitted alone")
        axis.fill_between(fine, *curve.prediction, color=color, alpha=0.1, linewidth=0)
        axis.fill_between(fine, *curve.confidence, color=color, alpha=0.3, linewidth=0)
        axis.plot(concentrations, rates, "o", color=color, markersize=5, markeredgecolor="white")
    axis.fill_between([], [], color="0.3", alpha=0.4, linewidth=0, label="where the curve lies, 95 %")
    axis.fill_between([], [], color="0.3", alpha=0.15, linewidth=0, label="where a measurement lies, 95 %")
    axis.set(xlabel=f"substrate ({CONCENTRATION})", ylabel=f"initial rate ({RATE})", xlim=(0, 1.15), ylim=(0, None))
    axis.legend(frameon=False, loc="lower right")

    above, below = right.subplots(2, 1)
    rows = [(state, title, intervals[state][title]["km"]) for state in COLORS for title in METHODS.values()]
    for i, (state, _, ends) in enumerate(rows):
        above.plot(ends, [i, i], color=COLORS[state], linewidth=3, solid_capstyle="butt")
        above.plot(float(alone[state].values.km), i, "o", color=COLORS[state], markeredgecolor="white")
    above.set_yticks(range(len(rows)), [title for _, title, _ in rows])
    above.set(title="km, each state alone, 95 %", xlabel=CONCENTRATION)
    names = []
    for title, fit in models.items():
        found = fit.derived(efficiencies)
        for state, color in COLORS.items():
            i, width = len(names), 1.96 * float(found.stderr[state])
            below.errorbar(
                float(found.values[state]), i, xerr=width, fmt="o", color=color, markeredgecolor="white", elinewidth=3
            )
            names.append(f"drug changes\n{title}" if state == "treated" else "")
    below.set_yticks(np.arange(0, len(names), 2) + 0.5, names[::2])
    below.set(title="vmax / km, both together, 95 %", xlabel=f"{RATE}/{CONCENTRATION}")
    for one, count in ((above, len(rows)), (below, len(names))):
        one.set_ylim(count - 0.4, -0.6)
        one.tick_params(axis="y", length=0)
    figure.savefig(path, dpi=110)


def main():
    begin = time.perf_counter()
    data, alone, intervals = load(), {}, {}
    for i, (state, (concentrations, rates)) in enumerate(data.items()):
        print(f"{i + 1}. The {state} enzyme alone\n")
        alone[state] = fit_alone(concentrations, rates)
        intervals[state] = intervals_of(alone[state])
        print(alone[state])
        print_intervals(intervals[state])
        print()
    print("3. Both together: one standard deviation, and of its own in the untreated enzyme what the drug changes\n")
    models = {"vmax and km": fit_both(data, ("vmax", "km")), "vmax": fit_both(data, ("vmax",))}
    print(models["vmax"])
    compare(models)
    draw(data, alone, intervals, models, pathlib.Path("puromycin.png"))
    print(f"\nwrote puromycin.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
