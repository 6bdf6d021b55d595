"""The linear model of a residual around a point, and the steps that it proposes within a trust region."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._namespace import Numbers, branch, choose, decomposed, namespace_of, repeat

# Norms between which no square that matters leaves the range of its dtype.
_SAFE = {
    dtype: (
        float(np.finfo(dtype).tiny ** 0.5 / np.finfo(dtype).eps),
        float(np.finfo(dtype).max ** 0.5 * np.finfo(dtype).eps),
    )
    for dtype in (np.float32, np.float64)
}


class LinearModel(NamedTuple):
    """The linear model `r + J p` of the residual around the last accepted point.

    Steps are chosen in scaled variables `q = D p`: with `J D^-1 = U S V^T` they need `S` (`singular_values`), `V^T` (`directions`) and
    `U^T r` (`projected`, in units of `|r|`: its squares must not leave the range of the dtype); the Gauss-Newton step of least length
    is `newton`, of the length `newton_length` in scaled variables, over the directions in which the residual changes by more than
    rounding (`resolved`). `D` (`scale`) is a heuristic; what certifies a minimum does not depend on it: `triangle` and `seen`, which
    are `R` and `Q^T r / |r|` of the columns of `J` brought to norm 1; `cosine`, the largest between `r` and a column; `contribution`,
    the norm of `|J| |y|`. `largest_norms` and `magnitude` are the largest that each column and each parameter have had, `cautious`
    those parameters whose magnitude at the start meant something. `rounding` is the relative change of the sum of squares, and
    `resolution` the change of each parameter, that mean nothing: evaluating the residual is at best as exact as one unit of rounding in
    every parameter. The columns of parameters that a bound holds (`held`) are 0: the model is that of the others.
    """

    singular_values: Float[Numbers, " rank"]
    directions: Float[Numbers, "rank size"]
    projected: Float[Numbers, " rank"]
    resolved: Bool[Numbers, " rank"]
    newton: Float[Numbers, " size"]
    newton_length: Float[Numbers, ""]
    residual_norm: Float[Numbers, ""]
    scale: Float[Numbers, " size"]
    triangle: Float[Numbers, "rank size"]
    seen: Float[Numbers, " rank"]
    cosine: Float[Numbers, ""]
    contribution: Float[Numbers, ""]
    largest_norms: Float[Numbers, " size"]
    magnitude: Float[Numbers, " size"]
    cautious: Bool[Numbers, " size"]
    rounding: Float[Numbers, ""]
    resolution: Float[Numbers, " size"]
    held: Bool[Numbers, " size"]


class Trial(NamedTuple):
    """A point that was proposed, what the model predicts for it, relative to the sum of squares, and which parameters would have gone
    farther but for a bound."""

    point: Float[Numbers, " size"]
    length: Float[Numbers, ""]
    predicted: Float[Numbers, ""]
    slope: Float[Numbers, ""]
    undamped: Bool[Numbers, ""]
    pressed: Bool[Numbers, " size"]


def empty_model(point: Float[Numbers, " size"], num_data: int) -> LinearModel:
    """Zeros in the place of a model, before the residual was evaluated."""
    xp, size, dtype = namespace_of(point), point.size, point.dtype
    rank = min(size, num_data)
    zero, vector = xp.zeros((), dtype), xp.zeros((size,), dtype)
    projected = xp.zeros((rank,), dtype)
    return LinearModel(
        singular_values=projected,
        directions=xp.zeros((rank, size), dtype),
        projected=projected,
        resolved=xp.zeros((rank,), bool),
        newton=vector,
        newton_length=zero,
        residual_norm=zero,
        scale=vector,
        triangle=xp.zeros((rank, size), dtype),
        seen=projected,
        cosine=zero,
        contribution=zero,
        largest_norms=vector,
        magnitude=vector,
        cautious=xp.zeros((size,), bool),
        rounding=zero,
        resolution=vector,
        held=xp.zeros((size,), bool),
    )


def norm_of(array: Float[Numbers, "..."], axis: int | None = None) -> Any:
    """The 2-norm, of numbers whose squares may be beyond the range of the dtype."""
    xp = namespace_of(array)
    if xp is np:
        plain, (least, most) = np.sqrt((array**2).sum(axis)), _SAFE[array.dtype.type]
        if ((plain > least) & (plain < most)).all():
            return plain
    largest = abs(array).max(axis=axis, keepdims=True, initial=0.0)
    unit = xp.where((largest > 0) & xp.isfinite(largest), largest, 1.0)
    return xp.squeeze(unit, axis) * xp.sqrt(((array / unit) ** 2).sum(axis))


def jacobian_of(
    tangent_map: Callable[[Array], Array],
    point: Float[Array, " size"],
    residual: Float[Array, " residuals"],
    mode: str | None,
) -> Float[Array, "residuals size"]:
    """All columns in forward mode, or all rows in reverse, by default where there are many more parameters than residuals."""
    if mode is None:
        mode = "bwd" if point.size > 4 * residual.size else "fwd"
    if mode == "fwd" and not point.size:
        return residual[:, None] * point[None, :]
    if mode == "fwd":
        return jax.vmap(tangent_map, out_axes=1)(jnp.eye(point.size, dtype=point.dtype))
    if mode == "bwd":
        (rows,) = jax.vmap(jax.linear_transpose(tangent_map, point))(jnp.eye(residual.size, dtype=point.dtype))
        return rows
    raise ValueError(f'autodiff_mode is "fwd" or "bwd", got {mode!r}')


def linear_model(
    jacobian: Float[Numbers, "residuals size"],
    residual: Float[Numbers, " residuals"],
    previous: LinearModel,
    point: Float[Numbers, " size"],
    caution: float | Numbers,
    first: Bool[Numbers, ""],
    held: Bool[Numbers, " size"],
    sizes: Float[Numbers, " size"],
) -> LinearModel:
    """The model at `point`, the start if `first`, of the parameters that are not `held`, of these `sizes`: their magnitudes, unless
    another is known.

    No parameter may move, relative to its magnitude, more than `1 / caution` times as far as the most influential one: one that hardly
    matters where the solve starts would otherwise be thrown to where it never matters again. One that is 0 there, or contributes
    what a 0 with a rounding error would, has no magnitude.
    """
    xp, eps = namespace_of(point), jnp.finfo(point.dtype).eps
    jacobian = xp.where(held[None, :], 0.0, jacobian)
    norms = norm_of(jacobian, axis=0)
    unit = xp.where(norms > 0, norms, 1.0)
    largest_norms = xp.maximum(norms, previous.largest_norms)
    magnitude = xp.maximum(sizes, previous.magnitude)
    scale = xp.where(largest_norms > 0, largest_norms, 1.0)
    contributions = abs(jacobian) @ abs(point)
    contribution = norm_of(contributions)
    parts = norms * sizes
    rounded = (parts <= eps**0.5 * contribution) & (parts > eps**1.25 * contribution)
    # Of the product of a number and its column the number must be the small one.
    rounded = rounded & (sizes <= eps**0.5 * sizes.max(initial=0.0))
    cautious = choose(first, (sizes != 0) & ~rounded, previous.cautious)
    floor = caution * (scale * sizes).max()
    scale = xp.maximum(scale, floor / xp.where(cautious & (magnitude > 0), magnitude, xp.inf))
    # The triangle of [J / norms, r] has Q^T r in its last column, so that Q is never formed.
    columns = jacobian / unit[None, :]
    residual_norm = norm_of(residual)
    divisor = choose(residual_norm > 0, residual_norm, 1.0)
    triangle = xp.linalg.qr(xp.concatenate([columns, residual[:, None] / divisor], axis=1), mode="r")
    rank = min(jacobian.shape)
    triangle, seen = triangle[:rank, :-1], triangle[:rank, -1]
    left, singular_values, directions = decomposed(triangle * (unit / scale)[None, :])
    projected = left.T @ seen
    resolved = _resolved(singular_values, jacobian.shape)
    weights = xp.where(resolved, -residual_norm / xp.where(resolved, singular_values, 1.0) * projected, 0.0)
    return LinearModel(
        singular_values,
        directions,
        projected=projected,
        resolved=resolved,
        newton=xp.where(held, 0.0, directions.T @ weights / scale),
        newton_length=norm_of(weights),
        residual_norm=residual_norm,
        scale=scale,
        triangle=triangle,
        seen=seen,
        cosine=abs((residual / divisor) @ columns).max(initial=0.0),
        contribution=contribution,
        largest_norms=largest_norms,
        magnitude=magnitude,
        cautious=cautious,
        rounding=10 * eps * (1.0 + contribution / divisor),
        resolution=eps * (contributions @ abs(columns)) / unit,
        held=held,
    )


def explained(model: LinearModel, num_data: int) -> Float[Numbers, ""]:
    """The share of the residual that a Gauss-Newton step removes: its projection on the columns of `J`, whatever their scales."""
    xp, (left, s, _) = namespace_of(model.triangle), decomposed(model.triangle)
    return xp.linalg.norm(xp.where(_resolved(s, (num_data, model.scale.size)), left.T @ model.seen, 0.0))


def _resolved(s: Float[Numbers, " rank"], shape: tuple[int, ...]) -> Bool[Numbers, " rank"]:
    return s > jnp.finfo(s.dtype).eps * max(shape) * s[0]


def propose(model: LinearModel, point: Float[Numbers, " size"], radius: Float[Numbers, ""]) -> Trial:
    """The minimiser of the model within the radius."""
    xp = namespace_of(point)
    (unit, s), c = _of_order_one(model.singular_values, model.residual_norm), model.projected
    weights, damping, undamped = _weights(s, c, _newton(s, c, model.resolved), model.newton_length, radius, unit)
    step = choose(undamped, model.newton, model.directions.T @ (unit * weights) / model.scale)
    step = xp.where(model.held, 0.0, step)
    length = choose(undamped, model.newton_length, unit * xp.linalg.norm(weights))
    linear = ((s * weights) ** 2).sum()
    penalty = damping * (weights**2).sum()
    return Trial(point + step, length, linear + 2 * penalty, -(linear + penalty), undamped, xp.zeros_like(model.held))


def minimiser_within(
    radius: Float[Numbers, ""],
    singular_values: Float[Numbers, " rank"],
    projected: Float[Numbers, " rank"],
    residual_norm: Float[Numbers, ""],
    num_data: int,
) -> tuple[Float[Numbers, " rank"], Bool[Numbers, ""]]:
    """The minimiser of `||projected |r| + S q||` within the radius, in the directions of `S`, and whether the radius leaves it as it is."""
    xp, (unit, s), c = namespace_of(radius), _of_order_one(singular_values, residual_norm), projected
    newton = _newton(s, c, _resolved(s, (num_data, 1)))
    weights, _, undamped = _weights(s, c, newton, unit * xp.linalg.norm(newton), radius, unit)
    return unit * weights, undamped


def _newton(
    s: Float[Numbers, " rank"], c: Float[Numbers, " rank"], resolved: Bool[Numbers, " rank"]
) -> Float[Numbers, " rank"]:
    xp = namespace_of(s)
    return xp.where(resolved, -c / xp.where(resolved, s, 1.0), 0.0)


def _weights(
    s: Float[Numbers, " rank"],
    c: Float[Numbers, " rank"],
    newton: Float[Numbers, " rank"],
    newton_length: Float[Numbers, ""],
    radius: Float[Numbers, ""],
    unit: Float[Numbers, ""],
) -> tuple[Float[Numbers, " rank"], Float[Numbers, ""], Bool[Numbers, ""]]:
    """The minimiser in units of `unit`, its damping, and whether that is none: whether the Gauss-Newton step is within the radius."""
    xp, undamped = namespace_of(s), newton_length <= 1.1 * radius
    damping = branch(undamped, lambda: xp.zeros((), s.dtype), lambda: _damping(s, c, radius / unit))
    denominator = s**2 + damping
    damped = -s * c / xp.where(denominator > 0, denominator, 1.0)
    return choose(undamped, newton, damped), damping, undamped


def _of_order_one(
    singular_values: Float[Numbers, " rank"], residual_norm: Float[Numbers, ""]
) -> tuple[Float[Numbers, ""], Float[Numbers, " rank"]]:
    """The unit of lengths in which, with residuals in units of their norm, singular values are in units of the largest; and these."""
    largest = choose(singular_values[0] > 0, singular_values[0], 1.0)
    unit = choose(singular_values[0] > 0, residual_norm / largest, 1.0)
    return choose(unit > 0, unit, 1.0), singular_values / largest


def _damping(s: Float[Numbers, " rank"], c: Float[Numbers, " rank"], radius: Float[Numbers, ""]) -> Any:
    """The root of `||s c / (s^2 + damping)|| = radius`, to a few per cent, from below: there Newton on the reciprocal is monotone."""
    xp = namespace_of(s)
    gradient = abs(s * c)
    upper = xp.linalg.norm(gradient) / radius
    # Each component alone must not be longer than the radius.
    lower = xp.maximum((gradient / radius - s**2).max(), jnp.finfo(s.dtype).tiny)

    def newton(damping: Numbers) -> Numbers:
        weights = gradient / (s**2 + damping)
        squares = weights**2
        length = xp.sqrt(squares.sum())
        curvature = (squares / (s**2 + damping)).sum()
        update = length**2 / choose(curvature > 0, curvature, 1.0) * (length / radius - 1.0)
        return xp.minimum(xp.maximum(damping + update, lower), upper)

    return repeat(6, newton, lower)


def free_parameters(model: LinearModel) -> Float[Numbers, ""]:
    """How many parameters no bound holds."""
    return (~model.held).sum(dtype=model.scale.dtype)


def standard_errors(model: LinearModel, num_data: int) -> Float[Numbers, " size"]:
    """The standard errors of the parameters as a linear fit would give them, over the directions that are resolved."""
    xp = namespace_of(model.scale)
    inverse = xp.where(model.resolved, 1.0 / xp.where(model.resolved, model.singular_values, 1.0), 0.0)
    remaining = xp.maximum(1.0 - (model.seen**2).sum(), 0.0)
    deviation = model.residual_norm * xp.sqrt(remaining / xp.maximum(num_data - free_parameters(model), 1))
    return deviation * xp.linalg.norm(model.directions * inverse[:, None], axis=0) / model.scale
