"""Debug mode names the first layer that goes wrong, forward, backward and in compiled programs, and shows what it was given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from debugged_model import Averages, X, model, total
from helpers import bits, refused, setup

import sciml_lux as lux
from sciml_lux import DebugError

pytestmark = pytest.mark.usefixtures("unchecked")


def caught(function, path, culprit, *parts):
    """The error of `function()`, after checking what it says and that it says it of that layer."""
    with pytest.raises(DebugError) as raised:
        function()
    error, text = raised.value, str(raised.value)
    assert (error.path, error.culprit) == (path, culprit), text
    assert text.startswith(f"{path or '(the top)'}: ")
    for part in parts:
        assert part in text, text
    return text


# Forward


@pytest.mark.parametrize("check", ["forward", "both"])
def test_nan_in_the_input(check):
    ps, st = setup(model())
    text = caught(
        lambda: lux.tools.debug(model(), check)(X.at[1, 2].set(jnp.nan), ps, st), "", "input", "its input holds NaN"
    )
    assert text.splitlines()[1].split() == ["array", "min", "max", "mean", "NaN", "Inf"]
    assert text.splitlines()[2].split() == ["input", "float64[2,3]", "-1", "0.6", "-0.2", "1", "0"]


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_bad_parameter_among_equal_layers(bad):
    ps, st = setup(model())
    ps = ps.set("layer_1.bias", jnp.array([0.0, bad, 0.0]))
    name = "NaN" if jnp.isnan(bad) else "Inf"
    text = caught(
        lambda: lux.tools.debug(model())(X, ps, st),
        "layer_1",
        "parameters",
        f"its parameters hold {name} (bias)",
        "weight",
    )
    assert "Dense(3, 3, jnp.tanh)" in text.splitlines()[0]


def test_a_bad_parameter_of_a_users_container_itself():
    ps, st = setup(model())
    caught(lambda: lux.tools.debug(model())(X, ps.set("inner.share", jnp.nan), st), "inner", "parameters", "(share)")


def test_nan_in_the_state():
    ps, st = setup(model())
    st = st.set("layer_2.total", jnp.full(3, jnp.nan))
    caught(lambda: lux.tools.debug(model())(X, ps, st), "layer_2", "state", "its state holds NaN (total)")


def test_nan_made_in_the_state_alone():
    class Broken(Averages):
        def __call__(self, x, ps, st):
            return x, st.set("total", jnp.log(st.total - 1))

    ps, st = setup(lux.Chain(Broken()))
    caught(
        lambda: lux.tools.debug(lux.Chain(Broken()))(X, ps, st), "layer_0", "state", "it makes NaN in its state (total)"
    )


def test_nan_made_by_a_layer_and_by_a_container():
    logs = lux.Chain(lux.Dense(3, 3), lux.Chain(lambda x: x - 9.0, jnp.log), lux.Scale(3))
    ps, st = setup(logs)
    made = "it makes NaN from finite input, parameters and state"
    caught(
        lambda: lux.tools.debug(logs)(X, ps, st),
        "layer_1.layer_1",
        "output",
        "WrappedFunction(jnp.log)",
        made,
        "6    0",
    )
    ps, st = setup(model())
    caught(lambda: lux.tools.debug(model())(X, ps.set("inner.share", 2.0), st), "inner", "output", made, "Weighted(")


def test_overflow():
    powers = lux.Chain(lux.Scale(3), lambda x: 1e200 * x, jnp.square)
    ps, st = setup(powers)
    caught(lambda: lux.tools.debug(powers)(X, ps, st), "layer_2", "output", "it makes Inf from finite input", "-1e+200")


def test_an_infinite_input_may_be_meant():
    masked = lux.Chain(lambda x: x["scores"] + x["mask"], jax.nn.softmax)
    ps, st = setup(masked)
    x = {"scores": X, "mask": jnp.array([0.0, 0.0, -jnp.inf])[None] * jnp.ones((2, 1))}
    assert bits(
        lux.tools.debug(lux.Chain(jax.nn.softmax))(jnp.array([0.0, -jnp.inf]), *setup(lux.Chain(jax.nn.softmax)))[0]
    )
    caught(lambda: lux.tools.debug(masked)(x, ps, st), "layer_0", "input", "its input holds Inf (mask)")


@pytest.mark.parametrize("check", ["forward", "backward", "both"])
def test_an_exception_inside(check):
    def fails(x):
        raise KeyError("whatever")

    broken = lux.Chain(lux.Dense(3, 3), inner=lux.Chain(fails))
    ps, st = setup(broken)
    with pytest.raises(DebugError) as raised:
        lux.tools.debug(broken, check)(X, ps, st)
    assert isinstance(raised.value.__cause__, KeyError)
    assert (raised.value.path, raised.value.culprit) == ("inner.layer_0", "exception")
    assert "it raises KeyError: 'whatever'\n" in str(raised.value)
    assert "float64[2,3]" in str(raised.value)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.grad])
def test_a_shape_that_does_not_fit(transform):
    ps, st = setup(model())
    text = caught(
        lambda: transform(lambda x: total(lux.tools.debug(model()), x, ps, st))(X[:, :2]),
        "layer_0",
        "exception",
        "ShapeError",
    )
    assert "float64[2,2]" in text
    smallest = f"{float(jnp.min(ps['layer_0.weight'])):.3g}"
    assert (smallest in text) == (transform is not jax.jit)  # numbers, where they are known


def test_a_debugged_part_of_a_model():
    whole = lux.Chain(lux.NoOp(), inner=lux.tools.debug(lux.Chain(lux.Dense(3, 3), lambda x: jnp.log(x - 9))))
    ps, st = setup(whole)
    caught(lambda: whole(X, ps, st), "layer_1", "output")
    refused(lambda: whole(X, ps, st), DebugError, "in layer inner.layer_1: WrappedFunction")


# Backward


def root_of_zero():
    return lux.Chain(lux.Dense(3, 3), inner=lux.Chain(lambda x: 0 * x, jnp.sqrt), out=lux.Dense(3, 1))


@pytest.mark.parametrize("check", ["backward", "both"])
def test_a_gradient_that_is_infinite_where_the_result_is_fine(check):
    ps, st = setup(root_of_zero())
    assert bits(lux.tools.debug(root_of_zero(), check)(X, ps, st)) == bits(root_of_zero()(X, ps, st))
    text = caught(
        lambda: jax.grad(lambda ps: total(lux.tools.debug(root_of_zero(), check), X, ps, st))(ps),
        "inner.layer_1",
        "cotangent of the input",
        "backward, it makes Inf in the cotangent of the input from a finite cotangent of the output",
        "WrappedFunction(jnp.sqrt)",
    )
    assert [line.split("  ")[1] for line in text.splitlines()[2:]] == [
        "input",
        "output",
        "cotangent of the output",
        "cotangent of the input",
    ]
    assert jax.grad(lambda ps: total(lux.tools.debug(root_of_zero(), "forward"), X, ps, st))(ps).layout is ps.layout


def test_the_gradient_of_a_parameter():
    class Power(lux.AbstractLayer):
        def initial_parameters(self, key):
            return {"exponent": jnp.asarray(1.0)}

        def __call__(self, x, ps, st):
            return x + jnp.sqrt(jax.lax.stop_gradient(ps.exponent) - ps.exponent), st

    power = lux.Chain(lux.NoOp(), Power())
    ps, st = setup(power)
    caught(
        lambda: jax.grad(lambda ps: total(lux.tools.debug(power), X, ps, st))(ps),
        "layer_1",
        "cotangent of the parameters",
        "it makes Inf in the cotangent of the parameters (exponent)",
    )


def test_a_loss_whose_own_gradient_is_bad():
    ps, st = setup(model())
    caught(
        lambda: jax.grad(lambda ps: jnp.sum(jnp.sqrt(0 * lux.tools.debug(model())(X, ps, st)[0])))(ps),
        "",
        "cotangent of the output",
        "backward, the cotangent of the output holds NaN when it comes",
    )


# Compiled


def in_program(function, path, *parts):
    """Asserts that a compiled program stops with an error that ends in the report on a layer."""
    with pytest.raises(Exception, match="DebugError") as raised:  # JAX's own type depends on how the program was called
        jax.block_until_ready(function())
    text = str(raised.value).rpartition("DebugError: ")[2]
    assert text.startswith(f"{path}: "), text
    for part in parts:
        assert part in text


def test_under_jit_the_program_stops_with_the_report_on_the_first_layer():
    logs = lux.Chain(lux.Dense(3, 3), lux.Chain(lambda x: x - 9.0, jnp.log), jnp.sqrt, lux.Scale(3))
    ps, st = setup(logs)
    compiled = jax.jit(lambda x: lux.tools.debug(logs)(x, ps, st)[0])
    for _ in range(2):
        in_program(lambda: compiled(X), "layer_1.layer_1", "it makes NaN from finite", "float64[2,3]")
    in_program(lambda: jax.jit(jax.vmap(compiled))(X), "layer_1.layer_1", "it makes NaN from finite", "float64[3]")


def test_under_jit_backward():
    ps, st = setup(root_of_zero())
    gradient = jax.jit(jax.grad(lambda ps: total(lux.tools.debug(root_of_zero()), X, ps, st)))
    in_program(lambda: gradient(ps).vector, "inner.layer_1", "backward, it makes Inf in the cotangent of the input")


def test_mapped_without_jit():
    logs = lux.Chain(lux.Scale(3), lambda x: jnp.log(x - 9.0))
    ps, st = setup(logs)
    caught(lambda: jax.vmap(lambda x: lux.tools.debug(logs)(x, ps, st)[0])(X), "layer_1", "output", "float64[3]")


def test_within_a_scan():
    rows = lux.Repeated(lux.Chain(lux.Dense(3, 3), lambda x: jnp.log(x)), 3)
    ps, st = setup(rows)
    caught(lambda: lux.tools.debug(rows)(X, ps, st), "layer.layer_1", "output", "it makes NaN")


@pytest.mark.parametrize("differentiate", [pytest.param(False, marks=pytest.mark.slow), True])
def test_within_a_solver_among_equal_ones(differentiate):
    """Two equal equations share what is compiled for them, but for their paths."""
    node = lux.NeuralODE(lux.Chain(lux.Scale(2), lambda x: jnp.log(x)), t1=0.1)
    both = lux.Chain(node, lambda x: x - 3.0, node)
    ps, st = setup(both)
    run = lambda ps: jnp.sum(lux.tools.debug(both)(jnp.array([2.0, 2.0]), ps, st)[0])  # noqa: E731
    call = jax.grad(run) if differentiate else run
    caught(lambda: call(ps), "layer_2.model.layer_1", "output", "it makes NaN from finite input, parameters and state")


def test_within_a_solver_that_works():
    node = lux.NeuralODE(lux.Chain(lux.Dense(2, 2, jnp.tanh)), t1=0.1)
    ps, st = setup(node)
    run = lambda layer: jax.grad(lambda ps: jnp.sum(layer(jnp.ones(2), ps, st)[0]))(ps).vector  # noqa: E731
    np.testing.assert_allclose(run(lux.tools.debug(node)), run(node), rtol=1e-12)
