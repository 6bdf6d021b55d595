"""Whether a ravel map keeps its promises, tried on one value."""

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ParameterError
from ._declare import spec_of
from .maps import AbstractRavelMap


def check_ravel_map(ravel_map: AbstractRavelMap, value: Any) -> None:
    """Tries a ravel map on a sample value; returns nothing if all is well.

    Maps that hold a rotation by its angle, registered and checked:

        @lux.register_ravel_map(Rotation)                    # a layer type, or a pytree of somebody else's
        @dataclass(frozen=True)
        class Angle(lux.flatten.AbstractRavelMap):
            def size(self, spec):
                return 1
            def ravel(self, value, spec):
                return jnp.arctan2(value.sine, value.cosine)[None]
            def unravel(self, segment, spec):
                return Rotation(jnp.cos(segment[0]), jnp.sin(segment[0]))
        lux.flatten.check_ravel_map(Angle(), Rotation(jnp.cos(0.3), jnp.sin(0.3)))

    In this order: the map is hashable and equal to its copy; `size` is the length of `ravel(value)`, which is a vector of
    the floating dtype of the value; `unravel` gives the value back, in shape and dtype; both go through `jax.jit` and `jax.vmap`;
    `ravel` undoes `unravel`, at that segment and at one nearby (where `bijective` is False, only the value must come back);
    the derivative of `unravel` is finite, equals a central difference, and is the same in forward and reverse mode;
    `log_abs_det_jacobian(unconstrained)`, if there is one that does not raise `ParameterError`, is the logarithm of
    the determinant of the Jacobian of `coordinates(value)` (default: all elements) by `slogdet`. Numbers are
    compared by their largest difference, relative to the largest of them, within `eps**(2/3)` (3.7e-11 in float64).

    **Arguments:** `ravel_map`: an instance; `value`: what it is to store, away from points where the map has none: an
    array, the `Params` of a layer, or an instance of the type that it is registered for. Small, as the Jacobian is made.

    **Errors:** `ParameterError` that says which promise is broken, with the numbers. An error inside the map is its cause.
    """
    trial = _Trial(ravel_map, jax.tree.map(jnp.asarray, value))
    trial.static()
    segment = trial.segment()
    # Off the sample, where no symmetry of it hides a mistake.
    nearby = segment + np.asarray(0.1 * np.sin(1.0 + np.arange(segment.size)), segment.dtype)
    trial.transformations(segment, nearby)
    trial.round_trip(segment)
    trial.round_trip(nearby)
    if segment.size:
        trial.derivatives(nearby)
        trial.log_determinant(nearby)


