"""The members of the conformance suites. A layer or a ravel map joins by being listed here.

`LAYERS` holds one `Layer` for each way of building a layer that is worth its own run; `RAVEL_MAPS` one `Map` each.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux
from sciml_lux.flatten import (
    AbstractRavelMap,
    ArraySpec,
    Bounded,
    ComplexAsReals,
    Composed,
    Fixed,
    LowRank,
    Ordered,
    Orthogonal,
    Positive,
    PositiveDefinite,
    PositiveSoftplus,
    Real,
    Scaled,
    Simplex,
    Symmetric,
    Transposed,
    Triangular,
    UnitVector,
)


def array(*shape: int) -> jax.Array:
    """Numbers without a pattern, away from 0 where activations have kinks."""
    count = np.arange(1.0, 1.0 + np.prod(shape, dtype=int))
    return jnp.asarray(np.sin(count**2) + 0.01).reshape(shape)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer with an input.

    `make` builds it, anew at each call; `x`: an input; `mapped`: whether a batch of inputs may be mapped over;
    `dtypes`: those in which it runs; `rtol`: of the finite differences; `names`: what its repr needs in scope.
    """

    name: str
    make: Callable[[], lux.AbstractLayer]
    x: Any
    mapped: bool = True
    dtypes: tuple[Any, ...] = (jnp.float32, jnp.float64, jnp.bfloat16)
    rtol: float = 1e-6
    names: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Map:
    """A ravel map with what it is for and a value that it can store."""

    name: str
    ravel_map: AbstractRavelMap
    spec: Any
    value: Any


class CustomLayer(lux.AbstractLayer):
    """What a user writes: constrained parameters, a counter, a key and a flag."""

    features: int

    def initial_parameters(self, key):
        return {"scale": lux.positive(0.5), "nested": {"shift": 0.1 * jax.random.normal(key, (self.features,))}}

    def initial_states(self, key):
        return {"key": key, "calls": jnp.zeros((), jnp.int32), "training": lux.Training()}

    def __call__(self, x, ps, st):
        now, later = jax.random.split(st.key)
        noise = jax.random.normal(now, x.shape, x.dtype) if st.training else jnp.zeros_like(x)
        y = ps.scale * x + jnp.broadcast_to(ps.nested.shift, x.shape) + noise
        return y, {"key": later, "calls": st.calls + 1, "training": st.training}


class CustomContainer(lux.AbstractContainer):
    """Two layers side by side, weighted by a parameter of the container's own."""

    left: lux.AbstractLayer
    right: lux.AbstractLayer

    def initial_parameters(self, key):
        return {**super().initial_parameters(key), "share": lux.bounded(0.3, 0.0, 1.0)}

    def __call__(self, x, ps, st):
        left, left_state = self.left(x, ps.left, st.left)
        right, right_state = self.right(x, ps.right, st.right)
        return ps.share * left + (1 - ps.share) * right, {"left": left_state, "right": right_state}


def append_time(t_and_y):
    t, y = t_and_y
    return jnp.append(y, t)


def controlled_field():
    return lux.Chain(append_time, lux.Dense(3, 2, jnp.tanh))


# Tolerances at which finite differences do not see the choice of the steps.
accurate = {"t1": 0.5, "rtol": 1e-9, "atol": 1e-9}
ode_dtypes = (jnp.float32, jnp.float64)  # times are sums of many small steps

shared = ("layer_0", "layer_1")
custom = {"CustomLayer": CustomLayer, "CustomContainer": CustomContainer}

