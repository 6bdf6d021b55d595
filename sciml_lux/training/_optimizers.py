"""Optax's optimisers on one vector: which run on it as they are, which see the parameters leaf by leaf, which are adapted."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._errors import LayerError
from ..core import CachedFunction
from ..flatten import FlatParams, Layout, flatten
from ._per_leaf import per_leaf, stored_arrays

_LARGEST_SIDE = 130  # of the arrays that are tried: above 128, from which on Adafactor factorises
_MOST_LEAVES = 64
_MOST_TRIES, _TRIED = 70, 3  # steps, and how many of them must have moved: gradients may be accumulated first
_ROUNDING = 64  # units of it by which updates may differ: norms of all parameters are summed in another order
# Transformations of optax that act on each number by itself, by sums over all of them, or by inner products: the same on a vector.
_ELEMENTWISE = frozenset(
    [
        "add_decayed_weights",
        "clip",
        "clip_by_global_norm",
        "ema",
        "identity",
        "scale",
        "scale_by_adam",
        "scale_by_adamax",
        "scale_by_amsgrad",
        "scale_by_backtracking_linesearch",
        "scale_by_belief",
        "scale_by_lbfgs",
        "scale_by_lion",
        "scale_by_radam",
        "scale_by_rms",
        "scale_by_rss",
        "scale_by_schedule",
        "scale_by_sign",
        "scale_by_stddev",
        "scale_by_yogi",
        "scale_by_zoom_linesearch",
        "trace",
        "zero_nans",
    ]
)
_COMBINATIONS = frozenset({"chain", "with_extra_args_support"})


def as_transformation(optimizer: Any) -> Any:
    """An `optax.MultiSteps` as the transformation that it stands for; anything else as it is."""
    return optimizer.gradient_transformation() if isinstance(optimizer, optax.MultiSteps) else optimizer


@functools.lru_cache(maxsize=32)
def on_vector(cached: CachedFunction, layout: Layout) -> optax.GradientTransformationExtraArgs:
    """The transformation by which a vector of this layout moves as the parameters would one by one.

    **Errors:** `LayerError` for one that can run on neither, and for one that would end at a point that is not meant.
    """
    optimizer = cached.use().optimizer
    with jax.ensure_compile_time_eval():
        return _choose(optimizer, layout)


def _choose(optimizer: Any, layout: Layout) -> optax.GradientTransformationExtraArgs:
    if not layout.size or _is_elementwise(optimizer.update):
        return _adapted(optimizer)
    small = _stand_in(layout)
    failed: Exception | None = None
    for tried in dict.fromkeys((small, layout)):
        # Whether it runs at all is asked first: what is made for the vector knows no leaves, and the other way round.
        routes = [_adapted(optimizer), per_leaf(_adapted(optimizer))]
        states, errors = zip(*(_state_of(route, tried) for route in routes), strict=True)
        if states[0] is None and states[1] is None:
            failed = errors[0] or errors[1]
            continue
        if states[0] is None or states[1] is None:
            return routes[states[0] is None]
        return routes[0] if _are_elementwise(routes, tried) else routes[1]
    raise LayerError(
        f"the optimizer can run neither on one vector nor on the parameters leaf by leaf: {failed}; write masks and labels as functions, "
        "such as mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)"
    ) from failed


def _state_of(transformation: Any, layout: Layout) -> tuple[Any, Exception | None]:
    """The state after one step, as shapes, and what was raised."""
    flat = FlatParams(jnp.zeros((layout.size,), layout.dtype), layout)

    def step(flat: FlatParams) -> Any:
        return _updated(transformation, flat, transformation.init(flat), lambda flat: jnp.sum(flat.vector**2))[1]

    try:
        with jax.numpy_dtype_promotion("standard"):
            return jax.eval_shape(step, flat), None
    except LayerError:
        raise
    except Exception as error:  # whatever a mask, a label or a norm raises when it is given what it was not made for
        return None, error


def _updated(transformation: Any, flat: FlatParams, state: Any, value_fn: Any) -> Any:
    value, gradient = jax.value_and_grad(value_fn)(flat)
    return transformation.update(gradient, state, flat, **extra_arguments(state, value, gradient, value_fn))


def extra_arguments(state: Any, value: Any, gradient: Any, value_fn: Any) -> dict[str, Any]:
    """What the transformation of this state is to be told beside the gradient: none accepts what only others ask for."""
    names = _types(state)
    if "SAMState" in names:
        return {"grad_fn": lambda params, step: jax.grad(value_fn)(params)}
    if "HutchinsonState" in names:
        return {"obj_fn": value_fn}
    return {"value": value, "grad": gradient, "value_fn": value_fn}


def _are_elementwise(routes: list[Any], layout: Layout) -> bool:
    """Whether both ways of running move a quadratic function's parameters alike to rounding, over a few steps from a random point."""
    random = np.random.default_rng(0)
    # Of very different sizes, so that a weak decay of the large ones is seen beside the gradient of the small ones.
    sizes = 10.0 ** random.integers(0, 4, layout.size)
    start, curvature, minimum = (
        numbers.astype(layout.dtype)
        for numbers in (
            sizes * random.normal(size=layout.size),
            np.exp(random.normal(size=layout.size)),
            random.normal(size=layout.size),
        )
    )

    def value_fn(flat: FlatParams) -> Any:
        return jnp.sum(curvature * (flat.vector - minimum) ** 2) / 2

    @jax.jit
    def first(flat: FlatParams) -> Any:
        return [(flat, route.init(flat)) for route in routes]

    @jax.jit
    def following(places: Any) -> Any:
        moves = [_updated(route, point, state, value_fn) for route, (point, state) in zip(routes, places, strict=True)]
        moved = [optax.apply_updates(place[0], update) for place, (update, _) in zip(places, moves, strict=True)]
        return list(zip(moved, [state for _, state in moves], strict=True)), [update.vector for update, _ in moves]

    epsilon, moved = float(jnp.finfo(layout.dtype).eps), 0
    with jax.numpy_dtype_promotion("standard"):
        places = first(FlatParams(start, layout))
        for _ in range(_MOST_TRIES):
            places, updates = following(places)
            here, there = (np.asarray(update, np.float64) for update in updates)
            if not np.all(np.abs(here - there) <= _ROUNDING * epsilon * (np.abs(here) + np.mean(np.abs(here)))):
                return False
            moved += bool(np.any(here))
            if moved == _TRIED:
                break
    return moved > 0


