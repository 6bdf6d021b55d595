"""`UnrolledGradient`: a fixed number of steps, differentiated as they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jax import lax
from jaxtyping import Array, Float, PyTree

from ._phantom import check_steps


@dataclass(frozen=True)
class UnrolledGradient:
    """No equilibrium, but `steps` damped steps `z <- (1 - damping) z + damping f(z)` from the start, and their own gradient.

    For training before there is an equilibrium to speak of: parameters are those of the equilibrium, for which they are
    used later (`deq.unrolled(steps=8)` is the layer that does this). The start is differentiated too, so that a layer that predicts
    it learns. Memory grows with the number of steps. It fails only where it overflows; the residual says how near an
    equilibrium the last step is.

    **Arguments:** `steps`: 1 or more; `damping`: above 0, at most 1, which takes full steps.

    **Errors:** `LayerError` for others.
    """

    steps: int = 8
    damping: float = 1.0

    def __post_init__(self) -> None:
        check_steps("UnrolledGradient", self.steps, self.damping)

    def iterate(self, cell: Callable[..., Any], z0: Float[Array, "samples size"], inputs: PyTree) -> Any:
        """Where the steps lead from `z0`, a matrix of samples."""

        def step(z: Float[Array, "samples size"], _: None) -> Any:
            new = cell(z, inputs)
            return (new if self.damping == 1 else (1 - self.damping) * z + self.damping * new), None

        return lax.scan(step, z0, None, length=self.steps)[0]
