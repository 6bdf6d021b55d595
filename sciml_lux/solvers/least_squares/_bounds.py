"""Closed bounds on the parameters of a least-squares solve: which parameters they hold, and steps that stay within them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..._errors import ShapeError
from ._linear_model import LinearModel, Trial, minimiser_within, propose

# A step goes this share of the way to a bound, and all of it once so many before it in a row would have gone farther: a parameter that a
# bad start sends there, such as an amplitude to 0, must not be stuck where the others change nothing.
_SHARE, _PATIENCE = 0.9, 2


class Bounds(eqx.Module):
    """`lower <= y <= upper`; a parameter of which they are equal is fixed."""

    lower: Float[Array, " size"]
    upper: Float[Array, " size"]

    @classmethod
    def of(cls, options: dict[str, Any], y: PyTree[Array]) -> "Bounds | None":
        """Those of the options `lower` and `upper`, trees like `y` of arrays that broadcast to it; `None` where there are none."""
        if options.get("lower") is None and options.get("upper") is None:
            return None
        lower, upper = (
            along(y, name, options.get(name), none) for name, none in (("lower", -jnp.inf), ("upper", jnp.inf))
        )
        # Of bounds the wrong way round, which may be traced, there is no point: a solve starts at NaN, and says so.
        return cls(jnp.where(lower <= upper, lower, jnp.nan), upper)

    def clip(self, point: Float[Array, " size"]) -> Float[Array, " size"]:
        return jnp.clip(point, self.lower, self.upper)

    def hold(self, point: Float[Array, " size"], gradient: Float[Array, " size"]) -> Bool[Array, " size"]:
        """The parameters that the sum of squares, whose gradient this is, pushes against a bound on which they are, or that are fixed."""
        below = (point <= self.lower) & (gradient > 0)
        above = (point >= self.upper) & (gradient < 0)
        return below | above | (self.lower >= self.upper)


def along(y: PyTree[Array], name: str, values: object, none: float) -> Float[Array, " size"]:
    """The option `name`, one number or a tree like `y`, end to end."""
    if values is None:
        values = none
    if jax.tree.structure(values) != jax.tree.structure(y):
        if jax.tree.structure(values) != jax.tree.structure(0.0):
            raise ShapeError(
                f"the option {name} is one number, or a tree like y of numbers or arrays: expected {jax.tree.structure(y)}, "
                f"got {jax.tree.structure(values)}"
            )
        number = values
        values = jax.tree.map(lambda _: number, y)
    full = jax.tree.map(lambda value, leaf: jnp.broadcast_to(jnp.asarray(value, leaf.dtype), leaf.shape), values, y)
    return ravel_pytree(full)[0]


def propose_within(
    model: LinearModel,
    point: Float[Array, " size"],
    radius: Float[Array, ""],
    bounds: Bounds | None,
    pressed: Int[Array, " size"],
) -> Trial:
    """The step of `propose`, or, where that leaves the bounds, one along them. `pressed`: how many steps in a row each parameter has been
    kept from going farther."""
    trial = propose(model, point, radius)
    if bounds is None:
        return trial
    share = jnp.where(pressed >= _PATIENCE, 1.0, _SHARE)
    # What is a rounding away is there.
    near = jnp.finfo(point.dtype).eps * jnp.abs(point)
    lower, upper = point - bounds.lower, bounds.upper - point
    lower = jnp.where(lower <= near, bounds.lower, jnp.where(share < 1, point - share * lower, bounds.lower))
    upper = jnp.where(upper <= near, bounds.upper, jnp.where(share < 1, point + share * upper, bounds.upper))
    limits = Bounds(jnp.maximum(lower, bounds.lower), jnp.minimum(upper, bounds.upper))
    inside = jnp.all((trial.point >= limits.lower) & (trial.point <= limits.upper))
    return lax.cond(inside, lambda: trial, lambda: _along_bounds(model, point, radius, limits))


def _along_bounds(model: LinearModel, point: Float[Array, " size"], radius: Float[Array, ""], bounds: Bounds) -> Trial:
    """Towards the minimiser within the radius as far as the first bound, on from there to that of the other parameters, and so forth.

    Every piece lowers the model. The projected gradient step is taken instead where the model expects more of it: it lowers the model
    wherever the point is no minimum, on which convergence rests (Conn, Gould and Toint, section 12.1).
    """
    matrix = model.singular_values[:, None] * model.directions  # J D^-1, but for a rotation
    norm = jnp.where(model.residual_norm > 0, model.residual_norm, 1.0)
    lower, upper = (bounds.lower - point) * model.scale, (bounds.upper - point) * model.scale

    def again(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        fixed, step, _, _ = carry
        on_bounds = jnp.where(fixed, step, 0.0)
        left, s, directions = jnp.linalg.svd(jnp.where(fixed[None, :], 0.0, matrix), full_matrices=False)
        projected = left.T @ (model.projected + matrix @ on_bounds / norm)
        rest = jnp.sqrt(jnp.maximum(radius**2 - jnp.sum(on_bounds**2), 0.0))
        rest = jnp.maximum(rest, jnp.finfo(s.dtype).eps * radius)
        weights, undamped = minimiser_within(rest, s, projected, model.residual_norm, len(model.scale))
        change = jnp.where(fixed, 0.0, directions.T @ weights - step)
        room = jnp.where(change > 0, upper - step, jnp.where(change < 0, lower - step, jnp.inf))
        shares = room / jnp.where(change == 0, 1.0, change)
        share = jnp.minimum(jnp.min(shares), 1.0)
        hit = (shares <= share) & (share < 1)
        bound = jnp.where(change > 0, upper, lower)
        return fixed | hit, jnp.where(hit, bound, step + share * change), undamped, share < 1

    start = (model.held, jnp.zeros_like(point), jnp.asarray(False), jnp.asarray(True))
    _, step, undamped, _ = lax.while_loop(lambda carry: carry[-1], again, start)

    gradient = matrix.T @ model.projected  # of half the square, in units of the residual
    length, largest = jnp.linalg.norm(gradient), model.singular_values[0]
    reach = radius / (norm * jnp.where(length > 0, length, 1.0))
    reach = jnp.where(largest > 0, jnp.minimum(reach, 1.0 / jnp.where(largest > 0, largest, 1.0) ** 2), reach)
    steepest = jnp.where(model.held, 0.0, jnp.clip(-reach * norm * gradient, lower, upper))

    def expected(step: Float[Array, " size"]) -> tuple[Any, Any]:
        slope = jnp.vdot(gradient, step) / norm
        return -2 * slope - jnp.sum((matrix @ step / norm) ** 2), slope

    (best, slope), (plain, plain_slope) = expected(step), expected(steepest)
    better = plain > best
    step = jnp.where(better, steepest, step)
    moved = jnp.where(step <= lower, bounds.lower, jnp.where(step >= upper, bounds.upper, point + step / model.scale))
    return Trial(
        bounds.clip(moved),
        jnp.linalg.norm(step),
        jnp.where(better, plain, best),
        jnp.where(better, plain_slope, slope),
        undamped & ~better,
        ~model.held & ((step <= lower) | (step >= upper)),
    )
