"""Mechanistic parameters as a layer."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from ...core import AbstractLayer, State
from ...flatten import Parameter, Parameters, as_constant, check_name, complex_value, real


class ParameterDict(AbstractLayer):
    """Named scalars and arrays, such as the rates of a mechanistic model, with their constraints and units.

        rates = lux.ParameterDict(
            growth=lux.positive(0.5, unit="1/year"),      # stored as its logarithm
            fraction=lux.bounded(0.1, 0.0, 1.0),          # stored through a logistic map
            offset=lux.real(0.0),                         # stored as it is; a bare 0.0 means the same
            capacity=lux.fixed(2.0),                      # a constant, not stored
        )

    **Arguments:** by name, each a declaration or a number (or nested tuples or an array of them, kept as tuples).

    **Call:** returns the parameters themselves, whatever the input: `values, st = rates(None, ps, st)`, `values.growth`.

    **Parameters:** as named, scalars of shape `()` unless declared with an array. **States:** none.

    **Errors:** those of the declarations; `ParameterError` for what is not a number.
    """

    declarations: tuple[tuple[str, Parameter], ...]

    def __init__(self, **declarations: Any) -> None:
        pairs = tuple((check_name(name), _constant(value)) for name, value in declarations.items())
        object.__setattr__(self, "declarations", pairs)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), dict(self.declarations)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return {name: Parameter(_number(p.value), p.ravel_map, p.unit) for name, p in self.declarations}

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Parameters, State]:
        return ps, st


def _constant(declared: Any) -> Parameter:
    """A declaration whose value is a Python number or tuple: a layer holds no arrays."""
    if isinstance(declared, Parameter):
        parameter = declared
    else:
        parameter = complex_value(declared) if np.iscomplexobj(declared) else real(declared)
    return Parameter(as_constant(parameter.value), parameter.ravel_map, parameter.unit)


def _number(value: Any) -> Any:
    # A Python number has no dtype of its own, so that the vector's is taken; an array of them is made in the default one.
    if isinstance(value, float | complex):
        return value
    return jax.numpy.asarray(np.asarray(value), dtype=complex if np.iscomplexobj(value) else float)
