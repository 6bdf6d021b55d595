"""What a person should know before believing an estimate."""

import math

import numpy as np

from ..flatten import Bounded, FlatParams
from ._labels import Shown, shown
from ._uncertainty import Uncertainty

_AT_BOUND = 1e-6  # of the distance between the bounds, or of the value (at least 1) if one of them is infinite


def find_warnings(
    ps: FlatParams, found: Uncertainty, unidentified: tuple[str, ...], degrees_of_freedom: int, absolute_sigma: bool
) -> tuple[str, ...]:
    """Whole sentences, most serious first."""
    sentences = []
    if degrees_of_freedom == 0 and not absolute_sigma and ps.layout.size:
        sentences.append("as many residuals as parameters: they are met exactly and say nothing of the standard errors")
    elif unidentified:
        theirs, which = (
            ("their standard errors are", "some") if len(unidentified) > 1 else ("its standard error is", "it")
        )
        sentences.append(
            f"the data do not determine {_listed(unidentified)}: the Jacobian is rank deficient, so {theirs} infinite; "
            f"fix {which} with lux.fixed(...)"
        )
    at_bound = [label for array in shown(ps.layout) for label in _at_bound(ps, array)]
    if at_bound:
        sentences.append(f"at a bound, where standard errors mean little: {_listed(at_bound)}")
    if ps.layout.dtype.itemsize < 8 and ps.layout.size:
        sentences.append(
            f'computed in {ps.layout.dtype}; for more digits write jax.config.update("jax_enable_x64", True) first'
        )
    return tuple(sentences)


def _listed(names: tuple[str, ...] | list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _at_bound(ps: FlatParams, array: Shown) -> list[str]:
    ravel_map = array.entry.ravel_map
    if not isinstance(ravel_map, Bounded):
        return []
    lower, upper = ravel_map.lower, ravel_map.upper
    both = math.isfinite(lower) and math.isfinite(upper)
    value = np.asarray(ps.params[array.path], np.float64).reshape(-1)
    room = upper - lower if both else np.maximum(np.abs(value), 1.0)
    near = np.minimum(value - lower, upper - value) <= _AT_BOUND * room
    return [label for label, flag in zip(array.labels, near, strict=True) if flag]
