"""What tells a point of rest from one where the residual is small beside `z` and stays so.

`norm(f(z) - z) <= rtol norm(f(z))` is met by any map of bounded steps, such as `z -> z + 1`, where `z` is large. A residual can be told
from a drift by what becomes of it: at a point of rest it goes as the samples move, and by how much says how far the point is.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact

from ._rows import row_lengths, row_products

# A residual is no drift once no more than this part of the first one is left of it.
GONE = 0.1

# Of the residual that is left the last step must have changed so much, or its change must point along it so far, or it must have
# fallen to a part between these: a residual that suddenly lost what was beside it is not known to go.
_SEEN, _ALONG, _STEADY = 0.05, 0.5, (0.5, 0.95)

# How many times what the tolerances allow of the residual the estimated error may be.
LARGEST_ERROR = 100.0

# Units of rounding, relative to `z`: what a change of the residual must exceed to be one, and below which a residual is rounding.
_NOISE, _ROUNDING = 4.0, 16.0

# Where beside the start a residual tells the linear part of the map from its offset, as a part of the start: a sum of powers of 2, so
# that it is not rounded.
NEARER = 0.9375

# The residual may be `rtol` of so many times what the map opposes to `z`.
_OPPOSED = 10.0

# Farther out than the first plain step by this, a residual is nothing where so many units of rounding are more than what the map adds.
_OUT, _BLIND = 2.0, 100.0

# A step so many times farther out than plain steps lead must have brought the residual down to this part of what it was.
_FAR, _LOWERED = 100.0, 0.5


class Evidence(eqx.Module):
    """What the evaluations so far say of each sample.

    `first`: the residual of the first one; `left`: the part of it that is in the last one; `changed`: whether the last step changed the
    residual where it is now; `error`: the distance to the equilibrium, relative to the size of the residual, that this change lets
    expect, infinite where there was none; `rounding`: whether the residual is, or is 0; `settled`: whether it is beyond half the digits
    of what the map adds to `z`, which after an exact step is all that can be seen; `hidden`:
    whether the sample went so far out that rounding hides what the map adds to `z`; `level`: the first residual, or what it fell to
    each time that it halved; `origin`: how far from 0 the first plain step led, `reach`: how far plain steps lead from where the
    residual fell; `within`: 1, or, of a step that went far beyond without lowering the residual, the factor that brings
    it back. Lengths are 2-norms.
    """

    first: Inexact[Array, "samples size"]
    left: Float[Array, " samples"]
    changed: Bool[Array, " samples"]
    error: Float[Array, " samples"]
    rounding: Bool[Array, " samples"]
    settled: Bool[Array, " samples"]
    hidden: Bool[Array, " samples"]
    level: Float[Array, " samples"]
    origin: Float[Array, " samples"]
    reach: Float[Array, " samples"]
    within: Float[Array, " samples"]


def offset_of(
    value: Inexact[Array, "samples size"],
    residual: Inexact[Array, "samples size"],
    nearer: Inexact[Array, "samples size"],
) -> Inexact[Array, "samples size"]:
    """`b` of the affine map `z -> A z + b` that has these residuals at `value` and at `NEARER * value`."""
    value, residual, nearer = lax.stop_gradient((value, residual, nearer))
    at_zero = jnp.all(value == 0, axis=1, keepdims=True)
    return jnp.where(at_zero, residual, (nearer - NEARER * residual) / (1 - NEARER))


def tolerated(scale: Float[Array, " samples"], pull: Float[Array, " samples"]) -> Float[Array, " samples"]:
    """What `rtol` is relative to. `scale`: the norm of `f(z)`; `pull`: that of `b - r = (I - A) z`, how strongly the map opposes `z`.

    Where it does not, `z` may be as large as it likes, and its size says nothing of what residual is small. Where it contracts by `q`
    along `z`, `pull` is `1 - q` of `scale`.
    """
    return jnp.where(jnp.isfinite(pull), jnp.minimum(scale, _OPPOSED * pull), scale)


def no_evidence(value: Inexact[Array, "samples size"]) -> Evidence:
    """Before the first evaluation."""
    samples, real = value.shape[:1], value.real.dtype
    no, one, infinite = jnp.zeros(samples, bool), jnp.ones(samples, real), jnp.full(samples, jnp.inf, real)
    return Evidence(jnp.zeros_like(value), one, no, infinite, no, no, no, infinite, 0 * one, 0 * one, one)


def gathered(
    old: Evidence,
    value: Inexact[Array, "samples size"],
    residual: Inexact[Array, "samples size"],
    offset: Inexact[Array, "samples size"],
    moved: Inexact[Array, "samples size"],
    change: Inexact[Array, "samples size"],
    finite: Bool[Array, " samples"],
    step: Array,
) -> Evidence:
    """The evidence with that of one more evaluation.

    **Arguments:** `residual`: 0 where it is not `finite`; `offset`: as of `offset_of`; `moved`, `change`: what the step to
    `value` changed it and the residual by.
    """
    value, residual, offset, moved, change = lax.stop_gradient((value, residual, offset, moved, change))
    eps = float(jnp.finfo(value.dtype).eps)
    distance, size, length = row_lengths(value), row_lengths(residual), row_lengths(change)
    first = jnp.where(step == 0, residual, old.first)
    origin = jnp.where(step == 0, distance + size, old.origin)
    # What rounding hides, far out, is neither known to have changed nor to have been lowered.
    noise = _NOISE * eps * distance
    known = (step > 0) & finite & (length > noise)
    clear = known & (length > 2 * noise)
    way = row_lengths(moved)
    rounded = _ROUNDING * eps * (distance + way) * length
    along = jnp.abs(row_products(change, residual)) >= jnp.minimum(_SEEN * size, _ALONG * length) * size + rounded
    before = row_lengths(residual - change)
    steady = (size >= _STEADY[0] * before) & (size <= _STEADY[1] * before)
    lowered = finite & ((step == 0) | (size + noise <= _LOWERED * old.level))
    pull = row_lengths(offset - residual)
    hidden = (distance > _OUT * origin) & (_BLIND * eps * distance > pull)
    far = finite & ~lowered & (distance > _FAR * old.reach)
    # Without a smaller residual to show for it, a step extends the reach by no more than a plain one.
    led = jnp.where(lowered, jnp.maximum(old.reach, distance + size), old.reach + size)
    square = row_products(first, first).real
    return Evidence(
        first=first,
        left=row_products(first, residual).real / jnp.where(square > 0, square, 1),
        changed=known & (along | steady),
        error=jnp.where(clear, way / jnp.where(clear, length - noise, 1), jnp.inf),
        rounding=((size <= _ROUNDING * eps * origin) | (size == 0)) & ~far,
        settled=finite & (size <= eps**0.5 * pull) & jnp.isfinite(pull) & ~far,
        hidden=hidden,
        level=jnp.where(lowered, size, old.level),
        origin=origin,
        reach=jnp.where(far | ~finite, old.reach, led),
        within=jnp.where(far, old.reach / jnp.where(far, distance, 1), 1),
    )


def at_rest(evidence: Evidence, error: Float[Array, " samples"]) -> Bool[Array, " samples"]:
    """Whether what is small enough of a residual is that of a point of rest. `error`: relative to what the tolerances allow."""
    near = evidence.changed & (evidence.error * error <= LARGEST_ERROR)
    rests = (error == 0) & evidence.rounding | (evidence.left <= GONE) & (evidence.rounding | near)
    return (rests | evidence.settled) & ~evidence.hidden
