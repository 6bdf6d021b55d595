"""The report that a fit prints."""

import jax.numpy as jnp
import numpy as np

from ...flatten import Params
from .._bounds import Box
from .._labels import Shown, shown
from .._report import aligned, as_html, estimate_text, pairs_above
from ._box import box_of
from ._estimate import Estimate

_MOST_ROWS = 40
_SIDES = {"lower": "at lower bound", "upper": "at upper bound", "fixed": "fixed"}


def table(estimate: Estimate) -> str:
    """What one would publish: outcome, estimates, likelihood, correlations, warnings."""
    return "\n".join([_headline(estimate), "", *aligned(_rows(estimate)), "", *_below(estimate)])


def html_table(estimate: Estimate) -> str:
    """The same for a notebook."""
    return as_html(_rows(estimate), [_headline(estimate)], _below(estimate))


def _below(estimate: Estimate) -> list[str]:
    pairs = pairs_above(estimate.names, estimate.correlation) if estimate.outcome != "failed" else []
    return [*_quality(estimate), *pairs, *(f"  warning: {sentence}" for sentence in _warnings(estimate))]


def _headline(estimate: Estimate) -> str:
    what = {"converged": "converged", "stalled": "STALLED", "failed": "FAILED"}[estimate.outcome]
    return f"Fit: {what} after {estimate.num_steps} steps: {estimate.reason}"


def _rows(estimate: Estimate) -> list[tuple[str, ...]]:
    layout, box, active = estimate.point.layout, box_of(estimate.coordinates), estimate.active
    low, high = (layout.unravel(jnp.asarray(end)) for end in (box.lower, box.upper))
    rows = [("name", "estimate", "std. error", "relative", "bounds", "initial", "unit")]
    for array in shown(layout):
        value, error, initial = (
            np.asarray(tree[array.path], np.float64).reshape(-1)
            for tree in (estimate.values, estimate.stderr, estimate.initial)
        )
        unit = array.entry.unit or ""
        if array.size > 1 and array.size > _MOST_ROWS - len(rows):
            spread = f"{np.min(value):.3g} to {np.max(value):.3g}"
            rows.append(
                (f"{array.path} {list(array.shape)}", spread, f"median {np.median(error):.3g}", "", "", "", unit)
            )
            continue
        for i, label in enumerate(array.labels):
            held = "fixed" if not array.estimated else _SIDES.get(active.get(label, ""), "")
            relative = (
                "" if held or not np.isfinite(error[i]) or value[i] == 0 else f"{100 * error[i] / abs(value[i]):.2g} %"
            )
            ends = _ends(array, i, box, low, high) if array.estimated else ""
            rows.append(
                (
                    label,
                    estimate_text(value[i], error[i]),
                    held or f"{error[i]:.3g}",
                    relative,
                    ends,
                    f"{initial[i]:.4g}",
                    unit,
                )
            )
    # Columns of nothing are left out.
    keep = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    return [tuple(row[i] for i in keep) for row in rows]


def _ends(array: Shown, i: int, box: Box, low: Params, high: Params) -> str:
    if array.size != array.entry.size:
        return ""
    if not np.any(np.isfinite([float(end[array.entry.offset + i]) for end in box])):
        return ""  # whatever the map shows for minus infinity
    ends = sorted(float(np.ravel(tree[array.path])[i]) for tree in (low, high))
    return f"[{ends[0]:.4g}, {ends[1]:.4g}]"


def _quality(estimate: Estimate) -> list[str]:
    prior = f", log-prior {estimate.log_prior:.6g}" if estimate.problem.priors else ""
    penalty = f", penalty {estimate.penalty:.6g}" if estimate.problem.penalties else ""
    return [
        f"  {estimate.num_data} data, {estimate.num_parameters} parameters, {estimate.degrees_of_freedom} degrees of freedom",
        f"  log-likelihood {estimate.log_likelihood:.8g}{prior}{penalty}, chi-square {estimate.chi_square:.6g}",
        f"  AIC {estimate.aic:.6g}, AICc {estimate.aicc:.6g}, BIC {estimate.bic:.6g}",
    ]


def _warnings(estimate: Estimate) -> list[str]:
    if estimate.outcome == "failed":
        return []
    found = []
    if estimate.unidentified:
        names = ", ".join(estimate.unidentified)
        found.append(f"the data do not determine {names}: give a prior, or fix some by equal bounds")
    pressed = [name for name, side in estimate.active.items() if side != "fixed"]
    if pressed:
        found.append(
            f"at a bound: {', '.join(pressed)}; the standard errors of the others are those with this held there"
        )
    if estimate.information.kind == "expected" and np.any(estimate.sides == 0):
        found.append("standard errors are by Fisher's information: the curvature there is not that of a smooth optimum")
    if estimate.point.layout.dtype.itemsize < 8:
        found.append(
            f'computed in {estimate.point.layout.dtype}; for more digits write jax.config.update("jax_enable_x64", True) first'
        )
    return found
