"""fit where the loss is not finite or a solve fails, and what it refuses: what is taken, what is kept, what is said."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
from helpers import bits, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError

# The package's own errors are what users see; the type checker of these tests would come first.
pytestmark = pytest.mark.usefixtures("unchecked")


class Point(lux.AbstractLayer):
    """One number, and a state that counts the calls."""

    def initial_parameters(self, key):
        return {"x": 3.0}

    def initial_states(self, key):
        return {"calls": jnp.zeros((), jnp.int32)}

    def __call__(self, x, ps, st):
        return ps.x, st.set("calls", st.calls + 1)


PS, ST = setup(Point())
SGD = optax.sgd(0.1)


def walled(ps, st, batch):
    """`(x - 1)^2 / 2`, undefined below 0.8."""
    x, st = Point()(None, ps, st)
    return jnp.where(x < 0.8, jnp.nan, 0.5 * (x - 1.0) ** 2), st


def parabola(ps, st, batch):
    x, st = Point()(None, ps, st)
    return 0.5 * x**2, st


def broken_after_ten(ps, st, batch):
    value, later = parabola(ps, st, batch)
    return jnp.where(st.calls < 10, value, jnp.nan), later


def failure(function):
    with pytest.raises(lux.FitError) as caught:
        function()
    assert isinstance(caught.value, lux.LuxError)
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.fitted.message == str(caught.value)
    assert caught.value.fitted.result == optimistix.RESULTS.nonlinear_divergence
    return caught.value


# Steps that are not taken


@pytest.mark.parametrize("optimizer", [optax.sgd(1.5), optax.adam(1.2, b1=0.5)], ids=["sgd", "adam"])
def test_a_bad_region_is_stepped_back_from_and_the_fit_goes_on(optimizer):
    fitted = lux.fit(walled, PS, ST, optimizer, steps=60)
    # The rule, by hand: halfway back to the last good point, the state of the optimizer as it was.
    x = safe = 3.0
    memory, losses = optimizer.init(jnp.asarray(x)), []
    for _ in range(60):
        if x < 0.8:
            losses.append(np.nan)
            x = safe + (x - safe) / 2
            continue
        losses.append(0.5 * (x - 1.0) ** 2)
        safe = x
        with jax.numpy_dtype_promotion("standard"):
            update, memory = optimizer.update(jnp.asarray(x - 1.0), memory)
        x = x + float(update)
    rejected = int(np.isnan(losses).sum())
    assert rejected > 1
    assert fitted.num_rejected == rejected
    assert fitted.st.calls == 60 - rejected
    assert (fitted.message, fitted.result) == ("", optimistix.RESULTS.successful)
    assert f"{rejected} not taken" in repr(fitted)
    np.testing.assert_allclose(fitted.losses, losses, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fitted.ps["x"], x if x >= 0.8 else safe, rtol=1e-9)


def test_a_minimiser_steps_back_from_a_bad_region():
    def barrier(ps, st, batch):
        return ps["x"] - jnp.log(ps["x"]), st

    fitted = lux.fit(barrier, PS.replace(jnp.asarray([8.0])), ST, optimistix.BFGS(1e-8, 1e-8), steps=100)
    np.testing.assert_allclose(fitted.ps["x"], 1.0, rtol=1e-6)
    assert fitted.message == ""


def test_a_gradient_that_is_not_finite_is_not_followed():
    def loss(ps, st, batch):
        return jnp.sqrt(ps["x"] ** 2), st  # |x|: its value at 0 is fine

    error = failure(lambda: lux.fit(loss, PS.replace(jnp.zeros(1)), ST, SGD, steps=30))
    np.testing.assert_array_equal(error.fitted.ps["x"], 0.0)


def test_a_failed_solve_counts_even_if_the_loss_looks_fine():
    node = lux.NeuralODE(lux.WrappedFunction(lambda y: y**2), t1=2.0, max_steps=20)
    ps, st = setup(lux.Chain(node=node, scale=lux.Scale(1)))

    def loss(ps, st, batch):
        _, new = node(jnp.ones(1), ps["node"], st["node"])
        return jnp.sum(ps.vector**2), st.set("node", new)

    assert lux.fit(loss, ps, st, SGD, steps=3, throw=False).num_rejected == 3


# Fits that stop


def test_a_fit_that_cannot_go_on_says_so_and_keeps_the_last_good_parameters():
    error = failure(lambda: lux.fit(broken_after_ten, PS, ST, SGD, steps=100))
    for part in (
        "stopped after 20 steps",
        "10 steps in a row",
        "not finite",
        "lower the learning rate",
        "error.fitted.ps",
    ):
        assert part in str(error)
    fitted = error.fitted
    # The tenth loss was the last finite one: it was taken at the point that nine steps reached.
    assert bits(fitted.ps) == bits(lux.fit(parabola, PS, ST, SGD, steps=9).ps)
    assert bits(fitted.losses[:10]) == bits(lux.fit(parabola, PS, ST, SGD, steps=10).losses)
    np.testing.assert_array_equal(fitted.losses[10:], [np.nan] * 10)
    assert (fitted.num_rejected, fitted.st.calls) == (10, 10)


@pytest.mark.parametrize(
    "optimizer", [SGD, optax.lbfgs(), optimistix.BFGS(1e-6, 1e-6)], ids=["sgd", "optax lbfgs", "BFGS"]
)
def test_a_loss_that_is_never_finite_ends_where_it_started(optimizer):
    def loss(ps, st, batch):
        return jnp.nan * ps["x"], st

    error = failure(lambda: lux.fit(loss, PS, ST, optimizer, steps=100, max_failures=4))
    for part in ("stopped from the very first step", "4 steps in a row", "start elsewhere"):
        assert part in str(error)
    assert bits((error.fitted.ps, error.fitted.st)) == bits((PS, ST))
    np.testing.assert_array_equal(error.fitted.losses, [np.nan] * 4)


def test_without_throw_the_message_is_returned():
    stages = [(SGD, 30), (optax.sgd(0.05), 30)]
    fitted = lux.fit(broken_after_ten, PS, ST, stages, throw=False)
    assert "the fit stopped after 20 steps" in fitted.message
    assert fitted.message in repr(fitted)
    assert fitted.result == optimistix.RESULTS.nonlinear_divergence
    assert len(fitted.losses) == 20  # the second stage was not begun


@pytest.mark.parametrize("streamed", [False, True])
def test_nan_in_the_data_is_named_by_its_path(streamed):
    data = {"x": np.ones(2), "counts": [np.ones(2), np.array([1.0, np.nan])]}

    def loss(ps, st, batch):
        return jnp.sum((batch["counts"][1] - ps["x"]) ** 2), st

    given = iter([data] * 40) if streamed else data
    error = failure(lambda: lux.fit(loss, PS, ST, SGD, steps=30, data=given))
    assert "data['counts'][1] holds NaN; leave such points out" in str(error)
    assert "data['x']" not in str(error)


def test_parameters_that_are_not_finite_are_named():
    error = failure(lambda: lux.fit(parabola, PS.set("x", jnp.nan), ST, SGD, steps=30))
    assert "the parameters x are not finite" in str(error)


@pytest.mark.parametrize("optimizer", [SGD, optimistix.BFGS(1e-6, 1e-6)], ids=["sgd", "BFGS"])
def test_a_failed_solve_is_reported_with_its_reason_and_does_not_raise_inside(optimizer):
    class Square(lux.AbstractLayer):
        def initial_parameters(self, key):
            return {"rate": 1.0}

        def __call__(self, y, ps, st):
            return ps.rate * y**2, st

    model = lux.Chain(lux.NoOp(), flow=lux.NeuralODE(Square(), t1=2.0, max_steps=20))
    ps, st = setup(model)

    def loss(ps, st, batch):
        y, st = model(jnp.asarray(1.0), ps, st)  # infinite at t = 1
        return y**2, st

    error = failure(lambda: lux.fit(loss, ps, st, optimizer, steps=50))
    reason = "the solve at flow.solution.result failed: The maximum number of solver steps was reached"
    assert reason in str(error)
    assert bits(error.fitted.ps) == bits(ps)


# What is refused


class Empty:
    """Something to loop over with nothing in it."""

    def __iter__(self):
        return iter([])


@pytest.mark.parametrize("optimizer", [SGD, optimistix.BFGS(1e-6, 1e-6)], ids=["sgd", "BFGS"])
@pytest.mark.parametrize(
    ("output", "parts"),
    [
        (lambda x, st: x, ["returns (value, st) or (value, st, stats)", "write `return value, st`"]),
        (lambda x, st: (x, st, {}, 1), ["returns (value, st) or (value, st, stats), got tuple"]),
        (lambda x, st: (x * jnp.ones(2), st), ["one real number first, got float64[2]", "jnp.mean"]),
        (lambda x, st: (1, st), ["one real number first, got int64[]"]),
        (lambda x, st: (jax.lax.complex(x, x), st), ["one real number first, got complex128[]"]),
        (lambda x, st: (x, {"count": st.calls}), ["a state like the one it was given", "State(count=", "State(calls="]),
        (lambda x, st: (x, st.set("calls", x)), ["a state like the one it was given", "float64", "int32"]),
        (lambda x, st: (x, x), ["state is a State, got"]),
    ],
)
def test_losses_that_return_something_else(output, parts, optimizer):
    refused(lambda: lux.fit(lambda ps, st, _: output(ps["x"], st), PS, ST, optimizer, steps=3), LayerError, *parts)


@pytest.mark.parametrize(
    ("optimizer", "options", "parts"),
    [
        (SGD, {}, ["when to stop", "pass steps="]),
        (SGD, {"steps": -1}, ["steps is a whole number, 0 or more, got -1"]),
        (SGD, {"steps": 1.5}, ["steps is a whole number", "got 1.5"]),
        (SGD, {"steps": True}, ["steps is a whole number", "got True"]),
        (SGD, {"steps": 3, "max_failures": 0}, ["max_failures is 1 or more, got 0"]),
        ("adam", {"steps": 3}, ["takes an optax transformation such as optax.adam(1e-2)", "got 'adam'"]),
        (optax.adam, {"steps": 3}, ["takes an optax transformation", "got <function adam"]),
        (optimistix.LevenbergMarquardt(1e-3, 1e-3), {"steps": 3}, ["an optimistix minimiser", "LevenbergMarquardt"]),
        ([], {}, ["stages are pairs with their own steps"]),
        ([SGD], {}, ["stages are pairs with their own steps", "[(optax.adam(1e-2), 500), (optax.lbfgs(), 100)]"]),
        ([(SGD, 3, 4)], {}, ["stages are pairs"]),
        ([(SGD, 3)], {"steps": 3}, ["without steps="]),
        ([(SGD, "3")], {}, ["steps is a whole number", "got '3'"]),
        ([(3, SGD)], {}, ["takes an optax transformation", "got 3"]),
        (optimistix.BFGS(1e-3, 1e-3), {"data": iter([1.0])}, ["a minimiser needs the same data at every step"]),
        (SGD, {"steps": 3, "data": {"a": "text"}}, ["a tree of arrays", "data['a'] is a str"]),
        (SGD, {"steps": 3, "data": [object()]}, ["a tree of arrays", "data[0] is a object"]),
        (SGD, {"steps": 3, "data": Empty()}, ["data is a Empty that holds no batch"]),
    ],
)
def test_settings_that_cannot_be(optimizer, options, parts):
    refused(lambda: lux.fit(parabola, PS, ST, optimizer, **options), LayerError, *parts)


def test_a_bad_stage_is_refused_before_the_first_one_runs():
    def loss(*_):
        raise AssertionError("the first stage ran")

    refused(lambda: lux.fit(loss, PS, ST, [(SGD, 3), ("adam", 3)]), LayerError, "got 'adam'")


def test_an_iterator_must_hold_batches_of_one_shape():
    with pytest.raises(ValueError, match="already exhausted; pass a fresh one"):
        lux.fit(parabola, PS, ST, SGD, data=iter([]))
    batches = [{"y": np.ones(4)}, {"y": np.ones(4)}, {"y": np.ones(3)}]
    parts = ["gave {'y': 'float64[3]'} after {'y': 'float64[4]'}", "drop or pad the last batch"]
    refused(lambda: lux.fit(parabola, PS, ST, SGD, data=iter(batches)), ShapeError, *parts)


def test_parameters_and_state_are_those_of_setup():
    for ps, name in ((PS.vector, "ArrayImpl"), (PS.params, "Params"), ({"x": 3.0}, "dict")):
        refused(lambda: lux.fit(parabola, ps, ST, SGD, steps=3), LayerError, "takes the FlatParams", f"got {name}")  # noqa: B023
    refused(lambda: lux.fit(parabola, PS, None, SGD, steps=3), LayerError, "state is a State, got None")
