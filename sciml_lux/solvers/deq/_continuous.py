"""`ContinuousDEQ`: an equilibrium that a differential equation comes to rest in."""

import dataclasses
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._errors import LayerError
from .._types import Truth
from ..differential import integrate
from ._cell import Cell
from ._deep_equilibrium import DeepEquilibrium
from ._find import Found, judge_at
from ._rows import row_norms
from ._settings import check_settings


class ContinuousDEQ(DeepEquilibrium):
    """The fixed point of a model that `dz/dt = model(z, x) - z` comes to rest in, as a layer.

    The equation is solved by diffrax until, for every sample, `|model(z, x) - z| <= atol + rtol |model(z, x)|` (root mean square). Steps
    are as long as stability permits, since nobody asks for the path. The derivative is that of the equilibrium, as for any
    `DeepEquilibrium`: which of them is reached, where there are several, depends on the start, and where it lies does not.

    With `model` alone, without `x`, and `z` from `y0`, this is the Neural ODE of infinite time: `lux.SteadyStateODE`.

    **Arguments:** as for `DeepEquilibrium`, of which `solver` is a solver of diffrax here (default: `diffrax.Bosh3()`;
    for tolerances below 1e-6, `diffrax.Tsit5()` takes fewer steps); and:

    - `rtol`, `atol`: where it is at rest; `t1`: when to give up; `max_steps`: of the solver, for all samples together.
    - `stepsize_controller`: of diffrax; by default `PIDController` with a tenth of these tolerances: with larger ones its steps grow until
      what is nearly at rest becomes unstable again.

    **Call:** `x` gives `z*`.

    **Parameters**, **states** and **errors:** as for `DeepEquilibrium`. `num_steps` is that of the solver.

    **Source:** Pal, Edelman and Rackauckas 2022, Continuous Deep Equilibrium Models.
    """

    _: dataclasses.KW_ONLY
    solver: Any = diffrax.Bosh3()
    max_steps: int = 4096
    rtol: float = 1e-4
    atol: float = 1e-4
    t1: float = 1e3
    stepsize_controller: diffrax.AbstractStepSizeController[Any, Any] | None = None

    def __post_init__(self) -> None:
        check_settings(self)
        if not isinstance(self.solver, diffrax.AbstractSolver):
            raise LayerError(f"ContinuousDEQ: solver is one of diffrax, such as diffrax.Tsit5(), got {self.solver!r}")
        for name in ("t1", "rtol", "atol"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
                raise LayerError(f"ContinuousDEQ: {name} is a number, 0 or more, got {value!r}")
        if self.t1 == 0:
            raise LayerError("ContinuousDEQ: t1, when to give up, is above 0, got 0")

    def tolerances(self) -> tuple[float, float]:
        return self.rtol, self.atol

    def search(self, cell: Cell, z0: Array, inputs: PyTree, trusted: Truth = False) -> Found:
        del trusted
        time = jnp.finfo(z0.dtype).dtype.type
        settings = {
            "solver": self.solver,
            "t0": time(0),
            "t1": time(self.t1),
            "dt0": None,
            "stepsize_controller": self.stepsize_controller
            or diffrax.PIDController(rtol=0.1 * self.rtol, atol=0.1 * self.atol),
            "max_steps": self.max_steps,
        }
        field = jax.tree_util.Partial(_field, cell)
        event = diffrax.Event(jax.tree_util.Partial(_at_rest, cell, self.rtol, self.atol))
        solution = integrate(field, z0, inputs, None, None, settings, diffrax.ForwardMode(), event)
        z: Any = solution.ys
        num_steps = jnp.asarray(solution.stats["num_steps"], jnp.int32)
        return judge_at(self.tolerances(), cell, z[-1], inputs, num_steps)


def _field(cell: Cell, t: Float[Array, ""], z: Float[Array, "samples size"], inputs: PyTree) -> Any:
    del t
    change = cell(z, inputs) - z
    # A sample that is not finite stays where it is, so that the steps suit the others.
    okay = jnp.all(jnp.isfinite(change), axis=1, keepdims=True)
    return jnp.where(okay, change, jnp.zeros((), z.dtype))


def _at_rest(
    cell: Cell,
    rtol: float,
    atol: float,
    t: Float[Array, ""],
    z: Float[Array, "samples size"],
    inputs: PyTree,
    **kwargs: Any,
) -> Any:
    del t, kwargs
    new = cell(z, inputs)
    residual = row_norms(new - z)
    return jnp.all((residual <= atol + rtol * row_norms(new)) | ~jnp.isfinite(residual))