LAYERS = [
    Layer("Dense", lambda: lux.Dense(3, 2, jnp.tanh), array(4, 3)),
    Layer("Dense without bias", lambda: lux.Dense(3, 2, use_bias=False), array(3)),
    Layer("Dense of another start", lambda: lux.Dense(2, 2, init_bias=lux.init.normal(std=1.0)), array(2, 3, 2)),
    Layer("Scale", lambda: lux.Scale(3, jnp.sin), array(2, 3)),
    Layer("Scale without bias", lambda: lux.Scale(3, use_bias=False), array(3)),
    Layer("NoOp", lux.NoOp, array(3)),
    Layer("WrappedFunction", lambda: lux.WrappedFunction(jnp.sin), array(3)),
    Layer("Chain", lambda: lux.Chain(lux.Dense(3, 4, jax.nn.gelu), jnp.tanh, out=lux.Scale(4)), array(2, 3)),
    Layer("empty Chain", lux.Chain, array(3)),
    Layer("Share", lambda: lux.Share(lux.Chain(lux.Dense(3, 3, jnp.tanh), lux.Dense(3, 3)), *shared), array(2, 3)),
    Layer("Repeated", lambda: lux.Repeated(lux.Dense(3, 3, jnp.tanh), 4), array(2, 3)),
    Layer("Frozen", lambda: lux.Frozen(lux.Dense(3, 2, jnp.tanh)), array(2, 3), dtypes=(jnp.float64,)),
    Layer(
        "ParameterDict",
        lambda: lux.ParameterDict(
            a=lux.positive(0.5), b=lux.bounded([0.1, 0.4], 0.0, 1.0), c=lux.fixed(2.0), d=lux.real(0.0)
        ),
        None,
        mapped=False,
    ),
    Layer("a user's layer", lambda: CustomLayer(3), array(2, 3), names=custom),
    Layer(
        "a user's container",
        lambda: CustomContainer(lux.Chain(CustomLayer(3), jnp.tanh), right=lux.Dense(3, 3)),
        array(3),
        names=custom,
    ),
    Layer("NeuralODE", lambda: lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), **accurate), array(2), dtypes=ode_dtypes),
    Layer(
        "NeuralODE with time",
        lambda: lux.NeuralODE(controlled_field(), time=True, **accurate),
        array(2),
        dtypes=ode_dtypes,
        names={"append_time": append_time},
    ),
]


def shown(name: str, ravel_map: AbstractRavelMap, value: Any) -> Map:
    """A map with a value; the spec is that of the value."""
    return Map(name, ravel_map, ArraySpec(value.shape, value.dtype), value)


_symmetric = array(3, 3) + array(3, 3).T
_matrix = ArraySpec((2, 3), np.dtype(np.float64))

RAVEL_MAPS = [
    Map("transposed", Transposed(), _matrix, array(2, 3)),
    Map("axes permuted", Transposed((1, 2, 0)), ArraySpec((2, 3, 4), np.dtype(np.float64)), array(2, 3, 4)),
    Map("real", Real(), _matrix, array(2, 3)),
    Map("real scalar", Real(), ArraySpec((), np.dtype(np.float64)), jnp.float64(1.5)),
    Map("positive", Positive(), _matrix, array(2, 3) ** 2),
    Map("bounded", Bounded(-2.0, 2.0), _matrix, array(2, 3)),
    Map("bounded below", Bounded(-2.0, float("inf")), _matrix, array(2, 3)),
    Map("bounded above", Bounded(float("-inf"), 2.0), _matrix, array(2, 3)),
    Map(
        "fixed",
        Fixed(((1.0, 2.0), (3.0, 4.0))),
        ArraySpec((2, 2), np.dtype(np.float64)),
        jnp.arange(1.0, 5.0).reshape(2, 2),
    ),
    shown("positive softplus", PositiveSoftplus(), array(2, 3) ** 2),
    shown("ordered", Ordered(), jnp.cumsum(array(2, 3) ** 2, axis=1)),
    shown("simplex", Simplex(), jax.nn.softmax(array(2, 3))),
    shown("simplex of one", Simplex(), jnp.ones((2, 1))),
    shown("unit vector", UnitVector(), array(3) / jnp.linalg.norm(array(3))),
    shown("symmetric", Symmetric(), _symmetric),
    shown("symmetric of none", Symmetric(), jnp.zeros((0, 0))),
    shown("triangular", Triangular(), jnp.tril(array(3, 3))),
    shown("strictly upper triangular", Triangular(lower=False, strict=True), jnp.triu(array(2, 3, 3), 1)),
    shown("positive definite", PositiveDefinite(), _symmetric @ _symmetric + jnp.eye(3)),
    shown("positive definite softplus", PositiveDefinite("softplus"), jnp.stack([2 * jnp.eye(2), jnp.eye(2)])),
    shown("orthogonal", Orthogonal(), jnp.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])),
    shown("orthogonal of one", Orthogonal(), jnp.ones((1, 1))),
    shown("low rank", LowRank(2), array(2, 4, 2) @ array(2, 2, 3)),
    shown("complex", ComplexAsReals(), jax.lax.complex(array(2, 3), array(3, 2).T)),
    shown("positive ordered", Composed(Positive(), Ordered()), jnp.array([0.1, 0.5, 2.0])),
    shown("symmetric of positive", Composed(Symmetric(), Positive()), _symmetric**2),
    shown("scaled", Scaled(Positive(), 1e-6), 1e-6 * array(2, 3) ** 2),
    shown("scaled matrix", Scaled(PositiveDefinite(), 8.0), jnp.eye(2)),
]
