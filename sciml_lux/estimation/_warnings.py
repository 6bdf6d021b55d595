"""What a person should know before believing an estimate."""

import numpy as np

from ..flatten import AbstractConstraint, AbstractRavelMap, ComplexAsReals, FlatParams, ScaledMap, Symmetric, Triangular
from ._labels import shown

_HELD = 0.01  # the cosine; where a solver converged freely it is the root of its tolerance at most


def find_warnings(
    ps: FlatParams,
    unidentified: tuple[str, ...],
    degrees_of_freedom: int,
    absolute_sigma: bool,
    jacobian: np.ndarray,
    residual: np.ndarray,
    converged: bool,
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
    at_bound = _at_bound(ps, jacobian, residual) if converged else []
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


def _at_bound(ps: FlatParams, jacobian: np.ndarray, residual: np.ndarray) -> list[str]:
    """What is held where it is by the edge of its constraint.

    The solver has converged, so that the residual is orthogonal to its derivative by every number that is free to move. A number
    whose column is not orthogonal to it still lowers the sum of squares as it moves, and moves no more only because its map has
    run into an edge: there the column has shrunk until nothing that a step changes is resolved. The cosine between the two knows
    no units, and the map may be any. That the edge is within reach of the data, not just of a loose tolerance, is asked as well:
    a standard error of the stored number beyond 1 takes it past what is left between the value and the edge.
    """
    norms = np.linalg.norm(jacobian, axis=0)
    size = float(np.linalg.norm(residual))
    if not size or not jacobian.size:
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = np.abs(residual @ jacobian) / (norms * size)
        reach = size / np.sqrt(max(1, jacobian.shape[0] - jacobian.shape[1])) / norms
    held = (norms == 0) | ((cosines > _HELD) & (reach > 1))
    labels: list[str] = []
    for array in shown(ps.layout):
        entry = array.entry
        pressed = held[entry.offset : entry.offset + entry.size]
        if not _has_edge(entry.ravel_map) or not pressed.any():
            continue
        # A map of each element by itself says which one; of others the whole is named.
        labels += (
            [label for label, flag in zip(array.labels, pressed, strict=True) if flag]
            if array.size == entry.size
            else [array.path]
        )
    return labels


def _has_edge(ravel_map: AbstractRavelMap) -> bool:
    """Whether a map bends: what is stored as it is has nowhere to run into. `ScaledMap` is as the map inside of it."""
    inner = ravel_map.inner if isinstance(ravel_map, ScaledMap) else ravel_map
    return isinstance(inner, AbstractConstraint) and not isinstance(inner, Symmetric | Triangular | ComplexAsReals)
