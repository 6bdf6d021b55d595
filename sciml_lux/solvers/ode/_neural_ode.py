"""`NeuralODE`: the equation `dy/dt = model(y)`."""

from typing import Any

from ...core import State
from ...flatten import Params
from .._types import StateTree, Time
from ..differential import AbstractODE


class NeuralODE(AbstractODE):
    """The solution of `dy/dt = model(y)`, `y(t0) = y0`, as a layer.

    `model` is any layer, learned, mechanistic, or both. By default it is called on the state `y` alone. With `time=True` it is
    called on the tuple `(t, y)`; a solve that is given `inputs` appends their value at `t`: `(y, u)` or `(t, y, u)`.

    **Arguments, call, parameters, states, errors:** as for every `AbstractODE`.

    **Source:** Chen et al. 2018, Neural Ordinary Differential Equations; Kidger 2021, On Neural Differential Equations, chapter 5.
    """

    def derivative(self, t: Time, y: StateTree, params: Params, state: State, inputs: Any) -> tuple[Any, State]:
        dy, model = self.model(self.model_input(t, y, inputs), params["model"], state["model"])
        return dy, State(model=model)
