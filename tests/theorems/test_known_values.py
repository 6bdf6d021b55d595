"""What looks at the values of arrays looks at those that are known: closed over by a traced function, they give what they give eagerly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup
from jax import lax

import sciml_lux as lux
from sciml_lux import LayerError, ParameterError, ShapeError, flatten
from sciml_lux.solvers import cubic_input, hold_input, linear_input
from sciml_lux.training import strategies

TS, VALUES = np.array([0.0, 0.3, 0.6, 0.8, 1.0]), np.array([1.0, -1.0, 2.0, np.nan, 0.5])
DECAY = lux.WrappedFunction(lambda y: -y)
DOSED = lux.JumpODE(DECAY, t1=1.0, max_steps=32)
DOSED_PS, DOSED_ST = setup(DOSED)
EACH = lux.NeuralODE(DECAY, batching="each", max_steps=32)
EACH_PS, EACH_ST = setup(EACH)
LOSS = strategies.TrajectoryLoss(DOSED)
FLAT = flatten.flatten({"a": lux.positive(np.ones(3)), "matrix": np.eye(2)})


def held(made, ts, values):
    return made(ts, jnp.nan_to_num(values) if made is cubic_input else values, length=5).evaluate(0.45)


# Functions of arrays that are known, which look at some of them.
MEMBERS = {
    "hold_input": (held, hold_input, TS, VALUES),
    "linear_input": (held, linear_input, TS, VALUES),
    "cubic_input": (held, cubic_input, TS, VALUES),
    "doses": (
        lambda y0, ts, *doses: DOSED.solve(y0, DOSED_PS, DOSED_ST, ts=ts, t0=np.zeros(()), doses=doses)[0].ys,
        np.ones(2), TS[1:], np.array([0.5, 0.2]), np.ones((2, 2)),
    ),
    "lengths": (
        lambda y0, ts, lengths: EACH.solve(y0, EACH_PS, EACH_ST, ts=ts, lengths=lengths)[0].ys,
        np.ones((2, 1)), np.stack([TS, TS]), np.array([5, 3]),
    ),
    "declarations": (
        lambda ones, third, eye, u, z, i: flatten.flatten({
            "positive": lux.positive(ones), "bounded": lux.bounded(ones, 0.0, 2.0), "fixed": lux.fixed(ones),
            "ordered": flatten.ordered(z), "simplex": flatten.simplex(third), "unit": flatten.unit_vector(u),
            "definite": flatten.positive_definite(eye), "orthogonal": flatten.orthogonal_matrix(eye),
            "triangular": flatten.triangular(eye), "symmetric": flatten.symmetric(eye),
            "low": flatten.low_rank(eye, 2), "complex": flatten.complex_value(i),
        }).vector,
        np.ones(3), np.ones(3) / 3.0, np.eye(2), np.array([1.0, 0.0]), np.arange(3.0), np.array([1j, 2.0]),
    ),
    "set": (lambda ones: FLAT.set("a", ones).vector, 2.0 * np.ones(3)),
    "params": (lambda vector: FLAT.replace(vector).params.a, np.arange(7.0)),
    "series": (lambda ts, ys: LOSS(DOSED_PS, DOSED_ST, strategies.series(ts, ys))[0], TS, np.ones((5, 2))),
}  # fmt: skip


SOLVES = ("doses", "lengths", "series")


def calls(name, kind):
    """The function of a member without arguments, and what calls it in every kind of traced function, times 1."""
    function, *given = MEMBERS[name]
    given = [kind(value) if isinstance(value, np.ndarray) else value for value in given]
    value = lambda: function(*given)  # noqa: E731

    def traced(one):
        looped = lax.scan(lambda carry, _: (carry, carry * value()), one, length=1)[1][0]
        mapped = jax.vmap(lambda one: one * value())(one[None])[0]
        derivative = jax.jvp(lambda one: one * value(), (one,), (one,))[1]
        return value(), looped, mapped, derivative

    return value, traced


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
@pytest.mark.parametrize("name", MEMBERS)
def test_arrays_that_are_known_may_be_closed_over_by_any_traced_function(name, kind):
    jax.eval_shape(calls(name, kind)[1], jnp.ones(()))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SOLVES else name for name in MEMBERS]
)
def test_closed_over_by_a_traced_function_they_give_what_they_give_eagerly(name):
    value, traced = calls(name, jnp.asarray)
    expected = value()
    for found in jax.jit(traced)(jnp.ones(())):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused_eagerly_is_refused_within_a_traced_function():
    early = ShapeError, "a dose at -1 comes before the solve starts"
    for make, (kind, part) in (
        (lambda: hold_input(TS[::-1].copy(), TS).evaluate(0.5), (ShapeError, "ts must increase")),
        (lambda: linear_input(TS, TS / 0.0).evaluate(0.5), (ShapeError, "samples may be missing")),
        (lambda: DOSED(np.ones(1), DOSED_PS, DOSED_ST, doses=(np.array([-1.0]), np.ones((1, 1))))[0], early),
        (lambda: EACH.solve(np.ones((1, 1)), EACH_PS, EACH_ST, ts=TS, lengths=np.array([9])), (ShapeError, "lengths")),
    ):
        for run in (lambda make: make(), lambda make: jax.jit(make)()):
            with np.errstate(all="ignore"):
                refused(lambda: run(make), kind, part)  # noqa: B023


def test_what_runs_programs_of_its_own_says_that_it_cannot_within_one():
    import optax

    loss = lambda ps, st, batch: (jnp.sum(ps.a**2), st)  # noqa: E731
    fit = jax.jit(lambda: lux.fit(loss, FLAT, lux.State(), optax.sgd(0.1), steps=1).losses)
    refused(fit, LayerError, "call it outside jax.jit")
    sigma = jnp.ones(5)
    curve = jax.jit(lambda: lux.estimation.curve_fit(lambda x, a: a * x, TS, TS, (1.0,), sigma=sigma).values["a"])
    refused(curve, ParameterError, "call it outside jax.jit")
