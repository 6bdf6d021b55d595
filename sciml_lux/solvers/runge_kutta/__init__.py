"""Explicit Runge-Kutta solves by a loop of our own, and their gradient from the steps that were recorded."""

from ._plain import why_not_by_tableau as why_not_by_tableau
from ._replay import LARGEST_RECORD as LARGEST_RECORD
from ._replay import SMALL_STATE as SMALL_STATE
from ._replay import record_bytes as record_bytes
from ._replay import solve_and_replay as solve_and_replay
from ._replay import why_not_recorded as why_not_recorded
from ._shape import Shape as Shape
from ._stages import stage_points as stage_points
from ._stages import stages as stages
from ._stages import weighted as weighted
from ._tableau import Tableau as Tableau
from ._tableau import below_diagonal as below_diagonal
from ._tableau import tableau_of as tableau_of
