"""The report that a least-squares result (`LeastSquaresResult`, which is built on this module) prints."""

import html
from typing import Any

import numpy as np
import optimistix as optx

from ._labels import Shown, shown

_MOST_ROWS = 40  # a longer table shows one line for each array
_MOST_PAIRS = 10
_CORRELATED = 0.9


def report(result: Any) -> str:
    """The table of estimates, the quality of the fit, correlations, warnings."""
    return "\n".join([_headline(result), "", *aligned(_table(result)), "", *_below(result)])


def _headline(result: Any) -> str:
    if result.successful:
        return f"Least squares: converged in {result.num_steps} steps"
    if result.outcome == "stalled":
        return (
            f"Least squares: STALLED after {result.num_steps} steps, at a point that is not known to be a minimum. "
            f"{optx.RESULTS[result.result]}".rstrip()
        )
    return f"Least squares: FAILED after {result.num_steps} steps. {optx.RESULTS[result.result]}".rstrip()


def html_report(result: Any) -> str:
    """The report for a notebook."""
    return as_html(_table(result), [_headline(result)], _below(result))


def _below(result: Any) -> list[str]:
    return [*_quality(result), *pairs_above(result.names, result.correlation), *_notes(result)]


def _table(result: Any) -> list[tuple[str, ...]]:
    arrays = list(shown(result.ps.layout))
    in_full = sum(array.size for array in arrays) <= _MOST_ROWS
    rows = [("name", "estimate", "std. error", "relative", "unit")]
    for array in arrays:
        value = np.asarray(result.values[array.path], np.float64).reshape(-1)
        error = np.asarray(result.stderr[array.path], np.float64).reshape(-1)
        rows += (
            _rows(array, value, error, result.active) if in_full or array.size == 1 else [_summary(array, value, error)]
        )
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    return rows


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """A table: numbers to the right, names and units to the left; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = {i for i, word in enumerate(rows[0]) if word in ("name", "unit", "direction")}
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def as_html(rows: list[tuple[str, ...]], before: list[str], after: list[str]) -> str:
    """The table of `aligned` for a notebook, between lines of text."""
    left = {i for i, word in enumerate(rows[0]) if word in ("name", "unit", "direction")}

    def line(row: tuple[str, ...], tag: str) -> str:
        cells = [
            f'<{tag} style="text-align:{"left" if i in left else "right"}">{html.escape(cell)}</{tag}>'
            for i, cell in enumerate(row)
        ]
        return f"<tr>{''.join(cells)}</tr>"

    def text(lines: list[str]) -> str:
        return f"<pre>{html.escape(chr(10).join(lines))}</pre>" if lines else ""

    body = "".join([line(rows[0], "th"), *(line(row, "td") for row in rows[1:])])
    return f"{text(before)}<table>{body}</table>{text(after)}"


def _rows(array: Shown, value: np.ndarray, error: np.ndarray, active: dict[str, str]) -> list[tuple[str, ...]]:
    unit = array.entry.unit or ""
    said = {"lower": "at lower bound", "upper": "at upper bound", "fixed": "fixed"}

    def deviation(label: str, error: float) -> str:
        return "fixed" if not array.estimated else said[active[label]] if label in active else f"{error:.3g}"

    return [
        (label, estimate_text(v, e), deviation(label, e), "" if label in active else _relative(v, e, array), unit)
        for label, v, e in zip(array.labels, value, error, strict=True)
    ]


def estimate_text(value: float, error: float) -> str:
    """As many digits as the standard error makes worth printing, three more than it leaves certain."""
    if not (np.isfinite(value) and np.isfinite(error) and error > 0 and value != 0):
        return f"{value:.8g}"
    digits = int(np.clip(np.ceil(np.log10(abs(value) / error)) + 3, 4, 12))
    return f"{value:.{digits}g}"


def _relative(value: float, error: float, array: Shown) -> str:
    if not array.estimated or not np.isfinite(error) or value == 0:
        return ""
    return f"{100 * error / abs(value):.2g} %"


def _summary(array: Shown, value: np.ndarray, error: np.ndarray) -> tuple[str, ...]:
    if not array.size:
        return (f"{array.path} {list(array.shape)}", "", "", "", array.entry.unit or "")
    span = f"{value.min():.3g} to {value.max():.3g}"
    errors = f"median {np.median(error):.3g}" if array.estimated else "fixed"
    return (f"{array.path} {list(array.shape)}", span, errors, "", array.entry.unit or "")


def _quality(result: Any) -> list[str]:
    estimated = result.num_data - result.degrees_of_freedom
    deviation = "" if np.isnan(result.residual_std) else f"residual standard deviation {result.residual_std:.6g}, "
    lines = [f"  {result.num_data} data, {estimated} parameters, {result.degrees_of_freedom} degrees of freedom"]
    if result.loss != "linear":
        minimised = f"{result.loss} loss with f_scale={result.f_scale:.6g}: cost {result.cost:.6g}"
        return [*lines, f"  {minimised}, {deviation}sum of squares {result.chi_square:.6g}"]
    return [
        *lines,
        f"  {deviation}sum of squares {result.chi_square:.6g}",
        f"  AIC {result.aic:.6g}, BIC {result.bic:.6g}",
    ]


def pairs_above(names: tuple[str, ...], correlation: np.ndarray) -> list[str]:
    """The pairs of estimates that are strongly correlated, the strongest first."""
    # Thousands of weights have millions of pairs, of which nobody wants a list.
    correlation = np.triu(np.nan_to_num(correlation), k=1) if len(names) <= 500 else np.zeros((0, 0))
    pairs = np.argwhere(np.abs(correlation) > _CORRELATED)
    if not len(pairs):
        return []
    order = np.argsort([-abs(correlation[i, j]) for i, j in pairs])
    lines = [f"    {names[i]}, {names[j]}: {correlation[i, j]:+.4f}" for i, j in pairs[order][:_MOST_PAIRS]]
    more = [f"    and {len(pairs) - _MOST_PAIRS} more"] if len(pairs) > _MOST_PAIRS else []
    return [f"  correlations above {_CORRELATED}:", *lines, *more]


def _notes(result: Any) -> list[str]:
    return [f"  warning: {sentence}" for sentence in result.warnings]
