"""`Experiment` and `Data`: what was measured, when, and under which conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..._errors import ParameterError, ShapeError


@dataclass(frozen=True, eq=False)
class Experiment:
    """One experiment: what was observed at which times.

    **Arguments:** `name`; `ts`: times, shape `(n,)`, which do not decrease; `observations`: by the name of the observable, numbers of shape
    `(n,)`, or `(replicates, n)`. NaN is "not observed": it counts as no datum. By name, where the noise of an observable does not say its
    spread: `sigma`: standard deviations, a number or an array that broadcasts to the observations. `censored`: by name, -1 where all that
    is known is that the measurement is at or below the number observed, such as a limit of detection, 1 where it is at or above, 0
    elsewhere. `y0`: the initial state, if it is known
    and not the same for all; `t0`: the time that it is of (default: the model's). `overrides`: by the name of a parameter, a number or the
    name of another parameter, which stands for it in this experiment. `doses`: a pair of times and amounts, for a `JumpODE`; `inputs`: what
    the model is given as a function of time, such as `lux.solvers.linear_input(times, values)`, of as many samples in all experiments.

    **Errors:** `ShapeError` for lengths that do not agree; `ValueError` for times that are not finite or decrease, infinite observations,
    an experiment without any, and standard deviations that are not above 0.
    """

    name: str
    ts: Any
    observations: Mapping[str, Any]
    sigma: Mapping[str, Any] | None = None
    y0: Any = None
    t0: float | None = None
    overrides: Mapping[str, float | str] | None = None
    doses: tuple[Any, Any] | None = None
    inputs: Any = None
    censored: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ParameterError(f"an experiment has a name, got {self.name!r}; write Experiment('day 1', ts, {{...}})")
        ts = self._numbers("ts", self.ts)
        if ts.ndim != 1 or not ts.size:
            raise ShapeError(f"{self._where}ts is a sequence of at least one time, got shape {ts.shape}")
        if not np.all(np.isfinite(ts)):
            raise ValueError(
                f"{self._where}ts: times are finite, got {ts[~np.isfinite(ts)][0]} at [{np.argmin(np.isfinite(ts))}]"
            )
        if np.any(np.diff(ts) < 0):
            at = int(np.argmax(np.diff(ts) < 0))
            raise ValueError(
                f"{self._where}ts decrease at [{at + 1}], from {ts[at]} to {ts[at + 1]}; sort times and observations by time"
            )
        observations = self._observations(ts.size)
        object.__setattr__(self, "ts", ts)
        object.__setattr__(self, "observations", observations)
        object.__setattr__(self, "sigma", self._sigma(observations))
        object.__setattr__(self, "censored", self._censored(observations))
        object.__setattr__(self, "overrides", self._overrides())
        object.__setattr__(self, "doses", self._doses())
        # A list of numbers is a vector, as everywhere in NumPy, and not a tree with a leaf for each.
        if isinstance(self.y0, list | tuple) and all(isinstance(one, int | float) for one in self.y0):
            object.__setattr__(self, "y0", np.asarray(self.y0, np.float64))
        if self.y0 is not None:
            object.__setattr__(self, "y0", jax.tree.map(lambda leaf: self._numbers("y0", leaf), self.y0))

    @property
    def _where(self) -> str:
        return f"experiment {self.name!r}: "

    def _numbers(self, what: str, value: object) -> np.ndarray:
        try:
            return np.asarray(value, np.float64)
        except (TypeError, ValueError):
            raise ParameterError(f"{self._where}{what} is an array of numbers, got {value!r}") from None

    def _observations(self, length: int) -> dict[str, np.ndarray]:
        if not isinstance(self.observations, Mapping) or not self.observations:
            raise ParameterError(
                f"{self._where}observations are a mapping of names to numbers, such as {{'hare': y}}, got {self.observations!r}"
            )
        found = {}
        for name, value in self.observations.items():
            array = self._numbers(name, value)
            array = array[None] if array.ndim == 1 else array
            if array.ndim != 2 or array.shape[1] != length:
                raise ShapeError(
                    f"{self._where}{name} has shape {np.shape(value)}, expected ({length},) or (replicates, {length}), one for "
                    "each of its ts"
                )
            if np.any(np.isinf(array)):
                raise ValueError(f"{self._where}{name} is infinite somewhere; write nan for what was not observed")
            found[name] = array
        if all(np.all(np.isnan(array)) for array in found.values()):
            raise ValueError(
                f"{self._where}nothing was observed: all of {', '.join(found)} is NaN; leave the experiment out"
            )
        return found

    def _beside(self, what: str, value: object, observed: np.ndarray) -> np.ndarray:
        """One number for each observation."""
        array = self._numbers(what, value)
        try:
            return np.broadcast_to(array, observed.shape)
        except ValueError:
            raise ShapeError(
                f"{self._where}{what} has shape {array.shape}, which does not fit {observed.shape}"
            ) from None

    def _sigma(self, observations: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = {}
        for name, value in (self.sigma or {}).items():
            if name not in observations:
                raise ParameterError(
                    f"{self._where}sigma of {name!r}, which is not observed: {', '.join(observations)} are"
                )
            observed = observations[name]
            array = self._beside(f"sigma of {name}", value, observed)
            if not np.all((array > 0) & np.isfinite(array) | np.isnan(observed)):
                raise ValueError(f"{self._where}sigma of {name}: standard deviations are above 0 and finite")
            found[name] = array
        return found

    def _censored(self, observations: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = {}
        for name, value in (self.censored or {}).items():
            if name not in observations:
                raise ParameterError(
                    f"{self._where}censored has {name!r}, which is not observed: {', '.join(observations)} are"
                )
            array = self._beside(f"censored of {name}", value, observations[name])
            if not np.all(np.isin(array, (-1, 0, 1))):
                raise ValueError(f"{self._where}censored of {name}: -1 below, 0 observed, 1 above, got {value!r}")
            if np.any(array):
                found[name] = array
        return found

    def _doses(self) -> tuple[np.ndarray, np.ndarray] | None:
        if self.doses is None:
            return None
        if not isinstance(self.doses, tuple | list) or len(self.doses) != 2:
            raise ShapeError(f"{self._where}doses are a pair (times, amounts), got {self.doses!r}")
        times, amounts = (
            self._numbers(what, value) for what, value in zip(("doses", "amounts"), self.doses, strict=True)
        )
        if times.ndim != 1 or amounts.shape[:1] != times.shape:
            raise ShapeError(
                f"{self._where}doses have times of shape {times.shape} and amounts of shape {amounts.shape}; "
                "expected one amount for each time"
            )
        if not (np.all(np.isfinite(times)) and np.all(np.isfinite(amounts))):
            raise ValueError(f"{self._where}doses: times and amounts are finite")
        return times, amounts

    def _overrides(self) -> dict[str, float | str]:
        given = dict(self.overrides or {})
        for name, value in given.items():
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float | str)
                or (not isinstance(value, str) and not np.isfinite(value))
            ):
                raise ParameterError(
                    f"{self._where}overrides: {name} is replaced by a finite number or the name of a parameter, got {value!r}"
                )
        return given


@dataclass(frozen=True, eq=False)
class Data:
    """Experiments, which need not have the same times or observables.

    **Arguments:** `experiments`: a sequence of `Experiment`s with different names.

    **Errors:** `ParameterError` for anything else, or two of the same name; `ShapeError` if initial states differ in shape.
    """

    experiments: Sequence[Experiment]

    def __post_init__(self) -> None:
        experiments = [self.experiments] if isinstance(self.experiments, Experiment) else list(self.experiments)
        if not experiments or not all(isinstance(one, Experiment) for one in experiments):
            raise ParameterError(
                f"Data takes a sequence of experiments, got {self.experiments!r}; write Data([Experiment(...), ...])"
            )
        names = [one.name for one in experiments]
        for name in names:
            if names.count(name) > 1:
                raise ParameterError(f"two experiments are called {name!r}; give each a name of its own")
        object.__setattr__(self, "experiments", tuple(experiments))
        self._check_starts()

    def _check_starts(self) -> None:
        for what in ("y0", "t0"):
            without = [one.name for one in self.experiments if getattr(one, what) is None]
            if 0 < len(without) < len(self.experiments):
                raise ParameterError(
                    f"some experiments have {what}, and {', '.join(without)} have none; give it to all, or to none"
                )
        shapes = {one.name: jax.tree.map(np.shape, one.y0) for one in self.experiments}
        first = next(iter(shapes.values()))
        for name, shape in shapes.items():
            if shape != first:
                raise ShapeError(f"experiment {name!r}: y0 has shape {shape}, that of the first has {first}")

    @property
    def observables(self) -> tuple[str, ...]:
        """The names of all observables, in the order in which they first come."""
        return tuple(dict.fromkeys(name for one in self.experiments for name in one.observations))

    def count(self, observable: str | None = None) -> int:
        """How many numbers were observed, of one observable or of all."""
        names = self.observables if observable is None else (observable,)
        return sum(
            int(np.sum(~np.isnan(one.observations[name])))
            for one in self.experiments
            for name in names
            if name in one.observations
        )
