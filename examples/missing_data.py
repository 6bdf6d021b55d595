"""Missing data: what is lost with blood samples depends on which are lost.

Twelve people took one dose of theophylline by mouth, and their blood was sampled eleven times, at times of their own (R's `Theoph`):

    d gut / dt = -ka gut,    d blood / dt = ka ke / Cl gut - ke blood        mg/kg; mg/l; hours

All are one problem of twelve experiments: elimination (ke) and scatter (sigma) are shared; each person has a rate of absorption (ka), with
a weak prior, and a clearance (Cl) of their own. Then samples are taken away: at random, a quarter, a half, three quarters of each person's
(six draws, with a fixed seed); all of the first two hours; all after eight hours. They become NaN, "not observed": nothing is filled in.
They are real and were measured, so that one can count how many lie in the bands of a fit that did not see them.

    python examples/missing_data.py            prints a table and writes missing_data.png
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

est = lux.estimation
HERE = pathlib.Path(__file__).parent
GUESSED = "three quarters, sigma too"
DRAWS, LEVEL = 6, 0.95


class Absorption(lux.AbstractContainer):
    """Amount in the gut (mg/kg) and concentration in the blood (mg/l)."""

    rates: lux.ParameterDict

    def __call__(self, y, ps, st):
        gut, blood = y
        absorbed, rates = ps.rates.ka * gut, ps.rates
        return jnp.stack([-absorbed, absorbed * rates.ke / rates.Cl - rates.ke * blood]), st


def swallow(t, y, amount, ps):
    """A dose (mg/kg) goes into the gut."""
    return y.at[0].add(amount)


def load():
    """Times (h), concentrations (mg/l), doses (mg/kg), a row for each person."""
    table = np.genfromtxt(HERE / "data" / "theophylline.csv", delimiter=",", names=True)
    rows = [table[table["subject"] == subject] for subject in np.unique(table["subject"])]
    ts, measured = (np.stack([row[name] for row in rows]) for name in ("time", "concentration"))
    return ts, measured, np.array([row["dose"][0] for row in rows])


def equation(people):
    """The first person's `ka` and `Cl` are those of the equation; those of the others have names of their own."""
    ka, clearance = lux.positive(1.5, unit="1/h"), lux.positive(0.04, unit="l/(h kg)")
    own = {f"{name}_{i}": one for i in range(2, people + 1) for name, one in (("ka", ka), ("Cl", clearance))}
    rates = lux.ParameterDict(
        ke=lux.positive(0.09, unit="1/h"), sigma=lux.positive(1.0, unit="mg/l"), ka=ka, Cl=clearance, **own
    )
    return lux.JumpODE(Absorption(rates), dose=swallow, t1=25.0, rtol=1e-7, atol=1e-7)


def problem_of(node, ts, measured, doses, sigma=None):
    """`measured`: NaN where nothing was observed; `sigma`: the scatter (mg/l), if it is known: equal bounds fix a parameter."""
    experiments = [
        est.Experiment(
            f"person {i}",
            ts[i - 1],
            {"blood": measured[i - 1]},
            y0=[0.0, 0.0],
            doses=([0.0], [doses[i - 1]]),
            overrides={name: f"{name}_{i}" for name in ("ka", "Cl")} if i > 1 else None,
        )
        for i in range(1, len(ts) + 1)
    ]
    absorptions = ["ka", *(f"ka_{i}" for i in range(2, len(ts) + 1))]
    priors = dict.fromkeys(absorptions, est.priors.LogNormal(float(np.log(1.5)), 1.0))
    bounds = {"sigma": (0.01, 10.0) if sigma is None else (sigma, sigma)}
    return est.Problem(node, est.Data(experiments), observe={"blood": 1}, noise="sigma", priors=priors, bounds=bounds)


def losses(ts):
    """By what is lost, masks of the samples that are; several for what is drawn at random."""
    random = np.random.default_rng(1)

    def drawn(share):
        """So much of each person's samples, all equally likely."""
        return np.stack([random.permutation(row.size) < round(share * row.size) for row in ts])

    quarter, half, most = ([drawn(share) for _ in range(DRAWS)] for share in (0.25, 0.5, 0.75))
    return {
        "nothing": [np.zeros(ts.shape, bool)],
        "a quarter": quarter,
        "half": half,
        "three quarters": most,
        "the first 2 hours": [ts <= 2.0],
        "all after 8 hours": [ts > 8.0],
        GUESSED: most,
    }


