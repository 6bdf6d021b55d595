"""What all solvers of fixed points share: each sample's own convergence, its best iterate, and the record of the solve."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int, PyTree, Scalar

from ..._errors import LayerError, ShapeError
from ._evidence import GONE, NEARER, Evidence, at_rest, gathered, no_evidence, offset_of, tolerated
from ._rows import from_rows, row_norms, to_rows

# As many steps as `optimistix.fixed_point` takes unless told otherwise.
_TRACED_STEPS = 256


class Point(NamedTuple):
    """Where the samples are, as a method sees it.

    `value` is `z`; `residual` is `f(z) - z`, or 0 where that is not finite; `size` its norm, infinite there; `error` is `size` over
    what the tolerances allow; `done`: which samples stay; `unsure`: which are within the tolerances, but the last step did not change
    what is left of their residual; `within`: below 1 where the last step is not to be taken, since it went far
    out without lowering the residual, and then the factor that brings `z` back; `step` counts from 0; `evaluate` returns the residual at
    other values.
    """

    value: Inexact[Array, "samples size"]
    residual: Inexact[Array, "samples size"]
    size: Float[Array, " samples"]
    error: Float[Array, " samples"]
    done: Bool[Array, " samples"]
    unsure: Bool[Array, " samples"]
    within: Float[Array, " samples"]
    step: Int[Array, ""]
    evaluate: Callable[[Array], Array]


class Progress(eqx.Module):
    """What is known of the samples: the best iterates, with their residuals, these relative to what the tolerances allow, and the
    estimated distances to the equilibrium; the residual at the start brought `nearer` to 0, and what follows from it as the `offset`
    of the map; what else tells rest from drift; and what the method remembers."""

    best: Inexact[Array, "samples size"]
    error: Float[Array, " samples"]
    residual: Float[Array, " samples"]
    distance: Float[Array, " samples"]
    nearer: Inexact[Array, "samples size"]
    offset: Inexact[Array, "samples size"]
    evidence: Evidence
    trusted: Bool[Array, " samples"]
    evaluations: Int[Array, " samples"]
    converged: Bool[Array, " samples"]
    failed: Bool[Array, " samples"]
    retreats: Int[Array, " samples"]
    step: Int[Array, ""]
    trace: Float[Array, "steps samples"] | None
    memory: Any


class Samples(eqx.Module):
    """The part of a solver that is common to fixed points and roots, and to all methods.

    A method writes `start`, its memory at the beginning, and `propose`, from where the samples are to where they go next.
    """

    rtol: float = 1e-4
    atol: float = 1e-4
    norm: Callable[[PyTree], Scalar] = optx.rms_norm
    criterion: Literal["mixed", "relative", "absolute"] = eqx.field(default="mixed", kw_only=True)
    batched: bool = eqx.field(default=False, kw_only=True)
    trace: bool | int = eqx.field(default=False, kw_only=True)

    # Whether the function returns what must vanish, rather than the next iterate.
    _returns_residual: ClassVar[bool] = False

    def __check_init__(self) -> None:
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not value >= 0:
                raise LayerError(f"{name} must be 0 or more, got {value!r}. Write {name}=1e-4, for example.")
        if self.criterion not in ("mixed", "relative", "absolute"):
            raise LayerError(f'criterion must be "mixed", "relative" or "absolute", got {self.criterion!r}.')
        if self.trace is not False and self.trace < 1:
            raise LayerError(f"trace must be True, False or the number of steps to keep, got {self.trace!r}.")

    @abc.abstractmethod
    def start(self, value: Inexact[Array, "samples size"]) -> Any:
        """The memory before the first step; only the shape and dtype of `value` may matter."""

    @abc.abstractmethod
    def since(
        self, value: Inexact[Array, "samples size"], residual: Inexact[Array, "samples size"], memory: Any
    ) -> tuple[Inexact[Array, "samples size"], Inexact[Array, "samples size"]]:
        """What the last step changed the value and the residual by, given both after it and the memory before."""

    @abc.abstractmethod
    def propose(self, point: Point, memory: Any) -> tuple[Inexact[Array, "samples size"], Any, Any]:
        """Where the samples go next, the memory there, and how many evaluations that took of each sample beyond the one at `point`."""

    def _most_retreats(self) -> int:
        """How often in a row a method can go back from where `f` is not finite, before the sample is given up."""
        return 0

    def init(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree,
        aux_struct: PyTree,
        tags: frozenset[object],
    ) -> Progress:
        """One evaluation, near the start, unless that is 0; the one at the start is left to the first step.

        `options["trusted"]`: which samples start from a point that was proved to rest, and need no other proof within the tolerances.
        """
        value = to_rows(y, self.batched)
        _check_same_shape(y, f_struct)
        samples = value.shape[0]
        infinite = jnp.full((samples,), jnp.inf, value.real.dtype)
        steps = _TRACED_STEPS if self.trace is True else int(self.trace)
        trace = jnp.full((steps, samples), jnp.nan, value.real.dtype) if steps else None
        no = jnp.zeros((samples,), bool)
        none = jnp.zeros((samples,), jnp.int32)
        trusted = jnp.broadcast_to(jnp.asarray(options.get("trusted", False)), (samples,))
        needed = jnp.any((value != 0) & ~trusted[:, None])
        nearer = lax.cond(needed, lambda: self._nearer(fn, value, y, args), lambda: jnp.zeros_like(value))
        nearer = jnp.where(trusted[:, None], jnp.nan, nearer)
        return Progress(
            best=value,
            error=infinite,
            residual=infinite,
            distance=infinite,
            nearer=nearer,
            offset=nearer,
            evidence=no_evidence(value),
            trusted=trusted,
            evaluations=none,
            converged=no,
            failed=no,
            retreats=none,
            step=jnp.zeros((), jnp.int32),
            trace=trace,
            memory=self.start(value),
        )

    def step(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: Progress,
        tags: frozenset[object],
    ) -> tuple[Any, Progress, Any]:
        """One evaluation, at `y`; each sample that is not done yet moves on."""
        value = to_rows(y, self.batched)
        out, aux = fn(y, args)
        residual = self._residual(value, out)
        active = ~(state.converged | state.failed)
        offset = jnp.where(state.step == 0, offset_of(value, residual, state.nearer), state.offset)
        error, size = self._error(value, residual, offset, y)
        finite = jnp.isfinite(error) & jnp.isfinite(size)
        # What is not finite ends here: neither the memory of the method nor, through it, the next iterate gets to see it.
        error, size = (jnp.where(finite, number, jnp.inf) for number in (error, size))
        residual = jnp.where(finite[:, None], residual, 0)
        steps = self.since(value, residual, state.memory)
        evidence = gathered(state.evidence, value, residual, offset, *steps, finite, state.step)
        within = active & (error <= 1)
        arrived = within & (at_rest(evidence, error) | (state.trusted & (state.step == 0)))
        # The residual is not known to be less than its rounding.
        floored = jnp.maximum(size, float(jnp.finfo(size.dtype).eps) * row_norms(self.norm, value, y, self.batched))
        # The smallest residual, not the smallest relative to `z`, which moving out lowers as well.
        better = (active & finite & ((size < state.residual) | (state.step == 0))) | arrived
        converged = state.converged | arrived
        retreats = jnp.where(finite, 0, state.retreats + 1)
        failed = state.failed | (active & (retreats > jnp.where(state.step == 0, 0, self._most_retreats())))

        def evaluate(rows: Array) -> Array:
            return self._residual(rows, fn(from_rows(rows, y), args)[0])

        # Such a sample shows by a plain step whether its residual goes.
        unsure = within & ~arrived & (evidence.left <= GONE) & ~evidence.changed
        point = Point(value, residual, size, error, converged | failed, unsure, evidence.within, state.step, evaluate)
        proposal, memory, extra = self.propose(point, state.memory)
        # A sample that is done stays where it was evaluated last. The iterates stay finite: optimistix ends the solve of all samples
        # at the first number that is not.
        move = ~(converged | failed)[:, None] & jnp.isfinite(proposal)
        later = Progress(
            best=jnp.where(better[:, None], value, state.best),
            error=jnp.where(better, error, state.error),
            residual=jnp.where(better, size, state.residual),
            distance=jnp.where(better, _times(evidence.error, floored), state.distance),
            nearer=state.nearer,
            offset=offset,
            evidence=evidence,
            trusted=state.trusted,
            evaluations=state.evaluations + jnp.where(active, 1, 0) + jnp.where(converged | failed, 0, extra),
            converged=converged,
            failed=failed,
            retreats=retreats,
            step=state.step + 1,
            trace=_record(state.trace, state.step, jnp.where(active, size, jnp.nan)),
            memory=memory,
        )
        return from_rows(jnp.where(move, proposal, value), y), later, aux

    def terminate(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: Progress,
        tags: frozenset[object],
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        """When every sample has converged or has met a value that is not finite."""
        done = jnp.all(state.converged | state.failed)
        okay = ~done | jnp.all(state.converged)
        return done, optx.RESULTS.where(okay, optx.RESULTS.successful, optx.RESULTS.nonfinite)

    def postprocess(
        self,
        fn: Callable[..., Any],
        y: PyTree[Array],
        aux: PyTree,
        args: PyTree,
        options: dict[str, Any],
        state: Progress,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[Any, Any, dict[str, Any]]:
        """The best iterate of each sample, and what is known of it."""
        stats = {
            "residual": state.residual,
            "error": state.distance,
            "num_steps": state.evaluations,
            "converged": state.converged,
        }
        if state.trace is not None:
            stats["residuals"] = state.trace
        if not self.batched:
            stats = {name: value[..., 0] for name, value in stats.items()}
        return from_rows(state.best, y), aux, stats

    def _residual(self, value: Array, out: PyTree[Array]) -> Array:
        rows = to_rows(out, self.batched)
        return rows if self._returns_residual else rows - value

    def _nearer(self, fn: Callable[..., Any], value: Array, like: PyTree[Array], args: PyTree) -> Array:
        """The residual a little nearer to 0 than the start."""
        rows = NEARER * value
        return lax.stop_gradient(self._residual(rows, fn(from_rows(rows, like), args)[0]))

    def _error(self, value: Array, residual: Array, offset: Array, like: PyTree[Array]) -> tuple[Array, Array]:
        """The residual over what the tolerances allow; and the residual in the units of `norm`."""
        # These decide, and are reported; derivatives go through the iterates alone.
        value, residual, offset = lax.stop_gradient((value, residual, offset))
        size = row_norms(self.norm, residual, like, self.batched)
        if self.criterion == "absolute":
            return _over(size, jnp.full_like(size, self.atol)), size
        scale = row_norms(self.norm, value + residual, like, self.batched)
        scale = tolerated(scale, row_norms(self.norm, offset - residual, like, self.batched))
        atol = self.atol if self.criterion == "mixed" else 0.0
        return _over(size, atol + self.rtol * scale), size


class FixedPointSolver(Samples, optx.AbstractFixedPointSolver[Any, Any, Any]):
    """A solver for `optimistix.fixed_point`."""


class RootFinder(Samples, optx.AbstractRootFinder[Any, Any, Any, Any]):
    """A solver for `optimistix.root_find`, and, as any of its kind, for `optimistix.fixed_point`."""

    _returns_residual: ClassVar[bool] = True


def _over(size: Array, allowed: Array) -> Array:
    """`size / allowed`, ordered by size where nothing is allowed, and 0 at an exact solution whatever is allowed."""
    tiny = float(jnp.finfo(size.dtype).tiny)
    return jnp.where(size > 0, size / jnp.maximum(allowed, tiny**0.5), size)


def _times(factor: Array, size: Array) -> Array:
    """Their product, and 0 at an exact solution."""
    return jnp.where(size > 0, factor * size, size)


def _record(trace: Array | None, step: Array, sizes: Array) -> Array | None:
    return None if trace is None else trace.at[step].set(sizes, mode="drop")


def _check_same_shape(y: PyTree[Array], struct: PyTree) -> None:
    got, expected = ([leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (struct, y))
    if got != expected:
        raise ShapeError(
            f"The function must return arrays of the shapes of its argument, {expected}, but returned {got}."
            " For another number of equations than unknowns use optimistix.least_squares."
        )
