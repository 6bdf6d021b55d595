"""How a solve is differentiated."""

from ._replay import LARGEST_RECORD as LARGEST_RECORD
from ._replay import SMALL_STATE as SMALL_STATE
from ._replay import is_replayable as is_replayable
from ._replay import solve_and_replay as solve_and_replay
from ._reversible import ReversibleAdjoint as ReversibleAdjoint