def fit_all(node, data, masks):
    """All samples; then what is left by each mask, with the scatter that all show; by name. Only the first fit compiles: data and bounds
    change, shapes do not."""
    ts, measured, doses = data
    ps, _ = lux.setup(jax.random.key(0), node)
    everything = est.fit(problem_of(node, ts, measured, doses), ps)
    # The maximum of the likelihood takes the scatter for smaller than it is, as if all 26 numbers were free of charge.
    sigma = float(everything.ps["model.rates.sigma"]) * np.sqrt(everything.num_data / everything.degrees_of_freedom)
    fits = {}
    with tqdm(total=sum(map(len, masks.values())), desc="fits", unit="fit", dynamic_ncols=True) as bar:
        for name, lost in masks.items():
            fits[name] = []
            for mask in lost:
                known = None if name == GUESSED else sigma
                problem = problem_of(node, ts, np.where(mask, np.nan, measured), doses, known)
                fits[name].append(est.fit(problem, everything.ps))
                bar.update()
    return everything, fits


def relative_errors(fit, name):
    """Standard errors of a parameter of everybody, as shares of the estimates."""
    rates, errors = fit.values.model.rates, fit.stderr.model.rates
    return np.array([float(errors[one]) / float(rates[one]) for one in rates if one.split("_")[0] == name])


def times_of(data):
    """The times of all samples, and enough between them for a curve."""
    return np.union1d(data[0], np.linspace(0.0, 25.0, 101))


def count_covered(fit, data, mask):
    """How many of the samples that are lost lie in the band for a new measurement."""
    ts, measured, _ = data
    fine = times_of(data)
    at = np.searchsorted(fine, ts)
    low, high = (np.take_along_axis(end, at, axis=1) for end in fit.predict(fine, LEVEL).prediction["blood"])
    return int(np.sum(((low <= measured) & (measured <= high))[mask]))


def compare(fits, masks, data):
    """One line for each loss, medians over draws and people."""
    print(f"\n{'':35s}{'standard error (median)':>30s}{'sigma':>10s}{'lost samples':>20s}")
    print(f"{'lost':27s}{'samples':>8s}{'ke':>10s}{'ka':>10s}{'Cl':>10s}{'mg/l':>10s}{'in 95 % bands':>20s}")
    for name, found in fits.items():
        errors = [np.median([np.median(relative_errors(fit, one)) for fit in found]) for one in ("ke", "ka", "Cl")]
        sigma = np.median([float(fit.ps["model.rates.sigma"]) for fit in found])
        lost = sum(int(mask.sum()) for mask in masks[name])
        covered = sum(count_covered(fit, data, mask) for fit, mask in zip(found, masks[name], strict=True))
        text = f"{covered} of {lost}, {100 * covered / lost:3.0f} %" if lost else ""
        columns = "".join(f"{f'{100 * one:.1f} %':>10s}" for one in errors)
        print(f"{name:27s}{found[0].num_data:8d}{columns}{sigma:10.2f}{text:>20s}".rstrip())
    print(
        "\nThe first hours hold what is known of ka, the last ones what is known of ke. Sigma is that of all samples, but in the last line:"
        "\nwith nearly as many parameters as samples the likelihood takes it for half of what it is, and the errors with it."
    )


def draw(fits, masks, data, path):
    """Everybody, with bands of confidence from all samples and from half of them, and the lost samples."""
    ts, measured, doses = data
    figure, axes = plt.subplots(3, 4, figsize=(13, 8), sharex=True, sharey=True, layout="constrained")
    fine = times_of(data)
    full, half, mask = fits["nothing"][0], fits["half"][0], masks["half"][0]
    everything, part = (fit.predict(fine, LEVEL) for fit in (full, half))
    for i, axis in enumerate(axes.flat):
        for predicted, color, title in ((everything, "0.45", "all samples"), (part, "tab:blue", "half of them")):
            low, high = (end[i] for end in predicted.confidence["blood"])
            axis.fill_between(fine, low, high, color=color, alpha=0.35, linewidth=0, label=f"{title}: the curve, 95 %")
            axis.plot(fine, predicted.values["blood"][i], color=color, linewidth=1.2)
        low, high = (end[i] for end in part.prediction["blood"])
        axis.fill_between(fine, low, high, color="tab:blue", alpha=0.1, linewidth=0, label="half: a new sample, 95 %")
        kept = ~mask[i]
        axis.plot(ts[i][kept], measured[i][kept], "ko", markersize=4, label="kept")
        axis.plot(ts[i][~kept], measured[i][~kept], "o", color="tab:red", fillstyle="none", markersize=5, label="lost")
        axis.set_title(f"person {i + 1}, {doses[i]:g} mg/kg, {kept.sum()} of {kept.size} samples", fontsize=9)
    axes[0, 0].set(xlim=(-0.5, 25), ylim=(-2, 14))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
    figure.supxlabel("hours after the dose")
    figure.supylabel("theophylline in the blood (mg/l)")
    figure.savefig(path, dpi=110)


def main():
    begin = time.perf_counter()
    data = load()
    masks = losses(data[0])
    everything, fits = fit_all(equation(len(data[0])), data, masks)
    print(f"\nAll samples, sigma estimated\n\n{everything}")
    compare(fits, masks, data)
    draw(fits, masks, data, pathlib.Path("missing_data.png"))
    print(f"\nwrote missing_data.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
