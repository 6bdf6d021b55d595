"""Closed bounds on the parameters of a least-squares solve: which parameters they hold, and steps that stay within them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..._errors import ShapeError
from ._linear_model import LinearModel, Trial, minimiser_within, propose
from ._namespace import Numbers, branch, choose, decomposed, namespace_of, repeat_while

# A step goes this share of the way to a bound, and all of it once so many before it in a row would have gone farther: a parameter that a
# bad start sends there, such as an amplitude to 0, must not be stuck where the others change nothing.
_SHARE, _PATIENCE = 0.9, 2


class Bounds(NamedTuple):
    """`lower <= y <= upper`; a parameter of which they are equal is fixed."""

    lower: Float[Numbers, " size"]
    upper: Float[Numbers, " size"]

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

    def clip(self, point: Float[Numbers, " size"]) -> Float[Numbers, " size"]:
        xp = namespace_of(point)
        return xp.minimum(xp.maximum(point, self.lower), self.upper)

    def hold(self, point: Float[Numbers, " size"], gradient: Float[Numbers, " size"]) -> Bool[Numbers, " size"]:
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
    point: Float[Numbers, " size"],
    radius: Float[Numbers, ""],
    bounds: Bounds | None,
    pressed: Int[Numbers, " size"],
) -> Trial:
    """The step of `propose`, or, where that leaves the bounds, one along them. `pressed`: how many steps in a row each parameter has been
    kept from going farther."""
    trial = propose(model, point, radius)
    if bounds is None:
        return trial
    xp = namespace_of(point)
    share = xp.where(pressed >= _PATIENCE, 1.0, _SHARE)
    # What is a rounding away is there.
    near = jnp.finfo(point.dtype).eps * abs(point)
    lower, upper = point - bounds.lower, bounds.upper - point
    lower = xp.where(lower <= near, bounds.lower, xp.where(share < 1, point - share * lower, bounds.lower))
    upper = xp.where(upper <= near, bounds.upper, xp.where(share < 1, point + share * upper, bounds.upper))
    limits = Bounds(xp.maximum(lower, bounds.lower), xp.minimum(upper, bounds.upper))
    inside = ((trial.point >= limits.lower) & (trial.point <= limits.upper)).all()
    return branch(inside, lambda: trial, lambda: _along_bounds(model, point, radius, limits))


def _along_bounds(
    model: LinearModel, point: Float[Numbers, " size"], radius: Float[Numbers, ""], bounds: Bounds
) -> Trial:
    """Towards the minimiser within the radius as far as the first bound, on from there to that of the other parameters, and so forth.

    Every piece lowers the model. The projected gradient step is taken instead where the model expects more of it: it lowers the model
    wherever the point is no minimum, on which convergence rests (Conn, Gould and Toint, section 12.1).
    """
    xp = namespace_of(point)
    matrix = model.singular_values[:, None] * model.directions  # J D^-1, but for a rotation
    norm = choose(model.residual_norm > 0, model.residual_norm, 1.0)
    lower, upper = (bounds.lower - point) * model.scale, (bounds.upper - point) * model.scale

    def again(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        fixed, step, _, _ = carry
        on_bounds = xp.where(fixed, step, 0.0)
        left, s, directions = decomposed(xp.where(fixed[None, :], 0.0, matrix))
        projected = left.T @ (model.projected + matrix @ on_bounds / norm)
        rest = xp.sqrt(xp.maximum(radius**2 - (on_bounds**2).sum(), 0.0))
        rest = xp.maximum(rest, jnp.finfo(s.dtype).eps * radius)
        weights, undamped = minimiser_within(rest, s, projected, model.residual_norm, len(model.scale))
        change = xp.where(fixed, 0.0, directions.T @ weights - step)
        room = xp.where(change > 0, upper - step, xp.where(change < 0, lower - step, xp.inf))
        shares = room / xp.where(change == 0, 1.0, change)
        share = xp.minimum(shares.min(), 1.0)
        hit = (shares <= share) & (share < 1)
        bound = xp.where(change > 0, upper, lower)
        return fixed | hit, xp.where(hit, bound, step + share * change), undamped, share < 1

    start = (model.held, xp.zeros_like(point), xp.asarray(False), xp.asarray(True))
    _, step, undamped, _ = repeat_while(lambda carry: carry[-1], again, start)

    gradient = matrix.T @ model.projected  # of half the square, in units of the residual
    length, largest = xp.linalg.norm(gradient), model.singular_values[0]
    reach = radius / (norm * choose(length > 0, length, 1.0))
    reach = choose(largest > 0, xp.minimum(reach, 1.0 / choose(largest > 0, largest, 1.0) ** 2), reach)
    steepest = xp.where(model.held, 0.0, xp.minimum(xp.maximum(-reach * norm * gradient, lower), upper))

    def expected(step: Float[Numbers, " size"]) -> tuple[Any, Any]:
        slope = xp.vdot(gradient, step) / norm
        return -2 * slope - ((matrix @ step / norm) ** 2).sum(), slope

    (best, slope), (plain, plain_slope) = expected(step), expected(steepest)
    better = plain > best
    step = choose(better, steepest, step)
    moved = xp.where(step <= lower, bounds.lower, xp.where(step >= upper, bounds.upper, point + step / model.scale))
    return Trial(
        bounds.clip(moved),
        xp.linalg.norm(step),
        choose(better, plain, best),
        choose(better, plain_slope, slope),
        undamped & ~better,
        ~model.held & ((step <= lower) | (step >= upper)),
    )
