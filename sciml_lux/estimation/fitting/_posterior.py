"""`Posterior`: what chains drew, and whether it is to be believed."""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...flatten import FlatParams, Layout, Params
from .._evaluate import estimated_values
from .._labels import estimated_names, shown
from .._report import aligned, estimate_text
from ._estimate import Estimate
from ._nuts import Drawn
from ._plot import figure_of

# As Stan advises (Vehtari et al. 2021): chains agree below this, and so many effective draws a chain make quantiles.
_AGREE, _ENOUGH = 1.01, 100
_MOST_ROWS = 40
_MOST_PAIRS = 8


@dataclass(frozen=True, eq=False, repr=False)
class Posterior:
    """Draws of a posterior; `print` it for a table.

    **Source** of R-hat and effective sample sizes: Vehtari, Gelman, Simpson, Carpenter and Bürkner, Bayesian Analysis 16 (2021), 667-718.

    **Attributes:** `estimate`: the fit that it was drawn from; `vectors`: the draws as vectors in the coordinates of its search; `drawn`:
    what the sampler did at each; `step_size`: of all chains.
    """

    estimate: Estimate
    vectors: Float[np.ndarray, "chains draws size"]
    drawn: Drawn
    step_size: float

    @property
    def num_chains(self) -> int:
        """How many chains there are."""
        return self.vectors.shape[0]

    @property
    def num_draws(self) -> int:
        """Of each chain."""
        return self.vectors.shape[1]

    # The draws

    @functools.cached_property
    def values(self) -> Params:
        """The draws in the structure of the parameters and the units in which they are shown, with two axes in front: chains, draws."""
        return FlatParams(jnp.asarray(self.vectors), self.estimate.point.layout).params

    @functools.cached_property
    def ps(self) -> FlatParams:
        """The draws as a batch of parameters, as they were declared: vectors `(chains, draws, size)`."""
        return self.estimate.coordinates.declared(jnp.asarray(self.vectors))

    @property
    def names(self) -> tuple[str, ...]:
        """Of every number that was sampled."""
        return tuple(self.draws)

    @functools.cached_property
    def draws(self) -> dict[str, Float[np.ndarray, "chains draws"]]:
        """By name, in the units in which parameters are shown."""
        layout, fixed = self.estimate.point.layout, self._fixed
        every = np.asarray(_shown(layout, jnp.asarray(self.vectors)), np.float64)
        names = estimated_names(layout)
        return {name: every[..., i] for i, name in enumerate(names) if name not in fixed}

    @property
    def _fixed(self) -> set[str]:
        return {name for name, side in self.estimate.active.items() if side == "fixed"}

    @property
    def mean(self) -> Params:
        """Over all draws, in the structure of the parameters."""
        return self._over(lambda draws: np.mean(draws, axis=0))

    @property
    def sd(self) -> Params:
        """The standard deviations, as `mean`; 0 for constants."""
        return self._over(lambda draws: np.std(draws, axis=0, ddof=1))

    def quantile(self, q: float) -> Params:
        """The number below which this share of the draws lies, of each parameter. **Errors:** `ValueError` unless it is between 0 and 1."""
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is of a share between 0 and 1, got {q!r}")
        return self._over(lambda draws: np.quantile(draws, q, axis=0))

    def _over(self, summary: Callable[[np.ndarray], np.ndarray]) -> Params:
        """A summary over all draws of all chains, in float64."""

        def one(leaf: Float[Array, "..."]) -> Float[Array, "..."]:
            draws = np.asarray(leaf, np.float64).reshape(-1, *leaf.shape[2:])
            return jnp.asarray(summary(draws), leaf.dtype)

        return jax.tree.map(one, self.values)

    # Whether they are to be believed

    @functools.cached_property
    def r_hat(self) -> dict[str, float]:
        """By name, how much chains disagree, rank-normalised and split: 1 is not at all. Of one chain, how much its halves do."""
        rhat, half = arviz().rhat, self.num_draws // 2
        return self._diagnosed(
            lambda draws: rhat(draws if self.num_chains > 1 else draws[0, : 2 * half].reshape(2, half))
        )

    @functools.cached_property
    def ess_bulk(self) -> dict[str, float]:
        """By name, how many independent draws would give mean and median as surely."""
        return self._diagnosed(functools.partial(arviz().ess, method="bulk"))

    @functools.cached_property
    def ess_tail(self) -> dict[str, float]:
        """By name, how many independent draws would give the 5 % and the 95 % quantile as surely, the less sure of the two."""
        return self._diagnosed(functools.partial(arviz().ess, method="tail", prob=(0.05, 0.95)))

    def _diagnosed(self, diagnostic: Callable[[np.ndarray], Any]) -> dict[str, float]:
        return {name: float(diagnostic(draws)) for name, draws in self.draws.items()}

    @property
    def divergences(self) -> int:
        """How many trajectories met a curvature that their steps were too long for, or a wall of the density."""
        return int(np.sum(self.drawn.diverging))

    @property
    def acceptance(self) -> float:
        """The mean share that was accepted along trajectories."""
        return float(np.mean(self.drawn.acceptance))

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the draws, in sentences."""
        found = []
        apart = [name for name, r_hat in self.r_hat.items() if not r_hat <= _AGREE]
        if apart:
            found.append(
                f"the chains do not agree on {_listed(apart)} (R-hat above {_AGREE}): draw more, or start anew"
            )
        few = [name for name in self.names if not min(self.ess_bulk[name], self.ess_tail[name]) >= self._enough]
        if few:
            found.append(f"fewer than {self._enough} effective draws of {_listed(few)}: draw more")
        if self.divergences:
            found.append(
                f"{self.divergences} of {self.num_chains * self.num_draws} trajectories diverged: part of the posterior may be left out; a "
                "larger target_accept makes smaller steps"
            )
        return found

    @property
    def _enough(self) -> int:
        return _ENOUGH * self.num_chains

    # Shown, handed on

    def __repr__(self) -> str:
        head = ("name", "mean", "sd", "5 %", "50 %", "95 %", "ESS bulk", "ESS tail", "R-hat")
        rows = [head, *(self._row(name) for name in self.names[:_MOST_ROWS])]
        more = len(self.names) - _MOST_ROWS
        return "\n".join(
            [
                f"Posterior: {self.num_chains} chains of {self.num_draws} draws, {self.divergences} divergences, acceptance "
                f"{self.acceptance:.2f}",
                "",
                *aligned(rows),
                *([f"  and {more} more"] if more > 0 else []),
                *(f"  warning: {sentence}" for sentence in self.warnings),
            ]
        )

    def _row(self, name: str) -> tuple[str, ...]:
        draws = self.draws[name]
        sd = float(np.std(draws, ddof=1))
        numbers = (float(np.mean(draws)), *np.quantile(draws, [0.05, 0.5, 0.95]).tolist())
        mean, *quantiles = (estimate_text(number, sd) for number in numbers)
        sizes = (f"{self.ess_bulk[name]:.0f}", f"{self.ess_tail[name]:.0f}")
        return (name, mean, f"{sd:.3g}", *quantiles, *sizes, f"{self.r_hat[name]:.3f}")

    def to_arviz(self) -> Any:
        """ArviZ's own object (an `InferenceData`, from ArviZ 1.0 on a `DataTree`) with the groups `posterior`, in which parameters have
        their paths for names, and `sample_stats`: `diverging`, `acceptance_rate`, `n_steps`, `energy`, `lp`."""
        library = arviz()
        posterior = {
            array.path: np.asarray(self.values[array.path])
            for array in shown(self.estimate.point.layout)
            if array.estimated and not self._fixed.issuperset(array.labels)
        }
        stats = {
            "diverging": np.asarray(self.drawn.diverging, bool),
            "acceptance_rate": self.drawn.acceptance,
            "n_steps": self.drawn.num_steps,
            "energy": self.drawn.energy,
            "lp": self.drawn.log_density,
        }
        if int(library.__version__.partition(".")[0]) < 1:
            return library.from_dict(posterior=posterior, sample_stats=stats)
        return library.from_dict({"posterior": posterior, "sample_stats": stats})

    def plot(self, kind: Literal["pairs", "trace"] = "pairs") -> Any:
        """A figure of matplotlib: `"pairs"`, every two of the first eight numbers and each by itself, divergences in orange; `"trace"`,
        the chains one over the other. ArviZ draws more of `to_arviz()`."""
        if kind == "pairs":
            return _pairs(self)
        if kind == "trace":
            return _trace(self)
        raise ValueError(f'a posterior is drawn as "pairs" or "trace", got {kind!r}')


def arviz() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of its next version
        import arviz

    return arviz


@eqx.filter_jit
def _shown(layout: Layout, vectors: Float[Array, "chains draws size"]) -> Float[Array, "chains draws names"]:
    return jax.vmap(jax.vmap(lambda vector: estimated_values(layout, vector)))(vectors)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _pairs(posterior: Posterior) -> Any:
    names, diverging = posterior.names[:_MOST_PAIRS], np.asarray(posterior.drawn.diverging, bool)
    figure, axes = figure_of(len(names), len(names))
    figure.set_size_inches(1.0 + 1.8 * len(names), 1.0 + 1.8 * len(names))
    for place, axis in enumerate(axes):
        row, column = divmod(place, len(names))
        across, down = posterior.draws[names[column]], posterior.draws[names[row]]
        if column > row:
            axis.set_visible(False)
        elif column == row:
            axis.hist(across.ravel(), bins=40, color="C0")
            axis.set_yticks([])
        else:
            axis.plot(across.ravel(), down.ravel(), ".", color="C0", markersize=2, alpha=0.2)
            axis.plot(across[diverging], down[diverging], ".", color="C1", markersize=4)
        if row == len(names) - 1:
            axis.set_xlabel(names[column])
        if column == 0 and row:
            axis.set_ylabel(names[row])
    return figure


def _trace(posterior: Posterior) -> Any:
    names = posterior.names[:_MOST_PAIRS]
    figure, axes = figure_of(1, len(names))
    figure.set_size_inches(9.0, 0.6 + 1.4 * len(names))
    for name, axis in zip(names, axes, strict=True):
        for chain in posterior.draws[name]:
            axis.plot(chain, linewidth=0.5)
        axis.set_ylabel(name)
    return figure
