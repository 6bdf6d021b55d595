"""ReversibleAdjoint: the order and the inversion of the method, its gradients against unrolled steps and finite differences."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import directional_difference, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.core import differentiation_mode
from sciml_lux.solvers import ReversibleAdjoint
from sciml_lux.solvers.runge_kutta import tableau_of

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
            at = jax.tree.map(lambda y, *ks: y + sum(float(a) * k for a, k in zip(a, ks, strict=False)), y, *ks)
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


@pytest.mark.parametrize(
    ("solver", "t0", "t1"),
    [
        (diffrax.Heun(), 0.0, 2.0),
        (diffrax.Tsit5(), 1.0, -0.5),
        pytest.param(diffrax.Bosh3(), 0.0, 2.0, marks=pytest.mark.slow),
        pytest.param(diffrax.Dopri8(), 1.0, -0.5, marks=pytest.mark.slow),
    ],
)
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


@pytest.mark.parametrize(
    "saved", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("end", "steps"))) for name in SAVED]
)
@pytest.mark.parametrize("steps", [pytest.param("fixed", marks=pytest.mark.slow), "adaptive"])
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
        return sum(
            jnp.sum(jnp.sin(leaf.reshape(len(leaf), -1) + jnp.arange(float(len(leaf)))[:, None])) for leaf in finite
        )

    point = (Y0, ARGS, TS)
    direction = jax.tree.map(lambda leaf: jnp.cos(1.0 + jnp.arange(float(leaf.size))).reshape(leaf.shape), point)
    # The first and the last time stay, at the ends of the span.
    direction = (*direction[:2], direction[2].at[jnp.asarray([0, 4])].set(0.0))
    gradient = jax.jit(jax.grad(lambda point: value(*point, **settings)))(point)
    along = sum(jnp.sum(g * d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    prescribed = {"stepsize_controller": controller, "dt0": 0.17 if steps == "fixed" else None}

    @jax.jit
    def line(s):
        return value(*jax.tree.map(lambda p, d: p + s * d, point, direction), **prescribed)

    np.testing.assert_allclose(along, directional_difference(line, 0.0, 1.0, 1e-5), rtol=2e-8)


# The gradient


def final(y0, args, **settings):
    return jax.tree.map(lambda leaf: leaf[-1], solve(y0, args, **(adaptive() | settings)).ys)


gradients = jax.jit(jax.grad(lambda y0, args: objective(final(y0, args)), argnums=(0, 1)))


def test_mapped_is_looped():
    scale = (1.0, -0.4, 2.5)
    points = jax.tree.map(lambda leaf: jnp.stack([s * leaf for s in scale]), (Y0, ARGS))
    mapped = jax.jit(jax.vmap(gradients))(*points)
    for row in range(3):
        at = jax.tree.map(lambda leaf: leaf[row], (mapped, points))  # noqa: B023
        close(at[0], gradients(*at[1]), rtol=1e-11, atol=1e-13)


def test_what_the_field_refers_to_is_differentiated_like_an_argument():
    def closed(y0, args):
        return objective(final(y0, None, field=lambda t, y, _: field(t, y, args)))

    close(jax.jit(jax.grad(closed, argnums=(0, 1)))(Y0, ARGS), gradients(Y0, ARGS), rtol=1e-12)


@pytest.mark.slow
def test_a_layer_is_fitted_with_it_like_with_checkpoints():
    vectors = []
    for adjoint in (ReversibleAdjoint(), diffrax.RecursiveCheckpointAdjoint()):
        model = lux.Chain(lux.Dense(3, 4, jnp.tanh), lux.Dense(4, 3))
        node = lux.NeuralODE(model, t1=2.0, rtol=1e-11, atol=1e-11, adjoint=adjoint)
        ps, st = setup(node)

        def loss(ps, node=node, st=st):
            solution, _ = node.solve(jnp.asarray([1.0, -0.5, 0.3]), ps, st, ts=[0.5, 1.0, 2.0])
            return jnp.sum(solution.ys**2)

        gradient = jax.jit(jax.grad(loss))(ps)
        assert isinstance(gradient, lux.FlatParams)
        vectors.append(gradient.vector)
    np.testing.assert_allclose(*vectors, rtol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_many_steps_are_undone_to_rounding(dtype):
    # A rotation, so that nothing is damped; the coupling magnifies rounding errors by 1000.
    start, matrix = jnp.asarray([1.0, 0.0], dtype), jnp.asarray([[0.0, 1.0], [-1.0, 0.0]], dtype)
    times = {"t0": dtype(0.0), "t1": dtype(10.0), "dt0": dtype(0.01), "max_steps": 1024, "stepsize_controller": FIXED}

    def value(start, matrix):
        ys = solve(start, matrix, field=lambda t, y, matrix: matrix @ y, **times).ys
        return ys[-1] @ jnp.asarray([1.0, 2.0], dtype)

    in_start, in_matrix = jax.jit(jax.grad(value, argnums=(0, 1)))(start, matrix)
    assert in_start.dtype == in_matrix.dtype == dtype
    flow = scipy.linalg.expm(10.0 * np.asarray(matrix, np.float64))
    np.testing.assert_allclose(in_start, flow.T @ [1.0, 2.0], rtol=1e3 * jnp.finfo(dtype).eps)
    units = np.eye(4).reshape(4, 2, 2)
    expected = [
        [1.0, 2.0] @ scipy.linalg.expm_frechet(10.0 * np.asarray(matrix, np.float64), 10.0 * unit)[1] @ [1.0, 0.0]
        for unit in units
    ]
    np.testing.assert_allclose(in_matrix.reshape(-1), expected, rtol=1e3 * jnp.finfo(dtype).eps)


def test_steps_to_a_discontinuity_are_undone():
    def jump(t, y, rate):
        return jnp.where(t < 0.7, rate, -2.0 * rate) * y

    controller = diffrax.ClipStepSizeController(diffrax.PIDController(rtol=1e-9, atol=1e-9), jump_ts=jnp.asarray([0.7]))

    def value(rate):
        settings = {"stepsize_controller": controller, "saveat": diffrax.SaveAt(ts=jnp.asarray([0.7, 1.5]))}
        return solve(1.0, rate, field=jump, t1=1.5, **settings).ys

    close(jax.jit(value)(0.5), np.exp([0.35, 0.35 - 0.8]), rtol=1e-8)
    slopes = [0.7 * np.exp(0.35), -0.9 * np.exp(-0.45)]
    np.testing.assert_allclose(jax.jit(jax.jacrev(value))(0.5), slopes, rtol=1e-8)


@pytest.mark.slow
def test_the_gradient_in_the_end_of_the_span_is_the_field_there():
    def value(t1):
        return final(Y0, ARGS, t1=t1)["x"]

    expected = field(2.0, final(Y0, ARGS), ARGS)["x"]
    np.testing.assert_allclose(jax.jacrev(value)(2.0), expected, rtol=1e-6)


# Failures


def damping(rate, t1, adjoint=ReversibleAdjoint(), **settings):  # noqa: B008
    decay = lambda t, y, rate: -rate * (y - jnp.cos(t))  # noqa: E731
    return solve(2.0, rate, adjoint, field=decay, t1=t1, **(adaptive(1e-8) | settings))


@pytest.mark.slow
def test_damping_up_to_ten_is_solved_and_differentiated_and_beyond_fails():
    @jax.jit
    def both(rate):
        def value(rate, adjoint):
            solution = damping(rate, 10.0, adjoint, throw=False)
            return solution.ys[-1], solution.result

        return [
            jax.value_and_grad(lambda rate, adjoint=adjoint: value(rate, adjoint), has_aux=True)(rate)
            for adjoint in (ReversibleAdjoint(), diffrax.RecursiveCheckpointAdjoint())
        ]

    for rate, solved in ((0.1, True), (0.5, True), (1.0, True), (3.0, False), (100.0, False)):
        ((got, result), slope), ((expected, _), expected_slope) = both(rate)
        assert (result == diffrax.RESULTS.successful) == solved
        if solved:
            np.testing.assert_allclose(got, expected, rtol=1e-6)
            np.testing.assert_allclose(slope, expected_slope, rtol=1e-5)
        else:
            assert result == diffrax.RESULTS.nonlinear_divergence
    with pytest.raises(RuntimeError, match="came further apart"):
        jax.block_until_ready(damping(3.0, 10.0).ys)


def test_a_way_back_that_misses_the_solution_gives_no_gradient():
    # Forwards the distance of the solutions is damped away within a few steps; that is what backwards cannot be undone.
    adjoint = ReversibleAdjoint(coupling=1e-12)

    def value(rate, throw):
        return damping(rate, 2.0, adjoint, throw=throw).ys[-1]

    assert np.isfinite(value(0.5, throw=True))
    assert np.isnan(jax.grad(value)(0.5, throw=False))
    with pytest.raises(RuntimeError, match="drifted from those of the solve"):
        jax.block_until_ready(jax.grad(value)(0.5, throw=True))


def refusal(**settings):
    return lambda: solve(Y0, ARGS, **(adaptive() | settings))


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (
            refusal(solver=diffrax.Kvaerno5()),
            "an explicit Runge-Kutta method such as diffrax.Tsit5(), and Kvaerno5 is not",
        ),
        (refusal(solver=diffrax.HalfSolver(diffrax.Tsit5())), "HalfSolver is not an explicit Runge-Kutta method"),
        (refusal(saveat=diffrax.SaveAt(dense=True)), "no dense output"),
        (refusal(max_steps=None), "max_steps"),
        (refusal(event=diffrax.Event(lambda t, y, args, **_: y["u"] - 0.1)), "no events"),
        (lambda: solve(1j, ARGS, field=lambda t, y, args: 1j * y, **adaptive()), "real arrays of one dtype"),
    ],
)
@pytest.mark.filterwarnings("ignore:Complex dtype")
def test_what_it_cannot_reverse_is_refused_with_what_can(call, part):
    refused(call, LayerError, part, "adjoint=diffrax.RecursiveCheckpointAdjoint()")


def test_other_derivatives_are_refused():
    with differentiation_mode("forward"):
        refused(refusal(), LayerError, "reverse mode", "adjoint=diffrax.ForwardMode()")
    loss = lambda args: objective(final(Y0, args))  # noqa: E731
    forward = jax.jvp(loss, (ARGS,), (ARGS,))[1]
    backward = jax.tree.map(lambda leaf, arg: jnp.sum(leaf * arg), jax.grad(loss)(ARGS), ARGS)
    np.testing.assert_allclose(forward, sum(jax.tree.leaves(backward)), rtol=1e-4)
    with pytest.raises(RuntimeError, match="first derivatives, in reverse mode"):
        jax.hessian(lambda rate: objective(final(Y0, (ARGS[0], rate))))(ARGS[1])
    with pytest.raises(RuntimeError, match="not t0, dt0"):
        jax.grad(lambda t0: objective(final(Y0, ARGS, t0=t0)))(0.0)
    with pytest.raises(RuntimeError, match="not what fn of SaveAt does"):
        jax.grad(lambda w: solve(Y0, ARGS, saveat=diffrax.SaveAt(t1=True, fn=lambda t, y, args: w * y["u"])).ys[-1])(
            2.0
        )
    for coupling in (0.0, 1.5, float("nan")):
        with pytest.raises(LayerError, match="above 0 and at most 1"):
            ReversibleAdjoint(coupling=coupling)