class _Trial:
    """A map with a sample value, and the promises, each a method that raises `ParameterError` if it is broken."""

    def __init__(self, ravel_map: AbstractRavelMap, value: Any) -> None:
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(value) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        # The type of real numbers that a vector with this value has.
        self.dtype = np.dtype(jnp.finfo(dtypes[0] if dtypes else float).dtype)
        self.ravel_map, self.value, self.spec = ravel_map, value, spec_of(value, self.dtype)
        self.tolerance = float(jnp.finfo(self.dtype).eps) ** (2 / 3)
        self.jit_ravel, self.jit_unravel = jax.jit(self.ravel), jax.jit(self.unravel)

    def error(self, text: str) -> ParameterError:
        return ParameterError(f"{type(self.ravel_map).__name__}: {text}")

    def call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of `function`, whose own errors become the cause of one that says what was tried."""
        try:
            return function(*arguments)
        except Exception as error:
            raise self.error(f"{what} raised {type(error).__name__}: {str(error).splitlines()[0:1]}") from error

    def ravel(self, value: Any) -> Any:
        return self.ravel_map.ravel(value, self.spec)

    def unravel(self, segment: Any) -> Any:
        return self.ravel_map.unravel(segment, self.spec)

    def same(self, what: str, got: Any, expected: Any) -> None:
        """That two trees agree in structure, shapes, dtypes and, but for rounding, in numbers."""
        if jax.tree.structure(got) != jax.tree.structure(expected):
            raise self.error(f"{what} is {jax.tree.structure(got)}, expected {jax.tree.structure(expected)}")
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            if np.shape(one) != np.shape(other) or one.dtype != other.dtype:
                raise self.error(
                    f"{what} has shape {np.shape(one)} and dtype {one.dtype}, "
                    f"expected {np.shape(other)} and {other.dtype}"
                )
            difference = _largest(_wide(one) - _wide(other))
            if not difference <= self.tolerance * _largest(other):
                raise self.error(f"{what} differs by {difference:.3g} from what it should be: {one}, expected {other}")

    def static(self) -> None:
        try:
            hash(self.ravel_map)
        except TypeError as error:
            raise self.error(f"is not hashable ({error}); make it a frozen dataclass of plain values") from error
        if copy.deepcopy(self.ravel_map) != self.ravel_map:
            raise self.error(
                "is not equal to its copy, so that no compiled program is shared; make it a frozen dataclass"
            )

    def segment(self) -> Any:
        self.call("check(value)", self.ravel_map.check, self.value)
        segment = self.call("ravel(value)", self.ravel, self.value)
        if np.ndim(segment) != 1:
            raise self.error(f"ravel gives an array of shape {np.shape(segment)}, expected one axis")
        if segment.dtype != self.dtype:
            raise self.error(f"ravel gives numbers of {segment.dtype}, expected {self.dtype} as in the vector")
        size = self.call("size(spec)", self.ravel_map.size, self.spec)
        if size != len(segment):
            raise self.error(f"size says {size}, and ravel gives {len(segment)} numbers")
        self.same("unravel(ravel(value))", self.call("unravel(segment)", self.unravel, segment), self.value)
        return np.asarray(segment)

    def transformations(self, segment: Any, nearby: Any) -> None:
        value = self.call("unravel under jax.jit", self.jit_unravel, segment)
        self.same("unravel under jax.jit", value, self.value)
        self.same("ravel under jax.jit", self.call("ravel under jax.jit", self.jit_ravel, value), self.ravel(value))
        values = value, self.jit_unravel(nearby)
        stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *values)
        ravelled = np.stack([self.jit_ravel(value) for value in values])
        mapped = self.call("unravel under jax.vmap", jax.jit(jax.vmap(self.unravel)), np.stack([segment, nearby]))
        self.same("unravel under jax.vmap", mapped, stacked)
        mapped = self.call("ravel under jax.vmap", jax.jit(jax.vmap(self.ravel)), stacked)
        self.same("ravel under jax.vmap", mapped, ravelled)

    def round_trip(self, segment: Any) -> None:
        value = self.jit_unravel(segment)
        again = self.jit_ravel(value)
        if self.ravel_map.bijective:
            self.same("ravel(unravel(segment))", again, segment)
        else:
            self.same("unravel(ravel(unravel(segment)))", self.jit_unravel(again), value)

    def derivatives(self, segment: Any) -> None:
        def function(numbers: Any) -> Any:
            return _as_reals(self.unravel(numbers))

        def trial(numbers: Any, direction: Any, weights: Any) -> Any:
            difference = function(numbers + step * direction) - function(numbers - step * direction)
            value, tangent = jax.jvp(function, (numbers,), (direction,))
            return value, tangent, difference, *jax.vjp(function, numbers)[1](weights)

        step = self.tolerance**0.5  # eps**(1/3): where rounding and curvature weigh the same
        direction = np.asarray(np.cos(2.0 * np.arange(segment.size)), self.dtype)
        weights = np.cos(3.0 * np.arange(jax.eval_shape(function, segment).size)).astype(self.dtype)
        results = self.call("the derivative of unravel", jax.jit(trial), segment, direction, weights)
        value, tangent, difference, gradient = (_wide(result) for result in results)
        difference = difference / (2 * step)
        for mode, numbers in (("forward", tangent), ("reverse", gradient)):
            if not np.all(np.isfinite(numbers)):
                raise self.error(f"the derivative of unravel in {mode} mode is not finite: {numbers}")
        if _largest(tangent - difference) > 100 * self.tolerance * max(_largest(tangent), _largest(value)):
            raise self.error(f"the derivative of unravel is {tangent}, its finite difference {difference}")
        forward, reverse = _wide(weights) @ tangent, gradient @ _wide(direction)
        bound = np.abs(_wide(weights)) @ np.abs(tangent) + np.abs(gradient) @ np.abs(_wide(direction))
        if abs(forward - reverse) > self.tolerance * bound:
            raise self.error(f"the derivative of unravel is {forward} in forward mode and {reverse} in reverse mode")

    def log_determinant(self, segment: Any) -> None:
        log_abs_det_jacobian = getattr(self.ravel_map, "log_abs_det_jacobian", None)
        if log_abs_det_jacobian is None:
            return
        shape = getattr(self.ravel_map, "unconstrained_shape", lambda shape: shape)(getattr(self.spec, "shape", (-1,)))
        coordinates = getattr(self.ravel_map, "coordinates", _as_reals)

        def jacobian(numbers: Any) -> Any:
            return jax.jacfwd(lambda numbers: coordinates(self.unravel(numbers)))(numbers)

        try:
            claimed = jax.jit(log_abs_det_jacobian)(segment.reshape(shape))
        except ParameterError:
            return  # the map says that it has none
        matrix = _wide(self.call("the Jacobian of coordinates(value)", jax.jit(jacobian), segment))
        if matrix.shape != (segment.size, segment.size):
            raise self.error(
                f"there is a log_abs_det_jacobian, and the value has {len(matrix)} coordinates for {segment.size} stored "
                "numbers; write coordinates(value), which gives as many"
            )
        expected = np.linalg.slogdet(matrix)[1]
        if np.shape(claimed) != () or not abs(float(claimed) - expected) <= self.tolerance * (
            abs(expected) + segment.size
        ):
            raise self.error(f"log_abs_det_jacobian is {claimed}, the Jacobian has {expected}")


def _wide(numbers: Any) -> np.ndarray:
    """As numbers of double precision, in which NumPy knows everything."""
    return np.asarray(numbers).astype(complex if np.iscomplexobj(numbers) else float)


def _largest(numbers: Any) -> float:
    return float(np.max(np.abs(_wide(numbers)), initial=0.0))


def _as_reals(value: Any) -> Any:
    """All numbers of a tree in one vector, complex ones as real and imaginary parts."""
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(value)]
    parts = [[leaf.real, leaf.imag] if np.iscomplexobj(leaf) else [leaf] for leaf in leaves]
    return jnp.concatenate([part for pair in parts for part in pair])
