"""Levenberg-Marquardt as a trust-region method in scaled variables, for `optimistix.least_squares`."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from ._bounds import Bounds, along
from ._linear_model import jacobian_of
from ._namespace import Numbers
from ._trust_region import Candidate, Progress, Rules, advance, begin


class _State(NamedTuple):
    progress: Progress
    aux: Any


class LevenbergMarquardt(optx.AbstractLeastSquaresSolver[Any, Any, Any, Any]):
    r"""Levenberg-Marquardt: Gauss-Newton steps, each the best one inside an ellipsoid whose size follows the model's success.

    Minimises `||r(y)||^2 / 2`. Each step solves `min ||r + J p||` subject to `||D p|| <= radius`, whose solution is
    `p = -(J^T J + damping D^2)^-1 J^T r`. `D` holds the largest norm that each column of `J` has had, so that the iterates do not
    depend on the units of the parameters; a parameter may not move, relative to its magnitude, more than ten times as far as the most
    influential one, until nothing else improves. `J D^-1` is factorised once per accepted point (QR, then an SVD of the triangle:
    its condition is never squared), after which every `damping` costs a few vector operations: the one that belongs to the
    radius is found by Newton's method on `1 / ||D p||`. Radius and acceptance follow the ratio of actual to predicted decrease. A
    point where the residual or its Jacobian is not finite is refused like one that is worse.

    **Stopping.** With `p` the full Gauss-Newton step and `s_j` the standard error of parameter `j`, both from the current `J`:
    success if `norm(|p_j| / (atol + rtol (|y_j| + s_j))) <= 1` and `p` promises to lower the sum of squares by no more than
    `1e-10` of it. The step estimates the distance to the minimum, and its size is compared with the parameter or its uncertainty,
    so the default tolerances suit every scale. Where rounding hides the change of the sum of squares, a step is accepted if it
    shortens the gradient or `p`; a solve ends after six in a row that do neither, or if a step no longer changes the parameters.

    **What success means.** A solve that can improve nothing more succeeds only with a certificate that depends on neither `D` nor
    the damping: `p` promises no more than `1e-10` of the sum of squares; or lies within a thousandth of the confidence region's
    radius (the relative offset); or the residual is orthogonal to every column of `J` to half of the digits, or to a third of
    them while no refused step left more than `1e-10` to gain (a singular `J`); or the residual is rounding beside the start's and
    beside `|J| |y|`. A residual of 0 is one too, and one that has fallen to `eps^2` of the start's with every parameter at rest
    or fallen to `eps` of the largest it has been. Else the result is `nonlinear_divergence`: at a kink, at an infimum at
    infinity, where the residual is not smooth, where it depends on no parameter. A minimum is certified to first order: a start
    at a saddle point stays there. A start where residual or Jacobian is not finite is `nonfinite`.

    **Arguments:** `rtol`, `atol`, `norm`: as above (`rtol` is at least 10 units of rounding); `initial_radius`: the first radius,
    in units of `||D y0||`.

    **Options** of `optimistix.least_squares`: `autodiff_mode`, `"fwd"` (one Jacobian-vector product a parameter) or `"bwd"` (one
    vector-Jacobian product a residual); by default `"bwd"` if there are more than four times as many parameters as residuals.
    `lower`, `upper`: closed bounds on `y`, numbers or trees like it of arrays that broadcast to it; where they are equal a parameter
    is fixed; where they are the wrong way round the result is `nonfinite`. A start outside is put on the bound. A parameter on a bound
    against which the gradient presses it is held: the others are minimised over, and what was said of columns is said of theirs
    (first-order optimality with bounds). A step goes as far as the first bound, on from there along it, and nine tenths of the way only
    until the parameter was kept from going farther twice; iterates on a bound are so exactly. Bounds are data: others compile nothing.
    `sizes`: numbers or a tree like `y`, in place of the magnitude of `y` where steps are chosen, for numbers whose origin means nothing,
    such as logarithms (1: a factor of e).
    `objective`: a function of the `aux` of `fn`: what is minimised in place of `||r||^2 / 2`, such as a negative logarithm of a likelihood.
    Then `r` and `J` stand for its gradient, `J^T r`, and its curvature, `J^T J`, such as Fisher's information (the method of scoring), and
    what was said of the sum of squares is said of the objective, with changes relative to `||r||^2 / 2`; a residual of 0 is a gradient of
    0.

    **Source:** J. J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", Lecture Notes in Mathematics 630
    (1978), 105-116. Rounding near the minimum: Conn, Gould and Toint, "Trust-Region Methods" (2000), section 17.4.2. The
    comparison with standard errors, and the relative offset: Bates and Watts, Technometrics 23 (1981), 179-183.
    """

    rtol: float = 1e-12
    atol: float = 0.0
    norm: Callable[[PyTree], Scalar] = optx.max_norm
    initial_radius: float = 1.0

    def init(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree,
        aux_struct: PyTree,
        tags: frozenset[object],
    ) -> _State:
        """Nothing is evaluated here: the first step does it, so that the residual is traced once."""
        point, _ = ravel_pytree(y)
        num_data = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(f_struct))
        aux = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf,
            aux_struct,
        )
        return _State(begin(point, num_data, Bounds.of(options, y)), aux)

    def step(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
    ) -> tuple[Any, _State, Any]:
        """Evaluates the proposed point, accepts or refuses it, and proposes the next."""
        _, unravel = ravel_pytree(y)
        progress, at = state.progress, jnp.asarray(state.progress.trial.point)

        def residual_of(vector: Float[Array, " size"]) -> Any:
            residual, aux = fn(unravel(vector), args)
            return ravel_pytree(residual)[0].astype(vector.dtype), aux

        residual, tangent_map, aux = jax.linearize(residual_of, at, has_aux=True)
        mode, function = options.get("autodiff_mode"), options.get("objective")
        candidate = Candidate(
            residual,
            None if function is None else jnp.asarray(function(aux), residual.dtype),
            lambda: jacobian_of(tangent_map, at, residual, mode),
        )
        progress, accepted = advance(progress, candidate, self.rules(Bounds.of(options, y), _sizes(options, y)))
        aux = jax.tree.map(lambda new, old: jnp.where(accepted, new, old) if eqx.is_array(new) else new, aux, state.aux)
        return unravel(jnp.asarray(progress.point)), _State(progress, aux), aux

    def rules(
        self, bounds: Bounds | None, sizes: Float[Numbers, " size"] | None = None, has_objective: bool = False
    ) -> Rules:
        """The arguments, for steps that are taken elsewhere."""
        return Rules(self.rtol, self.atol, self.norm, self.initial_radius, bounds, sizes, has_objective)

    def terminate(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        found = state.progress
        failure = optx.RESULTS.where(found.finite, optx.RESULTS.nonlinear_divergence, optx.RESULTS.nonfinite)
        return jnp.asarray(found.done), optx.RESULTS.where(
            found.minimal | ~found.done, optx.RESULTS.successful, failure
        )

    def postprocess(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        aux: PyTree,
        args: PyTree,
        options: dict[str, Any],
        state: _State,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[Any, Any, dict[str, Any]]:
        return y, aux, {}


def _sizes(options: dict[str, Any], y: PyTree[Array]) -> Float[Array, " size"] | None:
    return None if options.get("sizes") is None else along(y, "sizes", options["sizes"], 0.0)
