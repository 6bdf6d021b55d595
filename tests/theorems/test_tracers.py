"""The cached view of a FlatParams never outlives the trace in which it was made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml_lux as lux
from sciml_lux.flatten import flatten


def make():
    return flatten({"a": jnp.array([1.0, 2.0]), "rate": lux.positive(3.0), "constant": lux.fixed(0.5)})


def total(params):
    return jnp.sum(params["a"]) + params["rate"] * params["constant"]


def in_scan(function):
    def run(x):
        _, values = jax.lax.scan(lambda carry, _: (carry, function(carry)), x, None, length=2)
        return values[0]

    return run


def in_loop(function):
    return lambda x: jax.lax.fori_loop(0, 1, lambda _, carry: function(x), jnp.zeros(()))


def in_cond(function):
    return lambda x: jax.lax.cond(x > 0, function, lambda x: jnp.zeros(()), x)


BODIES = {
    "jit": jax.jit,
    "grad": lambda function: lambda x: jax.value_and_grad(function)(x)[0],
    "vmap": lambda function: lambda x: jax.vmap(function)(jnp.stack([x, x]))[0],
    "scan": in_scan,
    "fori_loop": in_loop,
    "cond": in_cond,
    "checkpoint": jax.checkpoint,
    "jit of grad": lambda function: jax.jit(lambda x: jax.value_and_grad(function)(x)[0]),
    "grad of jit": lambda function: lambda x: jax.value_and_grad(jax.jit(function))(x)[0],
}


@pytest.mark.parametrize("name", BODIES)
def test_a_concrete_vector_closed_over_by_a_transformed_function(name):
    ps = make()
    run = BODIES[name](lambda x: x * total(ps))
    assert run(jnp.float64(2.0)) == 9.0
    assert ps._params is not None
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(ps.params))
    assert total(ps) == 4.5
    assert run(jnp.float64(4.0)) == 18.0


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("outer", ["jit", "grad", "vmap"])
@pytest.mark.parametrize("read_before", [False, True])
def test_a_traced_vector_closed_over_by_a_transformed_function(name, outer, read_before):
    ps = make()

    def function(ps):
        before = total(ps) if read_before else 0.0
        inside = BODIES[name](lambda x: x * total(ps))(jnp.float64(2.0))
        return inside + total(ps) + before  # reads the view again after the inner trace has ended

    expected = 9.0 + 4.5 * (2 if read_before else 1)
    if outer == "jit":
        np.testing.assert_allclose(jax.jit(function)(ps), expected, rtol=1e-15)
    elif outer == "grad":
        gradient = jax.grad(function)(ps)
        weight = expected / 4.5
        np.testing.assert_allclose(gradient.vector, [weight, weight, weight * 1.5], rtol=1e-14)
    else:
        np.testing.assert_allclose(jax.vmap(function)(ps.replace(ps.vector[None])), [expected], rtol=1e-15)


def test_no_tracer_is_left_behind():
    ps = make()
    with jax.checking_leaks():
        assert jax.jit(lambda ps, x: x * total(ps))(ps, 2.0) == 9.0
        assert jax.jit(lambda x: x * total(ps))(2.0) == 9.0
        assert jax.grad(lambda ps: total(ps))(ps).vector.shape == (3,)


def test_a_traced_vector_is_unravelled_once():
    ps = make()
    jaxpr = jax.make_jaxpr(lambda ps: total(ps) + total(ps))(ps)
    assert str(jaxpr).count("name=_primal_split") == 1
