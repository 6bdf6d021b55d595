"""Explicit Runge-Kutta solves by a loop of our own, and their gradient from the steps that were recorded."""

from ._plain import why_not_by_tableau as why_not_by_tableau
from ._replay import LARGEST_RECORD as LARGEST_RECORD
from ._replay import SMALL_STATE as SMALL_STATE
from ._replay import record_bytes as record_bytes
from ._replay import solve_and_replay as solve_and_replay
from ._replay import why_not_recorded as why_not_recorded
from ._tableau import Shape as Shape
from ._tableau import Tableau as Tableau
from ._tableau import stages as stages
from ._tableau import tableau_of as tableau_of
from ._tableau import weighted as weighted
