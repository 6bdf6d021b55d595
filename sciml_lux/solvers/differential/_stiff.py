"""What `stiff=True` solves with: an implicit method whose stages are found to the tolerance of the state.

diffrax solves for the derivative `k` at each stage `Y = y_n + h (sum_j a_ij k_j + gamma k)`, and its root finder compares corrections
of `k` with `atol + rtol |k|`, as if `k` were a state. Near a slow manifold `k` is the small difference of large terms, and the tolerance
far below what the step needs, in float32 below rounding: the iteration fails, and the step with it. Here corrections are
compared as what they change the stage by, `h gamma dk` with `atol + rtol |Y|`, the measure of the error estimate itself.

Measured, each with the PI controller below, at tolerance 1e-6, steps accepted + rejected:

| | `VeryChord`, diffrax's default | here |
| van der Pol, mu = 1000, t to 2000 | 2259 + 840 | 777 + 121 |
| Robertson, t to 1e11 | 1379 + 597 | 285 + 18 |
| Oregonator, t to 360 | 3296 + 1463 | 737 + 74 |

In float32 at 1e-4 the default comes to no end with the last two, where 265 + 51 and 367 + 62 steps do here. A Jacobian at each iteration
(`optimistix.Newton`) takes a third fewer steps again, but 3 to 9 times as long for a network of 100 states; `Kvaerno4` and
`Kvaerno3` take more steps from 1e-4 on; with `VeryChord` and
diffrax's I controller as many steps are rejected as accepted, with PI a third.
Hairer and Wanner 1996, Solving Ordinary Differential Equations II, sections IV.2 (controllers) and IV.8 (stopping the iteration).
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix
from jaxtyping import Array, PyTree

from ._settings import SolveSettings

# Of the step size's exponents of the last error and of the one before: less eager, after a step that was too long, than the I controller.
PI_COEFFICIENTS: dict[str, Any] = {"pcoeff": 0.3, "icoeff": 0.4}
# The part of the tolerance that the iteration may use up; Hairer and Wanner recommend 0.1 to 0.01.
_KAPPA = 0.1


def implicit_solver(settings: SolveSettings) -> diffrax.AbstractSolver[Any]:
    """`Kvaerno5`, its stages solved to the tolerances of the controller, or, for fixed steps, to those of the settings."""
    if isinstance(settings.stepsize_controller, diffrax.ConstantStepSize | diffrax.StepTo):
        smallest = min(jax.tree.leaves(settings.atol))
        return diffrax.Kvaerno5(root_finder=StageChord(settings.rtol, smallest, kappa=_KAPPA))
    return diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(StageChord)(kappa=_KAPPA))


class StageChord(diffrax.VeryChord):
    """`diffrax.VeryChord`, one Jacobian a step, whose corrections are measured by what they change the state of the stage."""

    def step(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: Any,
        tags: frozenset[object],
    ) -> tuple[Any, Any, Any]:
        y, state, aux = super().step(fn, y, args, options, state, tags)
        # What diffrax hands on, so that root finders can look at the stage.
        _, diagonal, _, prod, _, partial, _, control = args

        def change(derivative: Array) -> Any:
            return jax.tree.map(lambda leaf: leaf * diagonal.astype(leaf.dtype), prod(derivative, control))

        def scaled(partial: Array, stage: Array, correction: Array) -> Any:
            return correction / (self.atol + self.rtol * jnp.abs(partial + stage))

        size = self.norm(jax.tree.map(scaled, partial, change(y), change(state.diff)))
        return y, eqx.tree_at(lambda s: s.diffsize, state, size.astype(state.diffsize.dtype)), aux

    def terminate(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: Any,
        tags: frozenset[object],
    ) -> tuple[Any, Any]:
        done, result = super().terminate(fn, y, args, options, state, tags)
        # A first correction this small needs no second: converging by 0.9 alone, all others together come to less than `kappa`.
        small = state.diffsize < 0.1 * self.kappa
        diverged = result == optimistix.RESULTS.nonlinear_divergence
        return done | small, optimistix.RESULTS.where(small & diverged, optimistix.RESULTS.successful, result)
