"""`fit`: minimise a loss over one parameter vector, many steps to a dispatch."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import optimistix

from .._errors import FitError, LayerError
from ..core import CachedFunction, cached_function, ravel_maps
from ..flatten import FlatParams
from ..kernels import is_compiling, is_traced
from ._batches import Batches
from ._gradient_stepper import GradientStepper
from ._job import Job
from ._loss import Loss, check_loss
from ._minimiser_stepper import MinimiserStepper
from ._optimizers import as_transformation
from ._result import Fitted
from ._run import run_stages


def fit(
    loss: Loss,
    ps: FlatParams,
    st: Any,
    optimizer: Any,
    *,
    steps: int | None = None,
    data: Any = None,
    progress: bool = False,
    max_failures: int = 10,
    throw: bool = True,
) -> Fitted:
    """Minimises `loss` over the parameter vector.

    Steps run in compiled chunks, several hundred to a dispatch. A step whose loss or gradient is not finite, or in which a solve failed,
    is not taken: the parameters move halfway back to the last good ones and the optimiser's state stays as it was. The loss at the
    end is evaluated as well, and the best point of all is kept beside the last.

    **Arguments:**

    - `loss`: `loss(ps, st, batch)` returns `(value, st)` or `(value, st, stats)`, with a scalar `value`. Within a fit, adapters whose solve
      fails return NaN and say why in their state, rather than raise.
    - `ps`, `st`: from `lux.setup`.
    - `optimizer`: an optax transformation (`optax.adam(1e-2)`, `optax.lbfgs()`, `optax.MultiSteps(...)`), an optimistix minimiser
      (`optimistix.BFGS(rtol, atol)`), or a list of stages, `[(optax.adam(1e-2), 500), (optimistix.BFGS(...), 200)]`.
      A transformation that treats parameters by their shapes or names (Muon, LAMB, LARS, Adafactor, adaptive clipping, masks and labels)
      is found by trying it on a few numbers, and sees them one by one as arrays (`lux.training.per_leaf`); any other sees the one
      vector. A schedule-free one ends at its average, Lookahead at its fast parameters. SAM runs with `opaque_mode=True`.
      A minimiser sees a function that does not change: random keys in the state are held while it runs.
    - `steps`: how many steps; each stage of a list names its own. Batches that end may end a fit earlier, and so may
      a minimiser that has converged.
    - `data`: `None`; a tree of arrays given whole to every step; an iterator of batches, one a step; or a loader of batches, such as
      PyTorch's `DataLoader`, which is looped over once, or as often as `steps` needs. Arrays may be of JAX, NumPy or PyTorch, and are
      copied as they come, so that a loader may use its buffers again. The last batch of a loader may have fewer rows, at the price
      of a second compilation.
    - `progress`: whether to draw a bar with loss and rate (needs the extra `progress`).
    - `max_failures`: how many steps in a row may fail before the fit stops.
    - `throw`: whether a fit that is no success raises.

    **Returns:** `Fitted`, with `ps`, `st`, `losses`, `value`, `best`. It is no success if the fit stopped, if no step was taken,
    if it came to no good point beside its start, or if the loss has risen: all of the last tenth of the losses are above all
    of the first, or it has more than doubled in fewer than 20 steps. Losses of different batches count as risen if the start
    is better on the last batch, too.

    Compiled once for each loss, optimiser, layout and shape of data, and anew when anything has changed that the loss or the
    optimiser reads: globals, closures, attributes, elements of arrays (`lux.estimation.least_squares` says what is seen).

    **Errors:** `FitError` if the fit was no success; it says why, and `error.fitted` holds what was reached. Anything else that is raised
    on the way, by the loss, a loader or the user's interrupt, gets this attribute, too. `LayerError` for a loss that returns
    something else, an optimiser that is neither, or a missing number of steps.
    """
    if not isinstance(ps, FlatParams):
        raise LayerError(f"fit takes the FlatParams that lux.setup returned, got {type(ps).__name__}")
    if is_compiling() or is_traced(ps.vector):
        raise LayerError(
            "fit runs programs of its own and looks at their results; call it outside jax.jit, jax.grad and jax.vmap"
        )
    if max_failures < 1:
        raise LayerError(f"max_failures is 1 or more, got {max_failures}")
    batches = Batches(data)
    planned = stages(loss, optimizer, steps, batches, ps)
    with contextlib.ExitStack() as used:
        for stepper, _ in planned:
            used.enter_context(stepper.cached)
        fitted = run_stages(planned, ps, st, batches, max_failures, progress)
    if fitted.message and throw:
        raise FitError(fitted.message, fitted)
    return fitted


def stages(
    loss: Loss, optimizer: Any, steps: int | None, batches: Batches, ps: FlatParams
) -> list[tuple[Any, int | None]]:
    """A stepper and a number of steps for each stage, all of them checked before the first one runs."""
    check_loss(loss)
    checked = [_stage(one, number, batches) for one, number in _stages(optimizer, steps)]
    maps = ravel_maps(ps.layout)
    return [(kind(cached_function(Job(loss, one, maps))), number) for kind, one, number in checked]


def _stages(optimizer: Any, steps: int | None) -> list[tuple[Any, int | None]]:
    if isinstance(optimizer, list):
        bad = [stage for stage in optimizer if type(stage) is not tuple or len(stage) != 2]  # optax's are tuples, too
        if bad or not optimizer or steps is not None:
            raise LayerError(
                "stages are pairs with their own steps: fit(..., [(optax.adam(1e-2), 500), (optax.lbfgs(), 100)]), without steps="
            )
        return list(optimizer)
    return [(optimizer, steps)]


def _stage(optimizer: Any, steps: Any, batches: Batches) -> tuple[Callable[[CachedFunction], Any], Any, int | None]:
    """The kind of stepper of a stage, its optimiser and number of steps, after the checks that need nothing to have run."""
    optimizer = as_transformation(optimizer)
    if not isinstance(optimizer, optimistix.AbstractMinimiser | optax.GradientTransformation):
        raise LayerError(
            f"fit takes an optax transformation such as optax.adam(1e-2), an optimistix minimiser, or a list of stages; got {optimizer!r}"
        )
    if steps is None and not batches.streamed:
        raise LayerError("fit needs to know when to stop: pass steps=, or data= as an iterator that ends")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 0):
        raise LayerError(f"steps is a whole number, 0 or more, got {steps!r}")
    steps = None if steps is None else int(steps)
    if isinstance(optimizer, optax.GradientTransformation):
        return GradientStepper, optimizer, steps
    if batches.streamed:
        raise LayerError(
            "a minimiser needs the same data at every step, and got an iterator; pass all of it as one tree of arrays"
        )
    return MinimiserStepper, optimizer, steps