def _is_elementwise(update: Any) -> bool:
    """Whether a function of optax, and all that it combines, is one of `_ELEMENTWISE`, with numbers for its settings."""
    maker = getattr(update, "__qualname__", "").partition(".")[0]
    if not getattr(update, "__module__", "").startswith("optax.") or maker not in _ELEMENTWISE | _COMBINATIONS:
        return False
    contents = [cell.cell_contents for cell in update.__closure__ or ()]
    if maker in _COMBINATIONS:
        parts = [part for content in contents for part in (content if type(content) is tuple else [content])]
        return all(_is_elementwise(getattr(part, "update", part)) for part in parts)
    settled = (bool, int, float, str, np.dtype, type, type(None))
    return all(callable(content) or isinstance(content, settled) for content in contents)


def _stand_in(layout: Layout) -> Layout:
    """A layout with the names and the numbers of axes of this one, and few numbers."""
    flat = jax.ShapeDtypeStruct((layout.size,), layout.dtype)
    arrays = jax.eval_shape(lambda vector: layout.unconstrained().unravel(vector), flat)
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    tree: dict[str, Any] = {}
    kinds: set[Any] = set()
    for path, leaf in leaves:
        names = [str(getattr(key, "name", key)) for key in path]
        shape = tuple(min(side, _LARGEST_SIDE) for side in leaf.shape)
        if len(leaves) > _MOST_LEAVES and (shape, names[-1]) in kinds and len(kinds) <= _MOST_LEAVES:
            continue
        kinds.add((shape, names[-1]))
        node = tree
        for name in names[:-1]:
            node = node.setdefault(name, {})
        node[names[-1]] = np.zeros(shape, layout.dtype)
    return flatten(tree).layout


def _adapted(optimizer: Any) -> optax.GradientTransformationExtraArgs:
    """The optimiser with the extra arguments that it takes, and Lookahead with both of its points in its state."""
    update = optax.with_extra_args_support(optimizer).update
    parameters = inspect.signature(update).parameters.values()
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        taken = {parameter.name for parameter in parameters}
        asked = update
        update = lambda updates, state, params=None, **extra: asked(  # noqa: E731
            updates, state, params, **{name: value for name, value in extra.items() if name in taken}
        )
    name = getattr(optimizer.init, "__qualname__", "")
    if name == "lookahead.<locals>.init_fn":
        return _lookahead(optimizer.init, update)
    if name == "sam.<locals>.init_fn" and "transparent" in getattr(optimizer.update, "__qualname__", ""):
        raise LayerError(
            "every other step of optax.contrib.sam goes uphill on purpose, where a fit would judge and might end; write "
            "optax.contrib.sam(..., opaque_mode=True), which goes there and back in one step"
        )
    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _lookahead(init: Any, update: Any) -> optax.GradientTransformationExtraArgs:
    """Lookahead moves a pair of points; the parameters are the fast one, and the slow one is part of its state."""

    def init_pair(params: Any) -> Any:
        return params, init(optax.LookaheadParams.init_synced(params))

    def update_pair(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        pair = optax.LookaheadParams(fast=params, slow=state[0])
        moves, inner = update(updates, state[1], pair, **extra)
        return moves.fast, (optax.apply_updates(pair.slow, moves.slow), inner)

    return optax.GradientTransformationExtraArgs(init_pair, update_pair)


def meant_by(state: Any, ps: FlatParams) -> FlatParams:
    """The parameters that an optimiser means when it stands at `ps`: the average, for schedule-free ones, which train elsewhere."""
    inside = lambda node: isinstance(node, optax.contrib.ScheduleFreeState)  # noqa: E731
    found = [node for node in jax.tree.leaves(state, is_leaf=inside) if inside(node)]
    if len(found) != 1:
        return ps
    [one] = found
    if isinstance(one.z, FlatParams):
        return optax.contrib.schedule_free_eval_params(one, ps)  # type: ignore[return-value,arg-type]
    averaged = optax.contrib.schedule_free_eval_params(one, stored_arrays(ps))
    return ps.replace(ps.layout.unconstrained().ravel(averaged))


def _types(state: Any) -> tuple[str, ...]:
    """The names of the named tuples in a state, in order."""
    if isinstance(state, dict):
        state = tuple(state.values())
    if not isinstance(state, tuple):
        return ()
    own = (type(state).__name__,) if hasattr(state, "_fields") else ()
    return (*own, *(name for part in state for name in _types(part)))
