"""Whether what a model leaves unexplained looks like noise."""

from typing import NamedTuple

import numpy as np
import scipy.stats

from ._estimate import Estimate
from ._plot import standardised


class ResidualTests(NamedTuple):
    """Of the standardised residuals of one observable, in the order of time, p-values of the hypothesis that they are noise of its kind
    (NaN for fewer than eight): `normality`: that they are normal (Shapiro and Wilk); `runs`: that signs follow one another at random (Wald
    and Wolfowitz): few runs are a trend that the model misses; `size`: that their squares sum to what their number lets expect
    (chi-square, both tails), of use where standard deviations are known. `durbin_watson`: 2 for none, towards 0 for positive
    autocorrelation."""

    normality: float
    runs: float
    size: float
    durbin_watson: float


def residual_tests(estimate: Estimate) -> dict[str, ResidualTests]:
    """By observable."""
    found = {}
    for name, ts, numbers in standardised(estimate):
        ordered = numbers[np.argsort(ts, kind="stable")]
        found[name] = _tests(np.asarray(ordered, np.float64))
    return found


def _tests(numbers: np.ndarray) -> ResidualTests:
    squares = float(np.sum(numbers**2))
    watson = float(np.sum(np.diff(numbers) ** 2) / squares) if squares > 0 else float("nan")
    if len(numbers) < 8 or squares == 0:
        return ResidualTests(float("nan"), float("nan"), float("nan"), watson)
    below = scipy.stats.chi2.cdf(squares, len(numbers))
    normality = float(scipy.stats.shapiro(numbers).pvalue)
    return ResidualTests(normality, _runs(numbers > 0), float(2 * min(below, 1 - below)), watson)


def _runs(positive: np.ndarray) -> float:
    """The two-sided p-value of the number of runs, by its normal approximation."""
    above, below = int(np.sum(positive)), int(np.sum(~positive))
    if not (above and below):
        return 0.5 ** (len(positive) - 1)
    total = above + below
    mean = 1 + 2 * above * below / total
    variance = (mean - 1) * (mean - 2) / (total - 1)
    runs = 1 + int(np.sum(positive[1:] != positive[:-1]))
    return float(2 * scipy.stats.norm.sf(abs(runs - mean) / np.sqrt(variance))) if variance > 0 else 1.0
