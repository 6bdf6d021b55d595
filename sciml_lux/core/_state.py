"""State: what a layer carries from call to call beside its parameters, and the training flag within it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

from .._errors import PathError, unknown_name
from ..flatten import NamedTree, leaf_paths, operation, register_flag, register_tree

Tree = TypeVar("Tree", bound=NamedTree)


class State(NamedTree):
    """The structured state of a model: running statistics, random keys, counters, the training flag. Reads like `Params`."""

    __slots__ = ()
    _called = "st"
    _numbers = 'st["path"], one of its arrays'

    @staticmethod
    def _expression(symbol: str, other: Any = None, reflected: bool = False) -> str:
        return operation(symbol, 'st["path"]', None if other is None else "other", reflected)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Training:
    """The training flag: a static node in the state, so that a compiled function specialises on it. True in `if` tests while training."""

    value: bool = True

    def __bool__(self) -> bool:
        return self.value

    def __repr__(self) -> str:
        return f"Training({self.value})"


register_tree(State)
register_flag(Training)


def _replace(state: Tree, wanted: Callable[[str, Any], bool], value: Any) -> Tree:
    return type(state)(  # a frozen layer keeps Params in its state
        {
            name: _replace(child, wanted, value)
            if isinstance(child, NamedTree) and not wanted(name, child)
            else value
            if wanted(name, child)
            else child
            for name, child in state.items()
        }
    )


def train_mode(st: State) -> State:
    """A state in which every training flag is on: dropout drops, batch statistics are taken from the batch."""
    return _replace(st, lambda name, child: isinstance(child, Training), Training(True))


def test_mode(st: State) -> State:
    """A state in which every training flag is off. Freeze the state this way before judging a model."""
    return _replace(st, lambda name, child: isinstance(child, Training), Training(False))


test_mode.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


def update_state(st: State, name: str, value: Any) -> State:
    """A state in which every entry called `name`, at any depth, holds `value`.

    **Errors:** `PathError` if there is none.
    """
    names = {path.rpartition(".")[2] for path in leaf_paths(st)}
    if name not in names:
        raise PathError(unknown_name("state", name, sorted(names)))
    return _replace(st, lambda other, child: other == name and not isinstance(child, NamedTree), value)
