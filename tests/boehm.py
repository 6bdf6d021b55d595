"""STAT5 dimerisation (Boehm et al. 2014), as PEtab poses it: 8 states, 9 parameters, standard deviations among them."""

import pathlib

import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

OBSERVABLES = ("pSTAT5A_rel", "pSTAT5B_rel", "rSTAT5A_rel")
# The published optimum.
NOMINAL = {
    "Epo_degradation": 0.026982514033029,
    "k_exp_hetero": 1.00067973851508e-05,
    "k_exp_homo": 0.006170228086381,
    "k_imp_hetero": 0.0163679184468,
    "k_imp_homo": 97749.3794024716,
    "k_phos": 15766.5070195731,
    "sd_pSTAT5A_rel": 3.85261197844677,
    "sd_pSTAT5B_rel": 6.59147818673419,
    "sd_rSTAT5A_rel": 3.15271275648527,
}
LOG_LIKELIHOOD = -138.22199693517703
RATIO, SPEC, CYTOPLASM, NUCLEUS = 0.693, 0.107, 1.4, 0.45


class Dimerisation(lux.AbstractContainer):
    """Mass action: phosphorylation into three dimers, their import into the nucleus, and their export as monomers."""

    rates: lux.ParameterDict

    def __call__(self, inputs, ps, st):
        t, y = inputs
        p = ps.rates
        a, b, ab, aa, bb, nuclear_aa, nuclear_ab, nuclear_bb = y
        phosphorylation = 1.25e-7 * jnp.exp(-p.Epo_degradation * t) * p.k_phos
        to_aa, to_ab, to_bb = phosphorylation * a**2, phosphorylation * a * b, phosphorylation * b**2
        in_aa, in_ab, in_bb = p.k_imp_homo * aa, p.k_imp_hetero * ab, p.k_imp_homo * bb
        out_aa, out_ab, out_bb = p.k_exp_homo * nuclear_aa, p.k_exp_hetero * nuclear_ab, p.k_exp_homo * nuclear_bb
        share, back = CYTOPLASM / NUCLEUS, NUCLEUS / CYTOPLASM
        rates = [
            back * (2 * out_aa + out_ab) - 2 * to_aa - to_ab,
            back * (out_ab + 2 * out_bb) - to_ab - 2 * to_bb,
            to_ab - in_ab,
            to_aa - in_aa,
            to_bb - in_bb,
            share * in_aa - out_aa,
            share * in_ab - out_ab,
            share * in_bb - out_bb,
        ]
        return jnp.stack(rates), st


def observe(t, y, ps):
    a, b, ab, aa, bb = y[:5]
    of_a, of_b = a * SPEC + 2 * aa * SPEC, (b + 2 * bb) * (1 - SPEC)
    return {
        "pSTAT5A_rel": 100 * (ab + 2 * aa * SPEC) / (ab + of_a),
        "pSTAT5B_rel": 100 * (ab + 2 * bb * (1 - SPEC)) / (ab + of_b),
        "rSTAT5A_rel": 100 * (ab + of_a) / (2 * ab + of_a + of_b),
    }


def problem_of(tolerance):
    """The problem, solved to this tolerance."""
    table = np.genfromtxt(
        pathlib.Path(__file__).parent / "data/boehm/measurements.tsv", names=True, dtype=None, encoding="utf-8"
    )
    ts = np.unique(table["time"])
    observations = {name: table["measurement"][table["observableId"] == name] for name in OBSERVABLES}
    rates = lux.ParameterDict(**{name: lux.positive(value) for name, value in NOMINAL.items()})
    node = lux.NeuralODE(
        Dimerisation(rates), t1=240.0, time=True, stiff=True, rtol=tolerance, atol=tolerance, max_steps=2000
    )
    y0 = [207.6 * RATIO, 207.6 * (1 - RATIO), 0, 0, 0, 0, 0, 0]
    est = lux.estimation
    return est.Problem(
        node,
        est.Data([est.Experiment("Epo", ts, observations, y0=y0)]),
        observe=observe,
        noise={name: f"sd_{name}" for name in OBSERVABLES},
        bounds=dict.fromkeys(NOMINAL, (1e-5, 1e5)),
    )
