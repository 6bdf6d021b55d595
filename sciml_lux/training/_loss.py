"""What a fit evaluates: the user's loss, its returned values sorted out, and whether they can be trusted."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optimistix
from jaxtyping import Array, Bool, Float

from .._errors import LayerError
from ..core import UNTRACEABLE, AbstractLayer, State, as_state, explain_untraceable, is_item_of, is_okay
from ..flatten import FlatParams, leaf_paths

Loss = Callable[..., Any]
"""`loss(ps, st, batch) -> (value, st)` or `(value, st, stats)`."""


def check_loss(loss: Any) -> None:
    """Raises `LayerError` unless `loss` can be called as `loss(ps, st, batch)`, and is no model."""
    if isinstance(loss, AbstractLayer):
        raise LayerError(
            f"fit takes a loss first, got the model, {type(loss).__name__}(...); write\n\n"
            "    def loss(ps, st, batch):\n"
            "        x, y = batch\n"
            "        prediction, st = model(x, ps, st)\n"
            "        return jnp.mean((prediction - y) ** 2), st\n\n"
            "    lux.fit(loss, ps, st, optimizer, steps=..., data=(x, y))"
        )
    if not callable(loss):
        raise LayerError(f"fit takes a loss first, a function loss(ps, st, batch), got {type(loss).__name__}")
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # of a builtin nothing is known
        return
    try:
        signature.bind(None, None, None)
    except TypeError:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise LayerError(
            f"fit calls the loss as loss(ps, st, batch), with batch=None where there is no data, and this one is {name}{signature}; "
            "write def loss(ps, st, batch): ... return value, st"
        ) from None


class Evaluation(NamedTuple):
    """One evaluation of a loss: its value, the advanced state, and whatever else it reported."""

    value: Float[Array, ""]
    st: State
    stats: Any


def evaluate(loss: Loss, ps: FlatParams, st: State, batch: Any) -> Evaluation:
    """Calls `loss` and checks what it returns.

    **Errors:** `LayerError` if that is not `(value, st)` or `(value, st, stats)` with a real scalar and the state's keys.
    """
    try:
        output = loss(ps, st, batch)
    except UNTRACEABLE as error:
        raise explain_untraceable(error, "the loss") from error
    if not isinstance(output, tuple) or len(output) not in (2, 3):
        got = "None: it has no return" if output is None else type(output).__name__
        got += f" of {len(output)}" if isinstance(output, tuple) else ""
        raise LayerError(f"a loss returns (value, st) or (value, st, stats), got {got}; write `return value, st`")
    value, new, stats = output if len(output) == 3 else (*output, None)
    value, new = jnp.asarray(value), as_state(new)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise LayerError(
            f"a loss returns one real number first, got {value.dtype}{list(value.shape)}; write jnp.mean(...) or jnp.sum(...)"
        )
    _check_state(new, st)
    return Evaluation(value, new, stats)


def _check_state(new: State, st: State) -> None:
    same = jax.tree.structure(new) == jax.tree.structure(st) and all(
        (jnp.shape(a), jnp.result_type(a)) == (jnp.shape(b), jnp.result_type(b))
        for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(st), strict=True)
    )
    if not same:
        raise LayerError(f"a loss returns a state like the one it was given, got {new}, expected {st}")


def solves(st: State) -> dict[str, Any]:
    """The outcomes of solves that a state holds, by path."""
    return {path: st[path] for path in leaf_paths(st) if is_item_of(st[path], optimistix.RESULTS)}


def all_solved(st: State) -> Bool[Array, ""]:
    """Whether every solve whose outcome is in the state succeeded (an event that ends one is a success)."""
    okay = jnp.asarray(True)
    for result in solves(st).values():
        okay &= jnp.all(is_okay(result))
    return okay
