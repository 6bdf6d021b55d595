"""Fits from a minimum, with parameters held."""

from typing import NamedTuple

from ..flatten import FlatParams
from ._bounds import Box
from ._task import Task


class Refits(NamedTuple):
    """The task of an estimate, the `point` where it ended, in the coordinates of the search, and the bounds there."""

    task: Task
    point: FlatParams
    box: Box | None
