"""`HybridODE`: mechanistic terms and networks in one field."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import PyTree

from ..._errors import LayerError, unknown_name
from ...core import AbstractContainer, AbstractLayer, State, describe, takes_arguments, with_fields
from ...flatten import Params, check_name
from .._types import StateTree, Time
from ..differential import AbstractODE, as_state_arrays
from ._terms import Terms, apply

_SETTINGS = {field.name: field.default for field in dataclasses.fields(AbstractODE) if field.kw_only}  # type: ignore[arg-type]


class HybridODE(AbstractODE):
    """The universal differential equation `dy/dt = model(t, y, terms)`: a function that is part known and part learned, with its layers.

        def predation(t, y, terms):
            hare, lynx = y
            rates, eaten = terms.rates, jax.nn.softplus(terms.network(y)[0]) * hare * lynx
            return jnp.stack([rates.growth * hare - eaten, eaten - rates.death * lynx])

        node = lux.HybridODE(
            predation,
            rates=lux.ParameterDict(growth=lux.positive(0.6, unit="1/year"), death=lux.positive(0.9, unit="1/year")),
            network=lux.MLP(2, (8,), 1),
            t1=20.0,
        )

    In the function, `terms.network(x)` calls the layer of that name, with its own parameters and state, and `terms.rates.growth` is the
    parameter of that name. So a network may stand for a term, or for a parameter that depends on the state; with
    `initial` for the start, and with `observation` for what is measured.

    **Arguments:** `model`: a function `model(t, y, terms)`, or `model(t, y, terms, u)` for solves that are given `inputs`; then, by name:

    - any layers: mechanistic parameters with bounds and units (`lux.ParameterDict`), networks. Not under the names of settings.
    - `initial`: a function `initial(x, terms)`, or a layer, from what a call is given to `y(t0)`; without it that is `y(t0)`. A
      `lux.ParameterDict` makes the initial values parameters, and the state a dict: `y["hare"]`.
    - `observation`: a function `observation(y, terms)`, or a layer, from a state to what is returned of it.
    - all settings of an `AbstractODE`, except `time`: the function is always given the time.

    **Call:** `y0`, any tree of floating-point arrays, gives `y(t1)` of the same structure. With `initial`, whatever that takes, `None`
    included; with `observation`, what that returns.

    **Parameters** and **states:** those of the layers by name, and of `initial` and `observation` if they are layers, in one vector;
    `solution` as for every `AbstractODE`. The state is constant during a solve and advanced once per call, by one evaluation each of
    `initial`, of the field at `(t0, y0)`, and of `observation` at `y0`. Within one evaluation, a layer called twice goes on from its own
    state.

    **Errors:** those of an `AbstractODE`; `LayerError` for what is neither setting nor layer, for a function of another kind, and for
    a state that changes inside a transformation; `PathError` for a name that `terms` does not have.

    **Source:** Rackauckas et al. 2020, Universal Differential Equations for Scientific Machine Learning.
    """

    model: Callable[..., Any]  # type: ignore[assignment]
    layers: tuple[tuple[str, AbstractLayer], ...]
    initial: Any
    observation: Any

    def __init__(
        self, model: Callable[..., Any], *, initial: Any = None, observation: Any = None, **named: Any
    ) -> None:
        layers = tuple((check_name(name), value) for name, value in named.items() if name not in _SETTINGS)
        own = {"model": model, "layers": layers, "initial": initial, "observation": observation}
        settings = {name: named.get(name, default) for name, default in _SETTINGS.items()}
        for name, value in {**own, **settings}.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        for name, value in self.layers:
            if not isinstance(value, AbstractLayer):
                raise LayerError(
                    f"HybridODE: {name}={value!r} is no layer, and {unknown_name('setting', name, [*_SETTINGS, 'initial', 'observation'])}"
                )
            if name == "solution":
                raise LayerError(
                    "HybridODE: a layer cannot be called solution, which is an entry of the state; rename it"
                )
        for name in ("initial", "observation"):
            if not (getattr(self, name) is None or callable(getattr(self, name))):
                raise LayerError(
                    f"HybridODE: {name} is a function of a value and terms, or a layer, got {getattr(self, name)!r}"
                )
        if isinstance(self.model, AbstractLayer):
            raise LayerError(
                f"HybridODE: model is a function f(t, y, terms), got the layer {describe(self.model)}; write lux.NeuralODE(layer), or "
                "lux.HybridODE(lambda t, y, terms: terms.network(y), network=layer)"
            )
        if not any(takes_arguments(self.model, number) for number in (3, 4)):
            raise LayerError(
                "HybridODE: model is a function f(t, y, terms), or f(t, y, terms, u) with inputs, got one of other arguments; "
                "for f(t, y) write lux.HybridODE(lambda t, y, terms: f(t, y))"
            )
        if self.time:
            raise LayerError(
                "HybridODE: the function is always given the time, model(t, y, terms); leave out time=True"
            )
        self._check_settings()

    def children(self) -> dict[str, AbstractLayer]:
        others = {name: getattr(self, name) for name in ("initial", "observation")}
        return {
            **dict(self.layers),
            **{name: value for name, value in others.items() if isinstance(value, AbstractLayer)},
        }

    def with_children(self, children: Mapping[str, AbstractLayer]) -> AbstractContainer:
        """The same equation with other layers under the same names."""
        if set(children) != set(self.children()):
            return super().with_children(children)  # which says why not
        own = {name: layer for name, layer in children.items() if name in ("initial", "observation")}
        return with_fields(self, layers=tuple((name, children[name]) for name, _ in self.layers), **own)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        settings = {name: getattr(self, name) for name in _SETTINGS if getattr(self, name) != _SETTINGS[name]}
        own = {name: getattr(self, name) for name in ("initial", "observation") if getattr(self, name) is not None}
        return (self.model,), {**dict(self.layers), **own, **settings}

    def derivative(self, t: Time, y: StateTree, params: Params, state: State, inputs: Any) -> tuple[Any, State]:
        terms = Terms(self.children(), params, state)
        return self._rate(t, y, terms, inputs), State(terms._states)

    def lift(self, y0: Any, params: Params, state: State) -> Any:
        return y0 if self.initial is None else self._start(y0, Terms(self.children(), params, state))

    def observe(self, y: StateTree, params: Params, state: State) -> Any:
        if self.observation is None:
            return y
        return apply(self.observation, "observation", y, Terms(self.children(), params, state))

    @property
    def hides_state(self) -> bool:
        return self.initial is not None or self.observation is not None

    def advance(self, t0: Time, given: StateTree, y0: StateTree, params: Params, state: State, inputs: Any) -> State:
        terms = Terms(self.children(), params, state)
        if self.initial is not None:
            self._start(given, terms)
        self._rate(t0, y0, terms, inputs)
        if self.observation is not None:
            apply(self.observation, "observation", y0, terms)
        return State(terms._states)

    def _rate(self, t: Time, y: StateTree, terms: Terms, inputs: Any) -> Any:
        return self.model(t, y, terms, *self.forcing(t, inputs))

    def _start(self, x: Any, terms: Terms) -> Any:
        y0 = _plain(apply(self.initial, "initial", x, terms))
        # A start that its parameters make NaN is a solve that fails.
        return as_state_arrays("HybridODE", y0, None, check=False)


def _plain(tree: PyTree) -> Any:
    """Parameters by name as a dict, which a function can return."""
    return {name: _plain(value) for name, value in tree.items()} if isinstance(tree, Mapping) else tree
