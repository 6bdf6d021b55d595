"""How a solve is differentiated."""

from ._replay import LARGEST_STATE as LARGEST_STATE
from ._replay import is_replayable as is_replayable
from ._replay import solve_and_replay as solve_and_replay
from ._reversible import ReversibleAdjoint as ReversibleAdjoint
