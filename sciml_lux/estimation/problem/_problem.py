"""`Problem`: a model, data, and how the one explains the other."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._errors import ParameterError, ShapeError
from ...core import (
    AbstractLayer,
    CachedFunction,
    State,
    as_params,
    as_state,
    cached_function,
    check_layer,
    declared_layout,
    differentiation_mode,
    failure_mode,
    ravel_maps,
    setup,
)
from ...flatten import FlatParams, Layout, Parameters, Params
from ...solvers import AbstractODE
from .._names import resolve
from ..noise import AbstractNoise, as_noise
from ..priors import AbstractPrior
from ._arrays import Arrays, arrays_of, named
from ._check_gradient import GradientCheck, compare_gradients
from ._experiment import Data, Experiment
from ._observe import Observation, Observe
from ._simulate import Simulation
from ._terms import Sum, Terms


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    r"""Parameters to be estimated from experiments: model, data, observation, noise, and what is known beforehand.

    What a fit maximises is `log_likelihood + log_prior - penalty`, with

        log_likelihood = sum log p(observed | predicted, spread)     over all that was observed
        log_prior      = sum log p(parameter)                        in the units in which parameters are shown
        penalty        = sum(r**2) / 2                               over what the penalties return

    The three are told apart wherever data are counted: a prior is no datum.

    **Arguments:** `model`: an ODE adapter such as `NeuralODE`, solved from each experiment's initial state through its times, or any layer,
    which is called on the times and returns a row for each; `data`: `Data`; `observe`: `(t, y, ps) -> {name: number}` of
    one time, or a mapping of names to indices of components or such functions. `noise`: a density of `est.noise`, a standard deviation, or
    the name of a parameter that is one, for all observables or, in a mapping, for each. `priors`: densities of `est.priors` by name;
    `penalties`: by name, functions `ps -> r`, such as `lambda ps: 0.1 * ps.network.weight`. `bounds`: by name, pairs of closed bounds, in
    the units in which parameters are shown; equal ones fix. `initial`: the name of the parameter that is the initial state, or a function
    `ps -> y0`; by default each experiment brings its own, or the model does (`HybridODE(initial=...)`).

    Names are paths, such as `model.rates.alpha`, or the ends of paths that only one parameter has, such as `alpha`. The parameters are
    those of the model: `ps, st = lux.setup(key, model)`. Standard deviations that are estimated are declared among them.

    **Errors:** `ParameterError` for unknown names and for what is not of the kinds above; `ValueError` for observations that a density
    cannot have made, and bounds the wrong way round.
    """

    model: AbstractLayer
    data: Data
    _: dataclasses.KW_ONLY
    observe: Observe
    noise: Any
    priors: Mapping[str, AbstractPrior] | None = None
    penalties: Mapping[str, Callable[..., Any]] | None = None
    bounds: Mapping[str, tuple[Any, Any]] | None = None
    initial: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        check_layer(self.model)
        if not isinstance(self.data, Data):
            raise ParameterError(
                f"data are est.Data, got {type(self.data).__name__}; write est.Data([est.Experiment(...), ...])"
            )
        paths = self._paths
        for what in ("priors", "bounds"):
            given = getattr(self, what) or {}
            found = {resolve(name, paths, what): value for name, value in given.items()}
            object.__setattr__(self, what, found)
        for name, prior in (self.priors or {}).items():
            if not isinstance(prior, AbstractPrior):
                raise ParameterError(
                    f"priors: {name} has a density of est.priors, such as est.priors.Normal(0.0, 1.0), got {prior!r}"
                )
        for name, penalty in (self.penalties or {}).items():
            if not callable(penalty):
                raise ParameterError(
                    f"penalties: {name} is a function ps -> r, whose squares are summed, got {penalty!r}"
                )
        for name, pair in (self.bounds or {}).items():
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ShapeError(f"bounds: {name} has a pair (lower, upper), got {pair!r}")
            if np.any(np.asarray(pair[0]) > np.asarray(pair[1])):
                raise ValueError(f"bounds: the lower bound of {name} is above the upper, {pair!r}")
        self._check_spans()
        _ = self.function  # so that what is wrong with the rest is said here

    def _check_spans(self) -> None:
        """**Errors:** `ValueError` for times of an experiment beyond the span in which a differential equation is solved; `ParameterError`
        for initial states that are given twice, or to a model that has none."""
        with_start = [one.name for one in self.data.experiments if one.y0 is not None]
        if with_start and self.initial is not None:
            raise ParameterError(
                f"the initial state is given twice, by the problem (initial=) and by {', '.join(with_start)} (y0=); "
                "leave one out"
            )
        if not isinstance(self.model, AbstractODE):
            if with_start or self.initial is not None:
                raise ParameterError(
                    f"an initial state goes with a differential equation, and the model is a {type(self.model).__name__}; "
                    "leave y0 and initial out"
                )
            return
        for one in self.data.experiments:
            start = self.model.t0 if one.t0 is None else one.t0
            low, high = sorted((float(start), float(self.model.t1)))
            if one.ts[0] < low or one.ts[-1] > high:
                raise ValueError(
                    f"experiment {one.name!r}: times from {one.ts[0]:g} to {one.ts[-1]:g} are beyond the span of the model, {start:g} to "
                    f"{self.model.t1:g}; give the model another t0 or t1, or the experiment a t0"
                )

    @functools.cached_property
    def layout(self) -> Layout:
        """The layout of the model's parameters, as it declares them."""
        return declared_layout(self.model)

    @property
    def _paths(self) -> list[str]:
        return [entry.path for entry in self.layout.entries]

    @functools.cached_property
    def function(self) -> Sum:
        """All terms, as a function of parameters, state and the arrays of the data."""
        names, paths = self.data.observables, self._paths
        simulation = Simulation(
            self.model,
            Observation(dict(self.observe) if isinstance(self.observe, Mapping) else self.observe, names),
            resolve(self.initial, paths, "initial") if isinstance(self.initial, str) else self.initial,
            tuple(self._references().items()),
            tuple(self._noise(names, paths).items()),
        )
        return Sum(simulation, tuple((self.priors or {}).items()), tuple((self.penalties or {}).items()))

    def _noise(self, names: tuple[str, ...], paths: list[str]) -> dict[str, AbstractNoise]:
        given = self.noise if isinstance(self.noise, Mapping) else dict.fromkeys(names, self.noise)
        missing, unknown = [name for name in names if name not in given], [name for name in given if name not in names]
        if missing or unknown:
            raise ParameterError(
                f"noise says how each observable scatters: missing {missing or 'none'}, unknown {unknown or 'none'}"
            )
        found = {name: as_noise(given[name]) for name in names}
        return {
            name: dataclasses.replace(one, spread=resolve(one.spread, paths, f"noise of {name}"))
            if isinstance(one.spread, str)
            else one
            for name, one in found.items()
        }

    def _references(self) -> dict[str, tuple[str | None, ...]]:
        """By the path of each parameter that some experiment overrides, for each experiment what stands for it: see `Simulation`."""
        paths, experiments = self._paths, self.data.experiments
        found: dict[str, list[str | None]] = {}
        for i, one in enumerate(experiments):
            for name, value in named(one).items():
                where = f"overrides of experiment {one.name!r}"
                whose = found.setdefault(resolve(name, paths, where), [None] * len(experiments))
                whose[i] = resolve(value, paths, where) if isinstance(value, str) else ""
        return {path: tuple(whose) for path, whose in found.items()}

    @functools.cached_property
    def arrays(self) -> Arrays:
        """The data, padded to one shape."""
        simulation = self.function.simulation
        resolved = [self._resolved(one) for one in self.data.experiments]
        return arrays_of(Data(resolved), dict(simulation.noise), dict(simulation.references), self.layout.dtype)

    def _resolved(self, one: Experiment) -> Experiment:
        """The experiment, with paths for the names that it overrides."""
        paths, where = self._paths, f"overrides of experiment {one.name!r}"
        return dataclasses.replace(
            one, overrides={resolve(name, paths, where): value for name, value in named(one).items()}
        )

    def terms(self, ps: Parameters, st: PyTree = None) -> Terms:
        """All terms at one point, compiled; `ps`: parameters of the model, which may be traced."""
        params = as_params(ps)
        st = self.state if st is None else as_state(st)
        with cached_function(self._key(ps)) as cached, failure_mode("nan"):
            return terms_of(cached, params, st, self.arrays)

    @functools.cached_property
    def shapes(self) -> Terms:
        """The shapes of all terms."""
        params = jax.eval_shape(
            lambda vector: FlatParams(vector, self.layout).params, jnp.zeros(self.layout.size, self.layout.dtype)
        )
        return jax.eval_shape(self.function, params, self.state, self.arrays)

    def _key(self, ps: Parameters) -> Any:
        return self.function, ravel_maps(ps.layout) if isinstance(ps, FlatParams) else ()

    @functools.cached_property
    def state(self) -> State:
        """The state of a model that was set up anew, for calls that are given none."""
        with jax.ensure_compile_time_eval():  # the first call may be in a function that is traced, and is not the last
            return setup(jax.random.key(0), self.model)[1]

    def log_likelihood(self, ps: Parameters, st: PyTree = None) -> Float[Array, ""]:
        """The logarithm of the probability of the data, with all constants, as PEtab defines it; -inf where the model has no finite
        result."""
        value = self.terms(ps, st).log_likelihood
        return jnp.where(jnp.isfinite(value), value, -jnp.inf)

    def log_density(self, vector: Float[Array, " size"], st: PyTree = None) -> Float[Array, ""]:
        """The logarithm of the posterior density of the vector, but for a constant: what a sampler wants.

        `log_likelihood + log_prior - penalty + log |det d values / d vector|`; -inf beyond the bounds, and where the model has no finite
        result. Differentiable; parameters that are `fixed` or tied take no room in the vector.
        """
        ps = FlatParams(vector, self.layout)
        terms = self.terms(ps, st)
        total = self.layout.log_abs_det_jacobian(ps.vector) - terms.objective
        return jnp.where(jnp.isfinite(total) & self._is_within(ps), total, -jnp.inf)

    def _is_within(self, ps: FlatParams) -> Any:
        inside, rounding = jnp.asarray(True), 16 * float(jnp.finfo(self.layout.dtype).eps)
        for path, pair in (self.bounds or {}).items():
            lower, upper = (jnp.asarray(end, self.layout.dtype) for end in pair)
            # What is on a bound is shown beyond it by the rounding of its map, such as a parameter that equal bounds fix.
            above = ps.params[path] >= jnp.where(jnp.isfinite(lower), lower - rounding * jnp.abs(lower), lower)
            below = ps.params[path] <= jnp.where(jnp.isfinite(upper), upper + rounding * jnp.abs(upper), upper)
            inside &= jnp.all(above & below)
        return inside

    def check_gradient(self, ps: FlatParams, st: PyTree = None) -> GradientCheck:
        """The gradient of what a fit minimises by automatic differentiation, beside finite differences, name by name; `print` it."""
        if not isinstance(ps, FlatParams):
            raise ParameterError(
                f"check_gradient takes a FlatParams, got {type(ps).__name__}; write ps, st = lux.setup(key, model)"
            )

        def objective(vector: Float[Array, " size"]) -> Any:
            return self.terms(ps.replace(vector), st).objective

        with differentiation_mode("forward"):
            return compare_gradients(objective, ps)


@eqx.filter_jit
def terms_of(cached: CachedFunction, params: Params, st: State, arrays: Arrays) -> Terms:
    """All terms at one point; the function that sums them is the first of what is cached."""
    return cached.use()[0](params, st, arrays)
