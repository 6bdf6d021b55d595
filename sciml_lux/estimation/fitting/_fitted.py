"""`Fit`: an estimate, and what is to be said of it."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from jax.typing import ArrayLike
from jaxtyping import Array, Key, PyTree

from ...flatten import Params
from ._bootstrap import Bootstrap, bootstrap
from ._derived import Derived, derived
from ._estimate import Estimate
from ._intervals import Intervals, refitted_intervals, wald_intervals
from ._laplace import LaplaceApproximation, laplace
from ._plot import draw
from ._posterior import Posterior
from ._predict import Prediction, predict
from ._profile import Profile, profiles
from ._region import Region, region
from ._residual_tests import ResidualTests, residual_tests
from ._sample import sample
from ._save import as_dict, save
from ._spectrum import Spectrum, effective_parameters, spectrum
from ._table import html_table, table


class Fit(Estimate):
    """What `est.fit` found; `print` it for a report.

    **Attributes:** `outcome`: `"converged"`; `"stalled"`, at the best point that was found, which is not known to be an optimum; or
    `"failed"`, without any finite point; `reason`: why, in words. In the units in which parameters are shown: `values`, their standard
    errors `stderr` in the same structure (0 for a constant, infinite for what the data do not determine, NaN on a bound, where they mean
    nothing), `covariance` with a row for each of `names`, and `correlation`; `unidentified`; `active`: by name the bound on which a
    parameter lies, `"lower"`, `"upper"`, or `"fixed"`. They come from the curvature of the
    objective at the estimate (`information.kind` is `"observed"`), or, where that is none of a maximum, Fisher's information
    (`"expected"`). `ps`: the parameters as one vector, as they were declared; `st`: the state, as it was given; `initial`: where the fit
    began.

    Of what is summed: `log_likelihood`, with all constants; `log_prior`; `penalty`; `chi_square`: of the data alone, in their standard
    deviations. `num_data`: numbers that were observed; `num_parameters`: that are free, `degrees_of_freedom`: the difference; `aic`,
    `aicc`, `bic`. `num_steps`.
    """

    def derived(self, function: Callable[[Params], Any]) -> Derived:
        """Quantities that follow from the parameters, with standard errors by the delta method: `fit.derived(lambda p: {"R0": p.beta /
        p.gamma})`.

        **Arguments:** `function(values) -> number`, array, or tree of them, written with `jax.numpy`. **Returns:** `values` and `stderr` of
        the same structure.
        """
        return derived(self, function)

    def predict(self, ts: ArrayLike, level: float = 0.95) -> Prediction:
        """Every observable of every experiment at other times, with bands; see `Prediction`."""
        return predict(self, ts, level)

    def profile(self, names: str | Sequence[str] | None = None, *, level: float = 0.95, points: int = 20) -> Profile:
        """The profile likelihood: each parameter held at values to both sides of its estimate, and all others fitted anew.

        **Arguments:** `names`: of numbers that are estimated (default: all that are free); `level`: profiles go on until the likelihood has
        fallen to the end of the confidence interval of this level, or a bound; `points`: at most so many to each side.
        """
        return profiles(self, names, level, points)

    def conf_interval(
        self,
        level: float = 0.95,
        method: Literal["wald", "profile", "f-test"] = "wald",
        names: Sequence[str] | None = None,
    ) -> Intervals:
        """Confidence intervals by name, `{name: (lower, upper)}`, in the units in which parameters are shown.

        **Arguments:** `level`; `method`: `"wald"`: the estimate and so many standard errors to both sides, of the logarithm for parameters
        that are stored as one; `"profile"`: where twice the fall of the log-likelihood, all others fitted anew, is the quantile of
        chi-square with one degree of freedom: it needs no symmetry, costs fits, and is infinite where the likelihood does not fall far
        enough; `"f-test"`: for normal noise with one standard deviation that is estimated, where the sum of squares, all others fitted
        anew, has risen by the quantile of F: exact for linear models, with few data the wider.
        """
        return (
            wald_intervals(self, level, names) if method == "wald" else refitted_intervals(self, level, names, method)
        )

    def region(self, first: str, second: str, *, level: float = 0.95, points: int = 32) -> Region:
        """The region in which two parameters lie together with this confidence, by the profile likelihood: its boundary, in so many
        directions."""
        return region(self, first, second, level, points)

    def bootstrap(self, n: int, key: Key[Array, ""]) -> Bootstrap:
        """The parametric bootstrap: `n` data sets drawn from the noise around what is predicted, each fitted from here."""
        return bootstrap(self, n, key)

    def spectrum(self) -> Spectrum:
        """Which combinations of parameters the data determine, and which they do not; see `Spectrum`."""
        return spectrum(self)

    @functools.cached_property
    def effective_parameters(self) -> float:
        """How many parameters the data determine, where priors and penalties hold the others: the trace of `(I + P)^-1 I`, with `I`
        Fisher's information of the data alone and `P` the curvature of priors and penalties."""
        return effective_parameters(self)

    def residual_tests(self) -> dict[str, ResidualTests]:
        """By observable, whether the standardised residuals look like noise; see `ResidualTests`."""
        return residual_tests(self)

    def laplace(self) -> LaplaceApproximation:
        """The normal approximation of the posterior of the vector, around the estimate."""
        return laplace(self)

    def sample(
        self,
        key: Key[Array, ""],
        draws: int = 1000,
        *,
        warmup: int = 1000,
        chains: int = 4,
        target_accept: float = 0.8,
        progress: bool = False,
    ) -> Posterior:
        """Draws of the posterior, by the No-U-Turn sampler (of BlackJAX) over the vector: density and Jacobian are those of
        `problem.log_density`. A parameter without a prior has a flat density in the units in which it is shown.

        All chains are one program, compiled once for a problem and a number of chains, whatever the other arguments. They start
        scattered around the estimate, twice as wide as its normal approximation, and warm up by the schedule of Stan; step size and mass
        matrix (dense up to 100 numbers, diagonal beyond) are common to them. The gradient is taken forward up to 4 numbers, backward
        beyond. Where bounds are finite the sampler moves in a coordinate without ends, logistic between two, exponential beside one, with
        its Jacobian: it sees a smooth density, and no draw is outside. Equal bounds hold a number. Where model or prior have no finite
        density, or gradient, it is 0: the trajectory ends, is counted as divergent, and the chain goes on.

        **Arguments:** `key`: of the random numbers; `draws`: kept, of each chain; `warmup`: steps before, none of which is kept; `chains`;
        `target_accept`: the mean share to be accepted along trajectories, nearer to 1 for smaller steps; `progress`: whether a bar shows
        how many are done (needs tqdm).

        **Returns:** a `Posterior`; `print` it.

        **Errors:** `ImportError` without the extra `sampling`; `ParameterError` for numbers of draws that are none, and where nothing is
        estimated; `SolveError` where the fit failed, or no start near it has a finite density; `ValueError` for a share that is none.

        **Source:** Hoffman and Gelman, Journal of Machine Learning Research 15 (2014), 1593-1623; Betancourt, arXiv:1701.02434.
        """
        return sample(self, key, draws, warmup, chains, target_accept, progress)

    # Shown, kept

    def __repr__(self) -> str:
        return table(self)

    def _repr_html_(self) -> str:
        return html_table(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything that the report says, in plain Python: numbers, strings, lists, mappings."""
        return as_dict(self)

    def save(self, path: str | Path) -> None:
        """Writes `to_dict()` as JSON, or the table of parameters as CSV, by the ending of `path`; whole or not at all."""
        save(self, path)

    def plot(self, kind: str = "fit", **options: PyTree) -> Any:
        """A figure of matplotlib: `"fit"`, `"residuals"`, `"profiles"`, `"correlation"`, `"pairs"`, `"bands"`; see `docs/estimation.md`."""
        return draw(self, kind, **options)
