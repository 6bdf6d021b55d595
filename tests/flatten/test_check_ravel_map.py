"""`check_ravel_map` passes every map of the package, and says of each wrong one what is wrong."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused
from members import RAVEL_MAPS

import sciml_lux as lux
from sciml_lux import ParameterError
from sciml_lux.flatten import AbstractRavelMap, Positive, PositiveDefiniteMap, check_ravel_map


@pytest.mark.parametrize("member", RAVEL_MAPS, ids=lambda member: member.name)
def test_every_map_keeps_its_promises(member):
    assert check_ravel_map(member.ravel_map, member.value) is None


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("ravel_map", [Positive(), PositiveDefiniteMap()], ids=repr)
def test_maps_of_other_dtypes(ravel_map, dtype):
    check_ravel_map(ravel_map, jnp.eye(2, dtype=dtype) + (0 if isinstance(ravel_map, PositiveDefiniteMap) else 1))


@dataclasses.dataclass(frozen=True)
class Halves(AbstractRavelMap):
    """A right map: stores half of each number."""

    def size(self, spec):
        return spec.size

    def ravel(self, value, spec):
        return jnp.reshape(value, (-1,)) / 2

    def unravel(self, segment, spec):
        return jnp.reshape(2 * segment, spec.shape)


class Unhashable(Halves):
    __hash__ = None


class OfIdentity(AbstractRavelMap):
    size, ravel, unravel = Halves.size, Halves.ravel, Halves.unravel


class WrongSize(Halves):
    def size(self, spec):
        return spec.size + 1


class NotFlat(Halves):
    def ravel(self, value, spec):
        return value


class OfIntegers(Halves):
    def ravel(self, value, spec):
        return super().ravel(value, spec).astype(int)


class NotInverse(Halves):
    def unravel(self, segment, spec):
        return jnp.reshape(3 * segment, spec.shape)


class WrongShape(Halves):
    def unravel(self, segment, spec):
        return 2 * segment


class WrongDtype(Halves):
    def unravel(self, segment, spec):
        return super().unravel(segment, spec).astype(jnp.float32)


class Forgets(Halves):
    """Stores each number twice and reads the first."""

    def size(self, spec):
        return 2 * spec.size

    def ravel(self, value, spec):
        return jnp.tile(super().ravel(value, spec), 2)

    def unravel(self, segment, spec):
        return super().unravel(segment[: spec.size], spec)


class Branches(Halves):
    def unravel(self, segment, spec):
        return super().unravel(segment if segment[0] > 0 else 0 * segment, spec)


class NotMapped(Halves):
    """Sums over all numbers that it can see, the batch included."""

    def unravel(self, segment, spec):
        return jax.pure_callback(
            lambda numbers: np.reshape(2 * np.asarray(numbers), spec.shape),
            jax.ShapeDtypeStruct(spec.shape, spec.dtype),
            segment,
        )


class NotDifferentiable(Halves):
    def unravel(self, segment, spec):
        return jax.pure_callback(
            lambda numbers: np.reshape(2 * np.asarray(numbers), np.shape(numbers)[:-1] + spec.shape),
            jax.ShapeDtypeStruct(spec.shape, spec.dtype),
            segment,
            vmap_method="expand_dims",
        )


class NoForwardMode(Halves):
    def unravel(self, segment, spec):
        double = jax.custom_vjp(lambda numbers: 2 * numbers)
        double.defvjp(lambda numbers: (2 * numbers, None), lambda _, cotangent: (2 * cotangent,))
        return jnp.reshape(double(segment), spec.shape)


class StopsTheGradient(Halves):
    def unravel(self, segment, spec):
        return super().unravel(jax.lax.stop_gradient(segment), spec)


class NotFinite(Halves):
    def unravel(self, segment, spec):
        harmless = jnp.where(segment > 1e9, jnp.sqrt(segment - jax.lax.stop_gradient(segment)), segment)
        return super().unravel(harmless, spec)


class WrongReverse(Halves):
    """The derivative and its transpose do not belong to each other."""

    def unravel(self, segment, spec):
        def transposed(_, cotangent):
            return 3 * cotangent

        double = jax.custom_jvp(lambda numbers: 2 * numbers)

        @double.defjvp
        def tangent(primals, tangents):
            (numbers,), (direction,) = primals, tangents
            linear = jax.custom_derivatives.linear_call(lambda _, change: 2 * change, transposed, (), direction)
            return 2 * numbers, linear

        return jnp.reshape(double(segment), spec.shape)


class WrongDeterminant(Halves):
    def log_abs_det_jacobian(self, unconstrained):
        return jnp.sum(jnp.zeros_like(unconstrained))


class TooManyCoordinates(Halves):
    def coordinates(self, value):
        return jnp.tile(jnp.ravel(value), 2)

    def log_abs_det_jacobian(self, unconstrained):
        return jnp.sum(jnp.zeros_like(unconstrained))


class Picky(Halves):
    def check(self, value):
        raise ValueError("not today")


WRONG: dict[type[Any], list[str]] = {
    Unhashable: ["is not hashable (unhashable type: 'Unhashable')", "make it a frozen dataclass"],
    OfIdentity: ["is not equal to its copy", "make it a frozen dataclass"],
    Picky: ["check(value) raised ValueError", "not today"],
    WrongSize: ["size says 7, and ravel gives 6 numbers"],
    NotFlat: ["ravel gives an array of shape (2, 3), expected one axis"],
    OfIntegers: ["ravel gives numbers of int64, expected float64"],
    NotInverse: ["unravel(ravel(value)) differs by 3.5 from what it should be"],
    WrongShape: ["unravel(ravel(value)) has shape (6,) and dtype float64, expected (2, 3) and float64"],
    WrongDtype: ["unravel(ravel(value)) has shape (2, 3) and dtype float32, expected (2, 3) and float64"],
    Forgets: ["ravel(unravel(segment)) differs by"],
    Branches: ["unravel under jax.jit raised TracerBoolConversionError"],
    NotMapped: ["unravel under jax.vmap raised NotImplementedError"],
    NotDifferentiable: ["the derivative of unravel raised ValueError", "Pure callbacks do not support JVP"],
    NoForwardMode: ["the derivative of unravel raised TypeError", "custom_vjp"],
    StopsTheGradient: ["the derivative of unravel is [0. 0. 0. 0. 0. 0.], its finite difference [ 2."],
    NotFinite: ["the derivative of unravel in", "mode is not finite: [nan"],
    WrongReverse: ["in forward mode and", "in reverse mode"],
    WrongDeterminant: ["log_abs_det_jacobian is 0.0, the Jacobian has 4.1588830833596"],
    TooManyCoordinates: ["the value has 12 coordinates for 6 stored numbers", "write coordinates(value)"],
}
sample = jnp.arange(2.0, 8.0).reshape(2, 3)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_map_is_caught(wrong):
    refused(lambda: check_ravel_map(wrong(), sample), ParameterError, f"{wrong.__name__}: ", *WRONG[wrong])


def test_a_right_map_passes():
    check_ravel_map(Halves(), sample)


def test_the_cause_is_the_error_inside_the_map():
    with pytest.raises(ParameterError) as caught:
        check_ravel_map(Branches(), sample)
    assert isinstance(caught.value.__cause__, jax.errors.TracerBoolConversionError)


# What a user writes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rotation:
    cosine: jax.Array
    sine: jax.Array


@dataclasses.dataclass(frozen=True)
class Angle(AbstractRavelMap):
    turns: float = 1.0

    def size(self, spec):
        return 1

    def ravel(self, value, spec):
        return self.turns * jnp.arctan2(value.sine, value.cosine)[None]

    def unravel(self, segment, spec):
        return Rotation(jnp.cos(segment[0]), jnp.sin(segment[0]))


def test_a_map_of_a_foreign_type():
    rotation = Rotation(jnp.cos(jnp.float64(0.3)), jnp.sin(jnp.float64(0.3)))
    check_ravel_map(Angle(), rotation)
    refused(
        lambda: check_ravel_map(Angle(2.0), rotation), ParameterError, "Angle: unravel(ravel(value)) differs by 0.13"
    )


@dataclasses.dataclass(frozen=True)
class Joined(AbstractRavelMap):
    """Weight and bias of a layer, bias first."""

    def size(self, spec):
        return spec.weight.size + spec.bias.size

    def ravel(self, value, spec):
        return jnp.concatenate([value.bias, value.weight.reshape(-1)])

    def unravel(self, segment, spec):
        bias, weight = segment[: spec.bias.size], segment[spec.bias.size :]
        return lux.Params(weight=weight.reshape(spec.weight.shape), bias=bias)


class Renamed(Joined):
    def unravel(self, segment, spec):
        return lux.Params(weights=super().unravel(segment, spec).weight)


def test_a_map_of_a_layer():
    value = lux.Params(weight=sample, bias=jnp.ones(3))
    check_ravel_map(Joined(), value)
    refused(lambda: check_ravel_map(Renamed(), value), ParameterError, "Renamed: unravel(ravel(value)) is PyTreeDef")
