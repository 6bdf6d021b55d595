"""Advice: what messages say to write, followed.

`CASES` holds one case for each, in the file of its subject: where the message is and what it says, as `"file: text of the source"`;
a call that raises it; and what it says, done. That is a function, or, where what is said is an expression to be run as it stands, what
the names in it stand for and what is done with its value.
"""

from . import (
    calls,
    derivatives,
    equilibria,
    estimation,
    inputs,
    layers,
    parameters,
    problems,
    strategies,
    training,
    trajectories,
)
from .elsewhere import ELSEWHERE as ELSEWHERE
from .elsewhere import NOT_FOLLOWED as NOT_FOLLOWED
from .sources import advice_in_the_sources as advice_in_the_sources

CASES = [
    *calls.CASES,
    *inputs.CASES,
    *layers.CASES,
    *parameters.CASES,
    *training.CASES,
    *strategies.CASES,
    *estimation.CASES,
    *problems.CASES,
    *trajectories.CASES,
    *derivatives.CASES,
    *equilibria.CASES,
]
