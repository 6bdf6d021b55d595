"""The directions of parameter space that data determine, and those that they leave open."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .._coordinates import positions
from .._report import aligned
from ._estimate import Estimate
from ._search import evaluate

# A direction is named by the parameters that have at least this share of it.
_SHARE = 0.1


@dataclass(frozen=True, repr=False)
class Spectrum:
    """Eigenvalues and eigenvectors of the information, each coordinate in units of what a large change of it is: its magnitude, the
    logarithm of a rate, a tenth of the distance of two bounds.

    `stderr`: of each direction, stiff first: the share of a large change to which the data determine it, `1 / sqrt(eigenvalue)`, infinite
    for what they do not determine; `directions`: a row for each, over the free numbers called `names`. Many models are sloppy: these errors
    are spread evenly over decades, so that predictions are sharp though parameters are not. `print` it. **Source:** Gutenkunst et al., PLoS
    Computational Biology 3 (2007), e189.
    """

    names: tuple[str, ...]
    stderr: Float[np.ndarray, " directions"]
    directions: Float[np.ndarray, "directions names"]

    @property
    def sloppy(self) -> tuple[str, ...]:
        """Those directions that are not known to within a large change, in words."""
        return tuple(self._words(row) for row, error in zip(self.directions, self.stderr, strict=True) if error > 1)

    def _words(self, row: Float[np.ndarray, " names"]) -> str:
        order = [i for i in np.argsort(-abs(row)) if row[i] ** 2 >= _SHARE]
        sign = np.sign(row[order[0]])
        return " ".join(f"{sign * row[i]:+.2f} {self.names[i]}" for i in order)

    def __repr__(self) -> str:
        rows = [("error", "direction")]
        rows += [(f"{error:.3g}", self._words(row)) for row, error in zip(self.directions, self.stderr, strict=True)]
        return "\n".join(aligned(rows))


def spectrum(estimate: Estimate) -> Spectrum:
    """Of the numbers that no bound holds."""
    free = estimate.sides == 0
    units = np.where(np.asarray(estimate.task.sizes) > 0, np.asarray(estimate.task.sizes, np.float64), 1.0)
    _, values, directions = np.linalg.svd((estimate.information.root * units)[:, free])
    known = np.zeros(int(np.sum(free)))
    known[: len(values)] = values
    resolved = known > known[:1] * len(known) * np.finfo(np.float64).eps if len(known) else known > 0
    stderr = np.where(resolved, 1 / np.where(resolved, known, 1.0), np.inf)
    names = {index: name for name, index in positions(estimate.point.layout).items()}
    labels = tuple(names.get(int(index), f"vector[{index}]") for index in np.flatnonzero(free))
    return Spectrum(labels, stderr, directions)


def effective_parameters(estimate: Estimate) -> float:
    """See `Fit.effective_parameters`."""
    task, arrays, free = estimate.task, estimate.problem.arrays, estimate.sides == 0
    point = np.asarray(estimate.point.vector)
    with task.compiled() as cached:
        found = evaluate(cached, task.layout, point, np.asarray(np.inf, point.dtype), task.st, arrays)
    jacobian = np.asarray(found.jacobian, np.float64)[:, free]
    scale = np.linalg.norm(jacobian, axis=0)
    jacobian = jacobian / np.where(scale > 0, scale, 1.0)
    num_data_rows = len(jacobian) - estimate.num_other_rows
    left, values, _ = np.linalg.svd(jacobian, full_matrices=False)
    resolved = values > np.finfo(np.float64).eps * max(jacobian.shape) * values[:1]
    # The trace of the part of the hat matrix that belongs to data.
    return float(np.sum(left[:num_data_rows, resolved] ** 2))
