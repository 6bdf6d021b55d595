"""How a solve ended, where diffrax has no word for it."""

from typing import Any

import diffrax

from ...core import name_of


class RESULTS(diffrax.RESULTS):  # type: ignore[misc]
    """`diffrax.RESULTS`, and what only solves with jumps or to a steady state can come to."""

    max_jumps_reached = "More events occurred than max_jumps."
    jumps_accumulate = (
        "Events follow one another without time between them, as the bounces of a ball that comes to rest, or the state stays where "
        "the condition is 0."
    )
    dose_before_start = "A dose comes before the solve starts, or its time is NaN."
    no_steady_state = "No steady state was reached."


SUCCESSFUL: Any = RESULTS.successful  # an item, whatever type checkers make of enumerations

_ADVICE = {
    "max_jumps_reached": "raise max_jumps, or end the solve earlier",
    "jumps_accumulate": "end the solve before, or let jump bring the state to rest away from where the condition is 0",
    "dose_before_start": "leave it out, or start at or before it",
    "no_steady_state": "check that the field has a stable equilibrium, raise t1, or loosen rtol or atol",
}


def advice_for(result: int) -> str | None:
    """What to write after the item of `RESULTS` with this number, if it is one of ours."""
    return _ADVICE.get(name_of(RESULTS, result))
