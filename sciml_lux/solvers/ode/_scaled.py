"""`Scaled`: physical units outside of a layer, numbers near 1 within."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..._errors import LayerError
from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters
from ..differential import per_component


class Scaled(AbstractContainer):
    """A layer in dimensionless variables, in an equation in physical units.

        y = outputs / time * model((x - shift) / scale)

    A network sees numbers near 1 and returns numbers near 1, so that its initial weights and learning rates suit it whatever the units:

        lux.NeuralODE(lux.Scaled(network, scale=(1e-6, 300.0), time=3600.0), t1=86400.0, atol=(1e-12, 1e-4))

    is `dy/dt = scale / time * network(y / scale)`, for a concentration in mol/l and a temperature in K that change in the course of
    hours. The tolerances stay physical. Mechanistic terms need no scaling, only an `atol` for each component; in a `HybridODE`, the
    network alone is scaled.

    **Arguments:** `model`: any layer; `scale`: of its input; then, by name: `shift`: subtracted before; `outputs`: the scale of its result
    (default: `scale`); `time`: the unit of time of a result that is a rate; its square for one that is an acceleration.
    `scale`, `shift` and `outputs` are numbers, or tuples with one for each component along the last axis; for a tree, such as the
    `(t, y)` of an equation with time, a tuple with such an entry for each of its parts: `scale=(3600.0, (1e-6, 300.0)),
    outputs=(1e-6, 300.0)`.

    **Call:** what `model` takes, in physical units.

    **Parameters** and **states:** `model`: those of the layer.

    **Errors:** `LayerError` for something that is no layer, a scale of 0, or one that is not finite; `ShapeError` for tuples that
    do not fit input or result.

    **Source:** Langtangen and Pedersen 2016, Scaling of Differential Equations; Kim et al. 2021, Stiff Neural Ordinary Differential
    Equations.
    """

    model: AbstractLayer
    scale: Any
    _: dataclasses.KW_ONLY
    shift: Any = 0.0
    outputs: Any = None
    time: float = 1.0

    def __post_init__(self) -> None:
        for name in ("scale", "shift", "outputs", "time"):
            value = getattr(self, name)
            numbers = jax.tree.leaves(value, is_leaf=lambda leaf: leaf is None)
            if name == "outputs" and value is None:
                continue
            known = numbers and all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
            if not known or (name == "time" and isinstance(value, tuple)):
                what = "a number" if name == "time" else "a number, or a tuple of numbers"
                raise LayerError(f"Scaled: {name} is {what}, got {value!r}")
            if name != "shift" and not all(numbers):
                raise LayerError(f"Scaled: {name} is nowhere 0, got {value!r}")

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Any, State]:
        scale, shift = (per_component(f"Scaled: {name}", getattr(self, name), x) for name in ("scale", "shift"))
        z = jax.tree.map(lambda x, scale, shift: (x - _like(x, shift)) * _like(x, 1 / scale), x, scale, shift)
        y, state = self.model(z, ps.model, st.model)
        outputs = self.scale if self.outputs is None else self.outputs
        factor = per_component(
            "Scaled: outputs" if self.outputs is not None else "Scaled: outputs, by default scale", outputs, y
        )
        return jax.tree.map(lambda y, factor: y * _like(y, factor / self.time), y, factor), State(model=state)


def _like(array: Array, values: np.ndarray | np.generic) -> Any:
    return jnp.asarray(values, jnp.finfo(jnp.result_type(array)).dtype)
