"""Levenberg-Marquardt as a trust-region method in scaled variables, for `optimistix.least_squares`."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

# The gain ratio (actual over predicted decrease) below which a step is refused, and the two between which the radius
# stays as it is: Moré (1978), algorithm 7.1.
_REFUSED, _POOR, _GOOD = 1e-4, 0.25, 0.75

# No parameter may move, relative to its magnitude, more than 10 times as far as the most influential one: a parameter that
# hardly matters where the solve starts would otherwise be thrown to where it never matters again.
_SCALE_FLOOR = 0.1


class _Model(eqx.Module):
    """The linear model `r + J p` of the residual around the last accepted point, in scaled variables `q = D p`.

    With `J D^-1 = U S V^T`, what the steps need is `S`, `V^T` and the residual seen through `U`. `column_norms` and `magnitude` are
    the largest that each column and each parameter have had; `rounding` is the relative change of the sum of squares that means
    nothing; `cosine` the largest between the residual and a column; `vanished` whether the residual is 0 for all purposes.
    """

    singular_values: Float[Array, " rank"]
    directions: Float[Array, "rank size"]
    projected: Float[Array, " rank"]
    residual_norm: Float[Array, ""]
    scale: Float[Array, " size"]
    column_norms: Float[Array, " size"]
    magnitude: Float[Array, " size"]
    rounding: Float[Array, ""]
    cosine: Float[Array, ""]
    vanished: Bool[Array, ""]


class _Trial(eqx.Module):
    """A point that was proposed, and what the model predicts for it, relative to the sum of squares."""

    point: Float[Array, " size"]
    length: Float[Array, ""]
    predicted: Float[Array, ""]
    slope: Float[Array, ""]
    undamped: Bool[Array, ""]


class _State(eqx.Module):
    """What is carried between steps. `stalls` counts the steps that could no longer improve anything."""

    model: _Model
    trial: _Trial
    radius: Float[Array, ""]
    newton_length: Float[Array, ""]
    stalls: Int[Array, ""]
    first: Bool[Array, ""]
    done: Bool[Array, ""]
    result: optx.RESULTS
    aux: Any


class LevenbergMarquardt(optx.AbstractLeastSquaresSolver):
    r"""Levenberg-Marquardt: Gauss-Newton steps, each the best one inside an ellipsoid whose size follows the model's success.

    Minimises `||r(y)||^2 / 2`. Each step solves `min ||r + J p||` subject to `||D p|| <= radius`, whose solution is
    `p = -(J^T J + damping D^2)^-1 J^T r`. `D` holds the largest norm that each column of `J` has had, so that the iterates do not
    depend on the units of the parameters. `J D^-1` is factorised once per accepted point (QR, then an SVD of the triangle:
    its condition is never squared), after which every `damping` costs a few vector operations: the one that belongs to the
    radius is found by Newton's method on `1 / ||D p||`. Radius and acceptance follow the ratio of actual to predicted decrease. A
    point where the residual or its Jacobian is not finite is refused like one that is worse.

    **Stopping.** With `p` the full Gauss-Newton step and `s_j` the standard error of parameter `j`, both from the current
    `J`: success if `norm(|p_j| / (atol + rtol (|y_j| + s_j))) <= 1` and `p` lowers the sum of squares by less than `1e-10` of it.
    The step estimates the distance to the minimum, and its size is compared with the parameter or its uncertainty, so the
    default tolerances suit every scale. A residual that has vanished beside `J y` is a success too. Near the minimum, where
    the sum of squares no longer resolves a decrease, steps are judged by the model alone. A solve that can improve nothing more
    succeeds if `|p_j| <= atol + sqrt(rtol) |y_j| + 0.01 s_j`, or if `r` is orthogonal to every column of `J` to half of the
    digits; it is `nonlinear_divergence` otherwise. A start where residual or Jacobian is not finite is `nonfinite`.

    **Arguments:** `rtol`, `atol`, `norm`: as above (`rtol` is at least 10 units of rounding); `initial_radius`: the first radius,
    in units of `||D y0||`.

    **Options** of `optimistix.least_squares`: `autodiff_mode`, `"fwd"` (one Jacobian-vector product a parameter) or `"bwd"` (one
    vector-Jacobian product a residual); by default `"bwd"` if there are more than four times as many parameters as residuals.

    **Source:** J. J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", Lecture Notes in Mathematics 630
    (1978), 105-116. Rounding near the minimum: Conn, Gould and Toint, "Trust-Region Methods" (2000), section 17.4.2. The
    comparison with standard errors: Bates and Watts, Technometrics 23 (1981), 179-183.
    """

    rtol: float = 1e-12
    atol: float = 0.0
    norm: Callable[[PyTree], Scalar] = optx.max_norm
    initial_radius: float = 1.0

    def init(
        self,
        fn: Any,
        y: Any,
        args: Any,
        options: dict[str, Any],
        f_struct: Any,
        aux_struct: Any,
        tags: frozenset[object],
    ) -> _State:
        """Nothing is evaluated here: the first step does it, so that the residual is traced once."""
        point, _ = ravel_pytree(y)
        n, dtype = point.size, point.dtype
        rank = min(n, sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(f_struct)))
        zero, vector = jnp.zeros((), dtype), jnp.zeros((n,), dtype)
        projected = jnp.zeros((rank,), dtype)
        model = _Model(
            singular_values=projected,
            directions=jnp.zeros((rank, n), dtype),
            projected=projected,
            residual_norm=zero,
            scale=vector,
            column_norms=vector,
            magnitude=vector,
            rounding=zero,
            cosine=zero,
            vanished=jnp.asarray(False),
        )
        trial = _Trial(point, zero, zero, zero, jnp.asarray(False))
        aux = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf,
            aux_struct,
        )
        return _State(
            model,
            trial,
            radius=zero,
            newton_length=jnp.full((), jnp.inf, dtype),
            stalls=jnp.asarray(0),
            first=jnp.asarray(True),
            done=jnp.asarray(False),
            result=optx.RESULTS.successful,
            aux=aux,
        )

    def step(
        self, fn: Any, y: Any, args: Any, options: dict[str, Any], state: _State, tags: frozenset[object]
    ) -> tuple[Any, _State, Any]:
        """Evaluates the proposed point, accepts or refuses it, and proposes the next."""
        point, unravel = ravel_pytree(y)

        def residual_of(vector: Any) -> Any:
            residual, aux = fn(unravel(vector), args)
            return ravel_pytree(residual)[0].astype(vector.dtype), aux

        residual, tangent_map, aux = jax.linearize(residual_of, state.trial.point, has_aux=True)
        ratio, unresolved = _gain_ratio(state, jnp.linalg.norm(residual))
        accepted, model = self._judge(options, tangent_map, residual, ratio, state)
        point = jnp.where(accepted, state.trial.point, point)
        radius = self._radius(jnp.where(accepted | (ratio < _REFUSED), ratio, -1.0), accepted, model, point, state)

        newton, newton_length = _newton_step(model, residual.size)
        trial = _propose(model, point, radius, newton, newton_length)
        # A damped step that was accepted makes room for a longer one, and counts as progress.
        stuck = state.trial.undamped & (newton_length >= 0.9 * state.newton_length)
        stalls = jnp.where(unresolved & (stuck | ~accepted), state.stalls + 1, state.stalls)
        exhausted = (stalls >= 3) | (radius <= jnp.finfo(point.dtype).eps * jnp.linalg.norm(model.scale * point))
        failed = state.first & ~accepted
        converged, close = self._tests(model, point, newton, residual.size)
        result = optx.RESULTS.where(
            failed,
            optx.RESULTS.nonfinite,
            optx.RESULTS.where(
                exhausted & ~close & ~converged, optx.RESULTS.nonlinear_divergence, optx.RESULTS.successful
            ),
        )
        aux = jax.tree.map(lambda new, old: jnp.where(accepted, new, old) if eqx.is_array(new) else new, aux, state.aux)
        new_state = _State(
            model,
            trial,
            radius,
            newton_length=jnp.where(accepted, newton_length, state.newton_length),
            stalls=stalls,
            first=jnp.asarray(False),
            done=failed | converged | exhausted,
            result=result,
            aux=aux,
        )
        return unravel(point), new_state, aux

    def _judge(self, options: dict[str, Any], tangent_map: Any, residual: Any, ratio: Any, state: _State) -> Any:
        """Whether the proposed point is accepted, and the model there (or the old one)."""
        finite = jnp.isfinite(jnp.linalg.norm(residual))
        promising = finite & (state.first | (ratio >= _REFUSED))

        def rebuild() -> Any:
            jacobian = _jacobian(tangent_map, state.trial.point, residual, options.get("autodiff_mode"))
            okay = jnp.all(jnp.isfinite(jacobian))
            # The decomposition of a matrix with NaN can raise or hang in LAPACK.
            return okay, _model(jnp.where(okay, jacobian, 0.0), residual, state.model, state.trial.point)

        okay, model = lax.cond(promising, rebuild, lambda: (jnp.asarray(False), state.model))
        model = jax.tree.map(lambda new, old: jnp.where(okay, new, old), model, state.model)
        return okay, model

    def _radius(self, ratio: Any, accepted: Any, model: _Model, point: Any, state: _State) -> Any:
        """The next radius: Moré (1978), algorithm 7.1 (c)."""
        length, slope, radius = state.trial.length, state.trial.slope, state.radius
        actual = ratio * state.trial.predicted
        # The minimiser along the step of the parabola through the two values and the slope.
        shrink = jnp.where(actual >= 0, 0.5, 0.5 * slope / (slope + 0.5 * actual))
        shrink = jnp.where(jnp.isfinite(shrink), jnp.clip(shrink, 0.1, 0.5), 0.1)
        shrunk = shrink * jnp.minimum(radius, 10.0 * length)
        grown = jnp.where((ratio >= _GOOD) | state.trial.undamped, 2.0 * length, radius)
        later = jnp.where(accepted & (ratio > _POOR), grown, shrunk)
        start = jnp.linalg.norm(model.scale * point)
        start = self.initial_radius * jnp.where(start > 0, start, model.residual_norm)
        return jnp.where(state.first, start, later)

    def _tests(self, model: _Model, point: Any, newton: Any, num_data: int) -> tuple[Any, Any]:
        """Whether the Gauss-Newton step is within the tolerances, and within those of a solve that cannot go on."""
        rtol = jnp.maximum(jnp.asarray(self.rtol, point.dtype), 10 * jnp.finfo(point.dtype).eps)
        atol = jnp.asarray(self.atol, point.dtype)
        standard_error = _standard_errors(model, num_data)
        size = jnp.abs(point)
        # A parameter on its way to 0 has no relative accuracy; it has arrived when nothing of its past is left in it.
        zero = jnp.finfo(point.dtype).eps ** 1.5 * model.magnitude + jnp.finfo(point.dtype).tiny
        tight = atol + rtol * (size + standard_error) + zero
        loose = atol + jnp.sqrt(rtol) * size + 1e-2 * standard_error + zero
        # Steps along the stiffest combinations of parameters are short beside each of them, and yet lower the sum of squares.
        minimal = jnp.linalg.norm(model.projected) <= 1e-5 * model.residual_norm
        level = model.cosine <= jnp.sqrt(jnp.finfo(point.dtype).eps)
        converged = ((self.norm(jnp.abs(newton) / tight) <= 1) & minimal) | model.vanished
        return converged, (self.norm(jnp.abs(newton) / loose) <= 1) | level

    def terminate(
        self, fn: Any, y: Any, args: Any, options: dict[str, Any], state: _State, tags: frozenset[object]
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        return state.done, state.result

    def postprocess(
        self,
        fn: Any,
        y: Any,
        aux: Any,
        args: Any,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[Any, Any, dict[str, Any]]:
        return y, aux, {}


def _jacobian(tangent_map: Any, point: Any, residual: Any, mode: str | None) -> Float[Array, "residuals size"]:
    if mode is None:
        mode = "bwd" if point.size > 4 * residual.size else "fwd"
    if mode == "fwd":
        return jax.vmap(tangent_map, out_axes=1)(jnp.eye(point.size, dtype=point.dtype))
    if mode == "bwd":
        (rows,) = jax.vmap(jax.linear_transpose(tangent_map, point))(jnp.eye(residual.size, dtype=point.dtype))
        return rows
    raise ValueError(f'autodiff_mode is "fwd" or "bwd", got {mode!r}')


def _model(jacobian: Any, residual: Any, previous: _Model, point: Any) -> _Model:
    norms = jnp.linalg.norm(jacobian, axis=0)
    column_norms = jnp.maximum(norms, previous.column_norms)
    scale = jnp.where(column_norms > 0, column_norms, 1.0)
    magnitude = jnp.maximum(jnp.abs(point), previous.magnitude)
    floor = _SCALE_FLOOR * jnp.max(scale * jnp.abs(point))
    scale = jnp.maximum(scale, floor / jnp.where(magnitude > 0, magnitude, jnp.inf))
    # The triangle of [J D^-1, r] has the residual seen through Q in its last column, so that Q is never formed.
    triangle = jnp.linalg.qr(jnp.concatenate([jacobian / scale[None, :], residual[:, None]], axis=1), mode="r")
    rank = min(jacobian.shape)
    left, singular_values, directions = jnp.linalg.svd(triangle[:rank, :-1], full_matrices=False)
    projected = left.T @ triangle[:rank, -1]
    residual_norm = jnp.linalg.norm(residual)
    eps = jnp.finfo(point.dtype).eps
    gradient = jnp.abs(directions.T @ (singular_values * projected)) * scale
    cosine = jnp.max(gradient / (jnp.where(norms > 0, norms, 1.0) * jnp.where(residual_norm > 0, residual_norm, 1.0)))
    return _Model(
        singular_values,
        directions,
        projected,
        residual_norm,
        scale,
        column_norms,
        magnitude,
        # Evaluating the residual is at best as exact as one unit of rounding in every parameter.
        rounding=10 * eps * (1.0 + jnp.linalg.norm(norms * point) / residual_norm),
        cosine=cosine,
        vanished=residual_norm <= eps**1.5 * jnp.linalg.norm(norms * magnitude),
    )


def _gain_ratio(state: _State, norm: Any) -> tuple[Any, Any]:
    """Actual over predicted decrease of the sum of squares; and whether both are too small for rounding to tell."""
    relative = norm / state.model.residual_norm
    # An increase beyond 10 times the norm, or to something not finite, counts as the worst ratio there is.
    actual = jnp.where(relative < 10.0, 1.0 - relative**2, -99.0)
    predicted = state.trial.predicted
    rounding = state.model.rounding
    unresolved = (predicted <= rounding) & ~state.first
    ratio = jnp.where(predicted > 0, actual / predicted, -1.0)
    return jnp.where(unresolved & (jnp.abs(actual) <= rounding), 1.0, ratio), unresolved


def _resolved(model: _Model, num_data: int) -> Any:
    """The directions in which the residual changes by more than rounding."""
    s = model.singular_values
    return s > jnp.finfo(s.dtype).eps * max(num_data, model.scale.size) * s[0]


def _newton_step(model: _Model, num_data: int) -> tuple[Any, Any]:
    """The Gauss-Newton step of least length, and that length in scaled variables."""
    resolved = _resolved(model, num_data)
    weights = jnp.where(resolved, -model.projected / jnp.where(resolved, model.singular_values, 1.0), 0.0)
    return model.directions.T @ weights / model.scale, jnp.linalg.norm(weights)


def _propose(model: _Model, point: Any, radius: Any, newton: Any, newton_length: Any) -> _Trial:
    """The minimiser of the model within the radius."""
    s, c = model.singular_values, model.projected
    undamped = newton_length <= 1.1 * radius
    damping = jnp.where(undamped, 0.0, _damping(s, c, jnp.where(undamped, 1.0, radius)))
    denominator = s**2 + damping
    weights = -s * c / jnp.where(denominator > 0, denominator, 1.0)
    step = jnp.where(undamped, newton, model.directions.T @ weights / model.scale)
    length = jnp.where(undamped, newton_length, jnp.linalg.norm(weights))
    norm = jnp.where(model.residual_norm > 0, model.residual_norm, 1.0)
    linear = (jnp.linalg.norm(s * (model.directions @ (model.scale * step))) / norm) ** 2
    penalty = damping * (length / norm) ** 2
    return _Trial(point + step, length, linear + 2 * penalty, -(linear + penalty), undamped)


def _damping(s: Any, c: Any, radius: Any) -> Any:
    """The root of `||s c / (s^2 + damping)|| = radius`, to a few per cent, from below: there Newton on the reciprocal is monotone."""
    gradient = jnp.abs(s * c)
    upper = jnp.linalg.norm(gradient) / radius
    # Each component alone must not be longer than the radius.
    lower = jnp.maximum(jnp.max(gradient / radius - s**2), 0.0)
    lower = jnp.maximum(lower, jnp.finfo(s.dtype).tiny)

    def newton(_: Any, damping: Any) -> Any:
        weights = gradient / (s**2 + damping)
        length = jnp.linalg.norm(weights)
        curvature = jnp.sum(weights**2 / (s**2 + damping))
        update = length**2 / jnp.where(curvature > 0, curvature, 1.0) * (length / radius - 1.0)
        return jnp.clip(damping + update, lower, upper)

    return lax.fori_loop(0, 6, newton, lower)


def _standard_errors(model: _Model, num_data: int) -> Float[Array, " size"]:
    """The standard errors of the parameters as a linear fit would give them, over the directions that are resolved."""
    resolved = _resolved(model, num_data)
    inverse = jnp.where(resolved, 1.0 / jnp.where(resolved, model.singular_values, 1.0), 0.0)
    remaining = jnp.maximum(model.residual_norm**2 - jnp.sum(model.projected**2), 0.0)
    deviation = jnp.sqrt(remaining / max(num_data - model.scale.size, 1))
    return deviation * jnp.linalg.norm(model.directions * inverse[:, None], axis=0) / model.scale
