"""A line search of one evaluation a step: a trial that does not do is shortened at the next step of the solver."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Int

from ._fixed_point import Point

# So many trials along one direction. The last one is the whole step again, taken as it is: where no shorter one helps, the residual
# is next to a minimum that is no root, and short steps stay there.
MOST_TRIALS = 6


class Search(eqx.Module):
    """The points that were accepted last, the steps proposed from there, the fraction of them under trial and the number of trials."""

    value: Inexact[Array, "samples size"]
    residual: Inexact[Array, "samples size"]
    size: Float[Array, " samples"]
    direction: Inexact[Array, "samples size"]
    fraction: Float[Array, " samples"]
    trials: Int[Array, " samples"]


class Trial(NamedTuple):
    """Which samples accept the point that they are at; and the last accepted points of all."""

    accepted: Bool[Array, " samples"]
    value: Inexact[Array, "samples size"]
    residual: Inexact[Array, "samples size"]
    size: Float[Array, " samples"]


def begin(value: Inexact[Array, "samples size"]) -> Search:
    """Before the first evaluation, whose point is accepted as it is."""
    samples, real = value.shape[0], value.real.dtype
    nothing = jnp.zeros_like(value)
    infinite = jnp.full((samples,), jnp.inf, real)
    return Search(value, nothing, infinite, nothing, jnp.ones((samples,), real), jnp.zeros((samples,), jnp.int32))


def judge(point: Point, search: Search, growth: float, enabled: bool) -> Trial:
    """Accepts where the residual has grown to at most `growth` times the last accepted one; all, unless `enabled`, but for steps far
    out that did not lower it."""
    finite = jnp.isfinite(point.size)
    tired = finite & (search.trials >= MOST_TRIALS)
    accepted = (finite & (point.size <= growth * search.size)) | tired if enabled else jnp.ones_like(finite)
    accepted = (point.step == 0) | (accepted & (point.within >= 1))
    rows = accepted[:, None]
    return Trial(
        accepted,
        jnp.where(rows, point.value, search.value),
        jnp.where(rows, point.residual, search.residual),
        jnp.where(accepted, point.size, search.size),
    )


def advance(
    point: Point, search: Search, trial: Trial, direction: Inexact[Array, "samples size"]
) -> tuple[Inexact[Array, "samples size"], Search]:
    """The next trial: the whole of the new direction where the last one was accepted, less of the old one elsewhere."""
    # A step that went too far out is forgotten: what is searched is the part of it that stays near.
    far = ~trial.accepted & (point.within < 1)
    nearer = (search.fraction * point.within).astype(direction.dtype)[:, None] * search.direction
    direction = jnp.where(trial.accepted[:, None], direction, jnp.where(far[:, None], nearer, search.direction))
    # The minimum of the parabola through the squares of both residuals whose slope at the first is that of a Newton step.
    ratio = (point.size / search.size) ** 2
    shorter = search.fraction * jnp.clip(jnp.where(jnp.isfinite(ratio), 1 / (1 + ratio), 0), 0.1, 0.5)
    trials = jnp.where(trial.accepted, 0, search.trials + 1)
    fraction = jnp.where(trial.accepted | far | (trials == MOST_TRIALS), 1, shorter)
    proposal = trial.value + fraction.astype(direction.dtype)[:, None] * direction
    return proposal, Search(trial.value, trial.residual, trial.size, direction, fraction, trials)
