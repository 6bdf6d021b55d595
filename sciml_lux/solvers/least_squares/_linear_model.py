"""The linear model of a residual around a point, and the steps that it proposes within a trust region."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float


class LinearModel(eqx.Module):
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

    singular_values: Float[Array, " rank"]
    directions: Float[Array, "rank size"]
    projected: Float[Array, " rank"]
    resolved: Bool[Array, " rank"]
    newton: Float[Array, " size"]
    newton_length: Float[Array, ""]
    residual_norm: Float[Array, ""]
    scale: Float[Array, " size"]
    triangle: Float[Array, "rank size"]
    seen: Float[Array, " rank"]
    cosine: Float[Array, ""]
    contribution: Float[Array, ""]
    largest_norms: Float[Array, " size"]
    magnitude: Float[Array, " size"]
    cautious: Bool[Array, " size"]
    rounding: Float[Array, ""]
    resolution: Float[Array, " size"]
    held: Bool[Array, " size"]


class Trial(eqx.Module):
    """A point that was proposed, what the model predicts for it, relative to the sum of squares, and which parameters would have gone
    farther but for a bound."""

    point: Float[Array, " size"]
    length: Float[Array, ""]
    predicted: Float[Array, ""]
    slope: Float[Array, ""]
    undamped: Bool[Array, ""]
    pressed: Bool[Array, " size"]


def empty_model(size: int, num_data: int, dtype: np.dtype[Any]) -> LinearModel:
    """Zeros in the place of a model, before the residual was evaluated."""
    rank = min(size, num_data)
    zero, vector = jnp.zeros((), dtype), jnp.zeros((size,), dtype)
    projected = jnp.zeros((rank,), dtype)
    return LinearModel(
        singular_values=projected,
        directions=jnp.zeros((rank, size), dtype),
        projected=projected,
        resolved=jnp.zeros((rank,), bool),
        newton=vector,
        newton_length=zero,
        residual_norm=zero,
        scale=vector,
        triangle=jnp.zeros((rank, size), dtype),
        seen=projected,
        cosine=zero,
        contribution=zero,
        largest_norms=vector,
        magnitude=vector,
        cautious=jnp.zeros((size,), bool),
        rounding=zero,
        resolution=vector,
        held=jnp.zeros((size,), bool),
    )


def norm_of(array: Float[Array, "..."], axis: int | None = None) -> Any:
    """The 2-norm, of numbers whose squares may be beyond the range of the dtype."""
    largest = jnp.max(jnp.abs(array), axis=axis, keepdims=True, initial=0.0)
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return jnp.squeeze(unit, axis) * jnp.linalg.norm(array / unit, axis=axis)


def jacobian_of(
    tangent_map: Callable[[Array], Array],
    point: Float[Array, " size"],
    residual: Float[Array, " residuals"],
    mode: str | None,
) -> Float[Array, "residuals size"]:
    """All columns in forward mode, or all rows in reverse, by default where there are many more parameters than residuals."""
    if mode is None:
        mode = "bwd" if point.size > 4 * residual.size else "fwd"
    if mode == "fwd":
        return jax.vmap(tangent_map, out_axes=1)(jnp.eye(point.size, dtype=point.dtype))
    if mode == "bwd":
        (rows,) = jax.vmap(jax.linear_transpose(tangent_map, point))(jnp.eye(residual.size, dtype=point.dtype))
        return rows
    raise ValueError(f'autodiff_mode is "fwd" or "bwd", got {mode!r}')


def linear_model(
    jacobian: Float[Array, "residuals size"],
    residual: Float[Array, " residuals"],
    previous: LinearModel,
    point: Float[Array, " size"],
    caution: float | Array,
    first: Bool[Array, ""],
    held: Bool[Array, " size"],
    sizes: Float[Array, " size"],
) -> LinearModel:
    """The model at `point`, the start if `first`, of the parameters that are not `held`, of these `sizes`: their magnitudes, unless
    another is known.

    No parameter may move, relative to its magnitude, more than `1 / caution` times as far as the most influential one: one that hardly
    matters where the solve starts would otherwise be thrown to where it never matters again. One that is 0 there, or contributes
    what a 0 with a rounding error would, has no magnitude.
    """
    eps = jnp.finfo(point.dtype).eps
    jacobian = jnp.where(held[None, :], 0.0, jacobian)
    norms = norm_of(jacobian, axis=0)
    unit = jnp.where(norms > 0, norms, 1.0)
    largest_norms = jnp.maximum(norms, previous.largest_norms)
    magnitude = jnp.maximum(sizes, previous.magnitude)
    scale = jnp.where(largest_norms > 0, largest_norms, 1.0)
    contributions = jnp.abs(jacobian) @ jnp.abs(point)
    contribution = norm_of(contributions)
    parts = norms * sizes
    rounded = (parts <= jnp.sqrt(eps) * contribution) & (parts > eps**1.25 * contribution)
    # Of the product of a number and its column the number must be the small one.
    rounded = rounded & (sizes <= jnp.sqrt(eps) * jnp.max(sizes, initial=0.0))
    cautious = jnp.where(first, (sizes != 0) & ~rounded, previous.cautious)
    floor = caution * jnp.max(scale * sizes)
    scale = jnp.maximum(scale, floor / jnp.where(cautious & (magnitude > 0), magnitude, jnp.inf))
    # The triangle of [J / norms, r] has Q^T r in its last column, so that Q is never formed.
    columns = jacobian / unit[None, :]
    residual_norm = norm_of(residual)
    divisor = jnp.where(residual_norm > 0, residual_norm, 1.0)
    triangle = jnp.linalg.qr(jnp.concatenate([columns, residual[:, None] / divisor], axis=1), mode="r")
    rank = min(jacobian.shape)
    triangle, seen = triangle[:rank, :-1], triangle[:rank, -1]
    left, singular_values, directions = jnp.linalg.svd(triangle * (unit / scale)[None, :], full_matrices=False)
    projected = left.T @ seen
    resolved = _resolved(singular_values, jacobian.shape)
    weights = jnp.where(resolved, -residual_norm / jnp.where(resolved, singular_values, 1.0) * projected, 0.0)
    return LinearModel(
        singular_values,
        directions,
        projected=projected,
        resolved=resolved,
        newton=jnp.where(held, 0.0, directions.T @ weights / scale),
        newton_length=norm_of(weights),
        residual_norm=residual_norm,
        scale=scale,
        triangle=triangle,
        seen=seen,
        cosine=jnp.max(jnp.abs((residual / divisor) @ columns), initial=0.0),
        contribution=contribution,
        largest_norms=largest_norms,
        magnitude=magnitude,
        cautious=cautious,
        rounding=10 * eps * (1.0 + contribution / divisor),
        resolution=eps * (contributions @ jnp.abs(columns)) / unit,
        held=held,
    )


def explained(model: LinearModel, num_data: int) -> Float[Array, ""]:
    """The share of the residual that a Gauss-Newton step removes: its projection on the columns of `J`, whatever their scales."""
    left, s, _ = jnp.linalg.svd(model.triangle, full_matrices=False)
    return jnp.linalg.norm(jnp.where(_resolved(s, (num_data, model.scale.size)), left.T @ model.seen, 0.0))


def _resolved(s: Float[Array, " rank"], shape: tuple[int, ...]) -> Bool[Array, " rank"]:
    return s > jnp.finfo(s.dtype).eps * max(shape) * s[0]


def propose(model: LinearModel, point: Float[Array, " size"], radius: Float[Array, ""]) -> Trial:
    """The minimiser of the model within the radius."""
    (unit, s), c = _of_order_one(model.singular_values, model.residual_norm), model.projected
    weights, damping, undamped = _weights(s, c, _newton(s, c, model.resolved), model.newton_length, radius, unit)
    step = jnp.where(undamped, model.newton, model.directions.T @ (unit * weights) / model.scale)
    step = jnp.where(model.held, 0.0, step)
    length = jnp.where(undamped, model.newton_length, unit * jnp.linalg.norm(weights))
    linear = jnp.sum((s * weights) ** 2)
    penalty = damping * jnp.sum(weights**2)
    return Trial(point + step, length, linear + 2 * penalty, -(linear + penalty), undamped, jnp.zeros_like(model.held))


def minimiser_within(
    radius: Float[Array, ""],
    singular_values: Float[Array, " rank"],
    projected: Float[Array, " rank"],
    residual_norm: Float[Array, ""],
    num_data: int,
) -> tuple[Float[Array, " rank"], Bool[Array, ""]]:
    """The minimiser of `||projected |r| + S q||` within the radius, in the directions of `S`, and whether the radius leaves it as it is."""
    (unit, s), c = _of_order_one(singular_values, residual_norm), projected
    newton = _newton(s, c, _resolved(s, (num_data, 1)))
    weights, _, undamped = _weights(s, c, newton, unit * jnp.linalg.norm(newton), radius, unit)
    return unit * weights, undamped


def _newton(
    s: Float[Array, " rank"], c: Float[Array, " rank"], resolved: Bool[Array, " rank"]
) -> Float[Array, " rank"]:
    return jnp.where(resolved, -c / jnp.where(resolved, s, 1.0), 0.0)


def _weights(
    s: Float[Array, " rank"],
    c: Float[Array, " rank"],
    newton: Float[Array, " rank"],
    newton_length: Float[Array, ""],
    radius: Float[Array, ""],
    unit: Float[Array, ""],
) -> tuple[Float[Array, " rank"], Float[Array, ""], Bool[Array, ""]]:
    """The minimiser in units of `unit`, its damping, and whether that is none: whether the Gauss-Newton step is within the radius."""
    undamped = newton_length <= 1.1 * radius
    damping = jnp.where(undamped, 0.0, _damping(s, c, jnp.where(undamped, 1.0, radius / unit)))
    denominator = s**2 + damping
    damped = -s * c / jnp.where(denominator > 0, denominator, 1.0)
    return jnp.where(undamped, newton, damped), damping, undamped


def _of_order_one(
    singular_values: Float[Array, " rank"], residual_norm: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, " rank"]]:
    """The unit of lengths in which, with residuals in units of their norm, singular values are in units of the largest; and these."""
    largest = singular_values[0]
    unit = jnp.where(largest > 0, residual_norm / jnp.where(largest > 0, largest, 1.0), 1.0)
    unit = jnp.where(unit > 0, unit, 1.0)
    return unit, singular_values / jnp.where(largest > 0, largest, 1.0)


def _damping(s: Float[Array, " rank"], c: Float[Array, " rank"], radius: Float[Array, ""]) -> Any:
    """The root of `||s c / (s^2 + damping)|| = radius`, to a few per cent, from below: there Newton on the reciprocal is monotone."""
    gradient = jnp.abs(s * c)
    upper = jnp.linalg.norm(gradient) / radius
    # Each component alone must not be longer than the radius.
    lower = jnp.maximum(jnp.max(gradient / radius - s**2), 0.0)
    lower = jnp.maximum(lower, jnp.finfo(s.dtype).tiny)

    def newton(_: Array, damping: Float[Array, ""]) -> Any:
        weights = gradient / (s**2 + damping)
        length = jnp.linalg.norm(weights)
        curvature = jnp.sum(weights**2 / (s**2 + damping))
        update = length**2 / jnp.where(curvature > 0, curvature, 1.0) * (length / radius - 1.0)
        return jnp.clip(damping + update, lower, upper)

    return lax.fori_loop(0, 6, newton, lower)


def free_parameters(model: LinearModel) -> Float[Array, ""]:
    """How many parameters no bound holds."""
    return jnp.sum(~model.held, dtype=model.scale.dtype)


def standard_errors(model: LinearModel, num_data: int) -> Float[Array, " size"]:
    """The standard errors of the parameters as a linear fit would give them, over the directions that are resolved."""
    inverse = jnp.where(model.resolved, 1.0 / jnp.where(model.resolved, model.singular_values, 1.0), 0.0)
    remaining = jnp.maximum(1.0 - jnp.sum(model.seen**2), 0.0)
    deviation = model.residual_norm * jnp.sqrt(remaining / jnp.maximum(num_data - free_parameters(model), 1))
    return deviation * jnp.linalg.norm(model.directions * inverse[:, None], axis=0) / model.scale
