"""ReversibleAdjoint: the order and the inversion of the method, its gradients against unrolled steps and finite differences."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import directional_difference, setup

import sciml_lux as lux
from sciml_lux.solvers import ReversibleAdjoint
from sciml_lux.solvers.adjoints._runge_kutta import tableau_of

FIXED = diffrax.ConstantStepSize()
A = np.array([[-0.3, 1.2], [-1.0, 0.1]])
Y0 = {"x": jnp.asarray([1.0, 0.5]), "u": jnp.asarray(0.7)}
ARGS = (jnp.asarray(A), jnp.asarray(-0.2))
STEPS = 12


def field(t, y, args):
    matrix, rate = args
    return {"x": jnp.tanh(matrix @ y["x"]) + jnp.sin(t), "u": rate * y["u"] * y["x"][0]}


def solve(y0, args, adjoint=ReversibleAdjoint(), solver=diffrax.Tsit5(), t0=0.0, t1=2.0, field=field, **settings):  # noqa: B008
    if "stepsize_controller" not in settings:
        settings |= {"stepsize_controller": FIXED, "dt0": (t1 - t0) / STEPS}
    settings = {"dt0": None, "max_steps": 256} | settings
    return diffrax.diffeqsolve(diffrax.ODETerm(field), solver, t0, t1, y0=y0, args=args, adjoint=adjoint, **settings)


def unrolled(y0, args, solver, t0=0.0, t1=2.0, coupling=1e-3, steps=STEPS):
    """`(y, z)` after equal steps, written out, to be differentiated as it stands."""
    method, mix = tableau_of(solver), coupling ** (1 / steps)

    def increment(t, h, y):
        ks = []
        for a, c in zip(method.a, method.c, strict=True):
            at = jax.tree.map(lambda y, *ks: y + sum(float(a) * k for a, k in zip(a, ks, strict=False)), y, *ks)  # noqa: B023
            ks.append(jax.tree.map(lambda f: h * f, field(t + float(c) * h, at, args)))
        return jax.tree.map(lambda *ks: sum(float(b) * k for b, k in zip(method.b, ks, strict=True)), *ks)

    y = z = y0
    h = (t1 - t0) / steps
    for n in range(steps):
        up = increment(t0 + n * h, h, z)
        y = jax.tree.map(lambda y, z, d: mix * y + (1 - mix) * z + d, y, z, up)
        z = jax.tree.map(lambda z, d: z - d, z, increment(t0 + (n + 1) * h, -h, y))
    return y, z


def objective(y):
    return y["x"] @ jnp.asarray([0.7, -0.4]) + y["u"] ** 2


def close(got, expected, **tolerances):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, **tolerances)


# The method


@pytest.mark.parametrize(
    ("solver", "order", "steps"),
    [(diffrax.Heun(), 2, 64), (diffrax.Bosh3(), 3, 32), (diffrax.Tsit5(), 5, 16), (diffrax.Dopri8(), 8, 4)],
)
def test_it_converges_with_the_order_of_the_base_method(solver, order, steps):
    exact = scipy.linalg.expm(2.0 * A) @ Y0["x"]
    errors = []
    for number in (steps, 2 * steps):
        linear = lambda t, y, args: args @ y  # noqa: E731
        solution = solve(
            Y0["x"], ARGS[0], solver=solver, field=linear, stepsize_controller=FIXED, dt0=jnp.asarray(2.0 / number)
        )
        errors.append(np.linalg.norm(solution.ys[-1] - exact))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


@pytest.mark.parametrize("solver", [diffrax.Heun(), diffrax.Bosh3(), diffrax.Tsit5(), diffrax.Dopri8()])
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 2.0), (1.0, -0.5)])
def test_value_and_gradient_are_those_of_the_unrolled_steps(solver, t0, t1):
    def ours(y0, args):
        return objective(jax.tree.map(lambda leaf: leaf[-1], solve(y0, args, solver=solver, t0=t0, t1=t1).ys))

    def theirs(y0, args):
        return objective(unrolled(y0, args, solver, t0, t1)[0])

    got = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(Y0, ARGS)
    expected = jax.value_and_grad(theirs, argnums=(0, 1))(Y0, ARGS)
    close(got, expected, rtol=1e-10, atol=1e-12)


def adaptive(tolerance=1e-7):
    return {"stepsize_controller": diffrax.PIDController(rtol=tolerance, atol=tolerance)}


TS = jnp.asarray([0.0, 0.3, 0.31, 1.1, 2.0])


def everything_saved(t, y, args):
    return {"square": y["x"] ** 2 * args[1], "t": t * y["u"]}


SAVED = {
    "times": lambda ts: diffrax.SaveAt(ts=ts),
    "end": lambda ts: diffrax.SaveAt(t1=True),
    "steps": lambda ts: diffrax.SaveAt(t0=True, steps=True),
    "all": lambda ts: diffrax.SaveAt(
        subs=[
            diffrax.SubSaveAt(t0=True, ts=ts[1:], t1=True, steps=3),
            diffrax.SubSaveAt(ts=ts, t1=True, fn=everything_saved),
        ]
    ),
}


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("steps", ["fixed", "adaptive"])
def test_gradients_of_what_is_saved_are_finite_differences(saved, steps):
    # Steps that are chosen by the error depend on the point: recorded once, they are prescribed for the differences.
    controller = FIXED
    settings = {"stepsize_controller": FIXED, "dt0": 0.17}
    if steps == "adaptive":
        chosen = solve(Y0, ARGS, saveat=diffrax.SaveAt(t0=True, steps=True), **adaptive(1e-5))
        controller = diffrax.StepTo(ts=chosen.ts[np.isfinite(chosen.ts)])
        settings = adaptive(1e-5)

    def value(y0, args, ts, **settings):
        ys = solve(y0, args, saveat=SAVED[saved](ts), **settings).ys
        finite = [jnp.where(jnp.isfinite(leaf), leaf, 0) for leaf in jax.tree.leaves(ys)]
        return sum(jnp.sum(jnp.sin(leaf.reshape(len(leaf), -1) + jnp.arange(len(leaf))[:, None])) for leaf in finite)

    point = (Y0, ARGS, TS)
    direction = jax.tree.map(lambda leaf: jnp.cos(1.0 + jnp.arange(leaf.size)).reshape(leaf.shape), point)
    # The first and the last time stay, at the ends of the span.
    direction = (*direction[:2], direction[2].at[jnp.asarray([0, 4])].set(0.0))
    gradient = jax.jit(jax.grad(lambda point: value(*point, **settings)))(point)
    along = sum(jnp.sum(g * d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    prescribed = {"stepsize_controller": controller, "dt0": 0.17 if steps == "fixed" else None}

    @jax.jit
    def line(s):
        return value(*jax.tree.map(lambda p, d: p + s * d, point, direction), **prescribed)

    np.testing.assert_allclose(along, directional_difference(line, 0.0, 1.0, 1e-5), rtol=2e-8)
