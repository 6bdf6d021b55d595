"""What the families of differential equations share: an adapter's hooks, its settings, a request, and the engine that solves it."""

from ._adapter import AbstractODE as AbstractODE
from ._batching import Problem as Problem
from ._batching import sample_axes as sample_axes
from ._bracket import Bracket as Bracket
from ._components import per_component as per_component
from ._inputs import SampledInput as SampledInput
from ._inputs import cubic_input as cubic_input
from ._inputs import hold_input as hold_input
from ._inputs import linear_input as linear_input
from ._inputs import off_jumps as off_jumps
from ._inputs import step_onto as step_onto
from ._integrate import integrate as integrate
from ._moving import leading as leading
from ._moving import shifted as shifted
from ._moving import with_rate as with_rate
from ._results import ADVICE as ADVICE
from ._results import RESULTS as RESULTS
from ._results import SUCCESSFUL as SUCCESSFUL
from ._results import name_of as name_of
from ._settings import check_settings as check_settings
from ._settings import takes_two_terms as takes_two_terms
from ._values import as_array as as_array
from ._values import as_state_arrays as as_state_arrays
from ._values import check_times as check_times
from ._values import largest as largest
from ._values import time_dtype as time_dtype
