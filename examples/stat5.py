"""STAT5 in cells that were given a hormone: forty starts, a waterfall, profiles, bands.

A published model of eight states (Boehm et al. 2014): STAT5A and STAT5B are phosphorylated, pair up in three ways, go into the nucleus and
come back. Six rates over ten decades and the three standard deviations of the measurements are estimated, from many starts, since most
lead elsewhere. One rate ends on its lower bound, another one cannot be told from infinity: the profile likelihood says so.

    python examples/stat5.py [starts]          prints the tables and writes stat5.png
"""

import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import sciml_lux as lux

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".cache"))
matplotlib.use("Agg")
import matplotlib.pyplot as plt

est = lux.estimation
HERE = pathlib.Path(__file__).parent
RATES = ("Epo_degradation", "k_exp_hetero", "k_exp_homo", "k_imp_hetero", "k_imp_homo", "k_phos")
OBSERVED = ("pSTAT5A_rel", "pSTAT5B_rel", "rSTAT5A_rel")
SHARE_A, SPECIFICITY, CYTOPLASM, NUCLEUS = 0.693, 0.107, 1.4, 0.45
PUBLISHED = -138.22200  # the log-likelihood at the optimum that the benchmark collection holds


class Dimerisation(lux.AbstractContainer):
    """a, b: the two monomers; aa, ab, bb: their dimers in the cytoplasm, and in the nucleus."""

    rates: lux.ParameterDict

    def __call__(self, inputs, ps, st):
        t, (a, b, ab, aa, bb, nuclear_aa, nuclear_ab, nuclear_bb) = inputs
        p = ps.rates
        hormone = 1.25e-7 * jnp.exp(-p.Epo_degradation * t)
        pair_aa, pair_ab, pair_bb = (hormone * p.k_phos * product for product in (a * a, a * b, b * b))
        in_aa, in_ab, in_bb = p.k_imp_homo * aa, p.k_imp_hetero * ab, p.k_imp_homo * bb
        out_aa, out_ab, out_bb = p.k_exp_homo * nuclear_aa, p.k_exp_hetero * nuclear_ab, p.k_exp_homo * nuclear_bb
        back, forth = NUCLEUS / CYTOPLASM, CYTOPLASM / NUCLEUS
        monomers = [
            back * (2 * out_aa + out_ab) - 2 * pair_aa - pair_ab,
            back * (out_ab + 2 * out_bb) - pair_ab - 2 * pair_bb,
        ]
        dimers = [pair_ab - in_ab, pair_aa - in_aa, pair_bb - in_bb]
        return jnp.stack(
            [*monomers, *dimers, forth * in_aa - out_aa, forth * in_ab - out_ab, forth * in_bb - out_bb]
        ), st


def observe(t, y, ps):
    """Per cent: of STAT5A and of STAT5B that is phosphorylated, and of what is, STAT5A."""
    a, b, ab, aa, bb = y[:5]
    of_a, of_b = (a + 2 * aa) * SPECIFICITY, (b + 2 * bb) * (1 - SPECIFICITY)
    return {
        "pSTAT5A_rel": 100 * (ab + 2 * aa * SPECIFICITY) / (ab + of_a),
        "pSTAT5B_rel": 100 * (ab + 2 * bb * (1 - SPECIFICITY)) / (ab + of_b),
        "rSTAT5A_rel": 100 * (ab + of_a) / (2 * ab + of_a + of_b),
    }


def load():
    table = np.genfromtxt(HERE / "data" / "stat5.tsv", names=True, dtype=None, encoding="utf-8")
    values = {name: table["measurement"][table["observableId"] == name] for name in OBSERVED}
    y0 = [207.6 * SHARE_A, 207.6 * (1 - SHARE_A), 0, 0, 0, 0, 0, 0]
    return est.Data([est.Experiment("Epo", np.unique(table["time"]), values, y0=y0)])


def main():
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    deviations = [f"sd_{name}" for name in OBSERVED]
    rates = lux.ParameterDict(**{name: lux.positive(1.0) for name in (*RATES, *deviations)})
    node = lux.NeuralODE(Dimerisation(rates), t1=240.0, time=True, stiff=True, rtol=1e-8, atol=1e-8, max_steps=2000)
    problem = est.Problem(
        node,
        load(),
        observe=observe,
        noise=dict(zip(OBSERVED, deviations, strict=True)),
        bounds=dict.fromkeys((*RATES, *deviations), (1e-5, 1e5)),
    )
    began = time.perf_counter()
    many = est.multistart(
        problem,
        est.sample_starts(jax.random.key(1), problem, starts),
        budget=est.Budget(steps=150),
        progress=True,
    )
    print(
        f"\n{many}\n\n{time.perf_counter() - began:.0f} s, compilation included; published: objective {-PUBLISHED:.6f}\n"
    )
    best = many.best
    print(best)
    ratio = best.derived(lambda p: p.model.rates.k_imp_hetero / p.model.rates.k_exp_homo)
    print(f"\nimport of mixed dimers over export of equal ones: {ratio.values:.3g} +- {ratio.stderr:.2g}")
    profile = best.profile(["Epo_degradation", "k_imp_homo"], points=12)
    for name in ("Epo_degradation", "k_imp_homo"):
        low, high = profile.interval(name)
        print(f"{name}: 95 % by profile likelihood [{low:.4g}, {high:.4g}]")
    draw(many, profile, HERE / "stat5.png")


def draw(many, profile, path):
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.4), layout="constrained")
    best, data = many.best, many.best.problem.data.experiments[0]
    predicted = best.predict(np.linspace(0.0, 240.0, 121))
    for axis, name in zip(axes[0], OBSERVED, strict=True):
        axis.plot(predicted.ts, predicted.values[name][0], color="tab:blue")
        for band, alpha in ((predicted.prediction, 0.12), (predicted.confidence, 0.3)):
            axis.fill_between(predicted.ts, *(end[0] for end in band[name]), color="tab:blue", alpha=alpha, linewidth=0)
        axis.plot(data.ts, data.observations[name][0], "ko", markersize=4)
        axis.set(xlabel="minutes", ylabel="per cent", title=name)
    above = np.array([one.objective for one in many.ordered]) - best.objective
    axes[1, 0].plot(np.arange(1, len(above) + 1), 1 + above, "o", markersize=4)
    axes[1, 0].set(
        yscale="log", xlabel="start, sorted", ylabel="1 + objective above the best", title=f"{len(above)} starts"
    )
    for axis, name in zip(axes[1, 1:], ("Epo_degradation", "k_imp_homo"), strict=True):
        line = profile[name]
        axis.plot(line.values, line.drop, "o-", markersize=4)
        axis.axhline(1.92, color="0.6", linewidth=1)
        axis.set(
            xscale="log",
            ylim=(-0.1, 2.6),
            xlabel=name,
            ylabel="fall of the log-likelihood",
            title="profile; 95 % below the line",
        )
    figure.savefig(path, dpi=130)
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
