"""Derivatives forward and backward through every way of differentiating a solve: each is the transpose of the other."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import setup
from members.equilibria import two_scales

import sciml_lux as lux
from sciml_lux.solvers import Anderson, ImplicitGradient, PhantomGradient, ReversibleAdjoint, UnrolledGradient
from sciml_lux.solvers._both_modes import isolated
from sciml_lux.solvers._linear_map import linear_map

START = jnp.array([1.0, 0.5])
TS = jnp.array([0.25, 0.5, 1.0])
CROSSING = diffrax.Event(lambda t, y, args, **more: y[0] - 1.5, diffrax.VeryChord(rtol=1e-12, atol=1e-12))


class Timed(lux.AbstractContainer):
    """`network([t, y])`."""

    network: lux.Dense

    def __call__(self, x, ps, st):
        t, y = x
        y, network = self.network(jnp.append(y, t), ps.network, st.network)
        return y, {"network": network}


FIELD = Timed(lux.Dense(3, 2, jnp.tanh))
WAYS = {
    "recorded": {},
    "recorded, one by one": {"wide": True},
    "checkpoints": {"adjoint": diffrax.RecursiveCheckpointAdjoint()},
    "stiff": {"stiff": True},
    "event": {"event": CROSSING},
    "dense": {"saveat": diffrax.SaveAt(ts=TS, dense=True)},
    "function of what is saved": {"saveat": diffrax.SaveAt(ts=TS, fn=lambda t, y, args: y**2)},
    "each": {"batching": "each"},
    "each, failed ones left out": {"batching": "each", "throw": False},
    "direct": {"adjoint": diffrax.DirectAdjoint()},
    "reversible": {"adjoint": ReversibleAdjoint()},
}


def problem(wide=False, saveat=None, **settings):
    """A solve as a function of parameters, initial value, times and start, and a point to differentiate it at."""
    # Derivatives in the times that steps end at agree to the tolerance.
    settings = {"max_steps": 128, "rtol": 1e-8, "atol": 1e-8, **settings}
    node = lux.NeuralODE(FIELD, time=True, **settings)
    start = START
    if wide:
        node = lux.NeuralODE(lux.Dense(2, 2, jnp.tanh), **settings)
        start = jnp.sin(jnp.arange(20.0)).reshape(10, 2)
    if settings.get("batching"):
        start = jnp.stack([START, -2.0 * START])
    ps, st = setup(node)

    def solve(vector, y0, ts, t0):
        more = {"ts": ts} if saveat is None else {"saveat": saveat}
        # Which says itself that it is not differentiated where a solve starts.
        t0 = jax.lax.stop_gradient(t0) if isinstance(node.adjoint, ReversibleAdjoint) else t0
        solution, _ = node.solve(y0, ps.replace(vector), st, t0=t0, **more)
        dense = [] if solution.interpolation is None else [solution.evaluate(0.3)]
        # What an event ends before is infinite.
        return [jnp.where(jnp.isfinite(ys), ys, 0) for ys in [solution.ys, *dense]]

    return solve, (ps.vector, start, TS, jnp.asarray(0.1))


def direction(tree, seed):
    leaves, structure = jax.tree.flatten(tree)
    random = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [jnp.asarray(random.normal(size=leaf.shape), leaf.dtype) for leaf in leaves])


def check_transposes(solve, point):
    """`<w, J v>` forward is `<J^T w, v>` backward."""
    v = direction(point, 0)
    ys, forward = jax.jit(lambda point: jax.jvp(solve, point, v))(point)
    w = direction(ys, 1)
    backward = jax.jit(lambda point: jax.vjp(solve, *point)[1](w))(point)
    inner = lambda a, b: sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))  # noqa: E731
    # Beside the size of the terms, which may cancel.
    size = np.sqrt(inner(w, w) * inner(forward, forward))
    np.testing.assert_allclose(inner(w, forward), inner(backward, v), rtol=1e-6, atol=1e-6 * size)
    return v, w


def test_forward_is_the_transpose_of_backward_also_in_what_the_field_closes_over():
    def solve(rate, y0, ts, t0):
        node = lux.NeuralODE(lux.WrappedFunction(lambda y: jnp.sin(rate * y[::-1])), rtol=1e-8, atol=1e-8)
        return node.solve(y0, *setup(node), ts=ts, t0=t0)[0].ys

    check_transposes(solve, (jnp.array([0.5, 1.5]), START, TS, jnp.asarray(0.1)))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_forward_is_the_finite_difference_and_maps(way):
    solve, point = problem(**WAYS[way])
    v, *_ = check_transposes(solve, point)
    # Not in the times of an adaptive solve, whose steps follow them.
    v = (*v[:2], *jax.tree.map(jnp.zeros_like, v[2:]))
    moved = lambda h: jax.tree.map(lambda x, d: x + h * d, point, v)  # noqa: E731
    step = 1e-5
    at = jax.jit(lambda point: solve(*point))
    for found, plus, minus in zip(jax.jvp(solve, point, v)[1], at(moved(step)), at(moved(-step)), strict=True):
        np.testing.assert_allclose(found, (plus - minus) / (2 * step), rtol=1e-2, atol=1e-3)
    mapped = jax.jit(jax.jacfwd(lambda vector: solve(vector, *point[1:])))(point[0])
    backward = jax.jit(jax.jacrev(lambda vector: solve(vector, *point[1:])))(point[0])
    for a, b in zip(mapped, backward, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_linearized_once_pushed_and_pulled_often():
    solve, point = problem()
    values, line = jax.linearize(solve, *point)
    v = direction(point, 0)
    expected = jax.jvp(solve, point, v)[1]
    transposed = jax.linear_transpose(line, *point)
    for got, want in zip(line(*v), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    np.testing.assert_allclose(transposed(values)[1], jax.vjp(solve, *point)[1](values)[1], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["recorded", "recorded, one by one", "each", "each, failed ones left out"])
def test_second_derivatives_go_forward_through_the_gradient(way):
    solve, (vector, *rest) = problem(**WAYS[way])
    loss = lambda vector: sum(jnp.sum(jnp.sin(ys)) for ys in solve(vector, *rest))  # noqa: E731
    hessian = jax.jit(jax.hessian(loss))(vector)
    gradient = jax.jit(jax.grad(loss))
    along = jnp.cos(jnp.arange(float(vector.size)))
    difference = (gradient(vector + 1e-4 * along) - gradient(vector - 1e-4 * along)) / 2e-4
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-10)
    np.testing.assert_allclose(hessian @ along, difference, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "derivative", "advice"),
    [
        ("recorded", lambda f: jax.jacrev(jax.grad(f)), "jax.hessian"),
        ("stiff", jax.hessian, "DirectAdjoint"),
        ("reversible", jax.hessian, "RecursiveCheckpointAdjoint"),
    ],
)
def test_where_there_are_no_second_derivatives_an_error_says_what_to_write(way, derivative, advice):
    solve, (vector, *rest) = problem(**WAYS[way])
    with pytest.raises((lux.LayerError, RuntimeError), match=advice):
        derivative(lambda vector: jnp.sum(solve(vector, *rest)[0]))(vector)


# Equilibria of several resolutions


@pytest.mark.slow
@pytest.mark.parametrize("adjoint", [ImplicitGradient(), PhantomGradient(), UnrolledGradient(60)], ids=str)
def test_an_equilibrium_of_two_resolutions_is_differentiated_in_both_modes(adjoint):
    deq = lux.MultiScaleDEQ(two_scales(), shapes=((2,), (1,)), solver=Anderson(rtol=1e-13, atol=1e-13), adjoint=adjoint)
    ps, st = setup(deq)
    solve = jax.jit(lambda vector, x: list(deq(x, ps.replace(vector), st)[0]))
    point = (ps.vector, jnp.array([[0.4, -1.0], [1.5, 0.3], [-0.2, 0.1]]))
    v, _ = check_transposes(solve, point)
    forward, backward = (jax.jit(mode(solve, argnums=(0, 1)))(*point) for mode in (jax.jacfwd, jax.jacrev))
    for a, b in zip(jax.tree.leaves(forward), jax.tree.leaves(backward), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    if isinstance(adjoint, PhantomGradient):  # which is not that of the equilibrium
        return
    plus, minus = (solve(*(a + h * b for a, b in zip(point, v, strict=True))) for h in (1e-5, -1e-5))
    for found, up, down in zip(jax.jvp(solve, point, v)[1], plus, minus, strict=True):
        np.testing.assert_allclose(found, (up - down) / 2e-5, rtol=1e-6, atol=1e-9)


# What a field closes over


@pytest.mark.parametrize(
    "adjoint",
    ["auto", diffrax.RecursiveCheckpointAdjoint(), ReversibleAdjoint()],
    ids=["recorded", "checkpoints", "reversible"],
)
@pytest.mark.parametrize("compiled", [False, True], ids=["step by step", "compiled"])
@pytest.mark.slow
def test_what_the_field_closes_over_is_differentiated(adjoint, compiled):
    def end(rate):
        node = lux.NeuralODE(lux.WrappedFunction(lambda y: rate * y), adjoint=adjoint, rtol=1e-9, atol=1e-9)
        ps, st = setup(node)
        return node(jnp.array([2.0]), ps, st)[0][0]

    gradient = jax.jit(jax.grad(end)) if compiled else jax.grad(end)
    # A number of Python's, too, which is no array where a rule meets it.
    np.testing.assert_allclose(gradient(0.5), 2 * np.exp(0.5), rtol=1e-6)


# Where a solve ends where it starts


@pytest.mark.parametrize(
    "settings",
    [{"adjoint": diffrax.ForwardMode()}]
    + [
        pytest.param(settings, marks=pytest.mark.slow)
        for settings in (
            {},
            {"adjoint": diffrax.RecursiveCheckpointAdjoint()},
            {"adjoint": diffrax.DirectAdjoint()},
            {"stiff": True},
            {"batching": "each"},
        )
    ],
    ids=str,
)
def test_times_that_are_all_the_start_move_with_the_slope_there(settings):
    node = lux.NeuralODE(lux.WrappedFunction(lambda x: jnp.sin(x[0]) + x[1] ** 2), t1=2.0, time=True, **settings)
    ps, st = setup(node)
    start = START[None] if node.batching == "each" else START
    solve = lambda ts, t0: node.solve(start, ps, st, ts=ts, t0=t0)[0].ys.reshape(2, 2)  # noqa: E731
    derivative = jax.jacfwd if isinstance(node.adjoint, diffrax.ForwardMode) else jax.jacrev
    in_ts, in_t0 = jax.jit(derivative(solve, argnums=(0, 1)))(jnp.full(2, 0.7), jnp.asarray(0.7))
    slope = np.sin(0.7) + START**2
    np.testing.assert_allclose(in_ts, np.einsum("ij,k->ikj", np.eye(2), slope), rtol=1e-13)
    np.testing.assert_allclose(in_t0, [-slope, -slope], rtol=1e-13)


# The operation below


def test_a_linear_map_is_mapped_transposed_and_differentiated_as_what_it_stands_for():
    def apply(a, x):
        return {"y": a @ x}

    def transpose(a, bar):
        return a.T @ bar["y"]

    @jax.jit
    def ours(a, x):
        return linear_map(apply, transpose, a, x, {"y": jnp.zeros(2)}, "once")["y"]

    a, x = jnp.arange(6.0).reshape(2, 3), jnp.array([1.0, -1.0, 2.0])
    for function in (jax.jacfwd, jax.jacrev):
        np.testing.assert_array_equal(function(ours, argnums=1)(a, x), a)
    np.testing.assert_array_equal(jax.jacfwd(ours)(a, x), jax.jacfwd(jnp.matmul)(a, x))
    many = jnp.stack([x, 2 * x])
    gradient = lambda f: jax.grad(lambda x: jnp.sum(jax.vmap(lambda row: f(a, row))(x) ** 2))  # noqa: E731
    np.testing.assert_array_equal(gradient(ours)(many), gradient(jnp.matmul)(many))
    # The transpose of one for all is the sum over all.
    for_all = lambda f: jax.grad(lambda x: jnp.sum(jax.vmap(lambda a: f(a, x))(jnp.stack([a, 2 * a]))))  # noqa: E731
    np.testing.assert_array_equal(for_all(ours)(x), for_all(jnp.matmul)(x))
    with pytest.raises(lux.LayerError, match="once"):
        jax.grad(lambda a: jnp.sum(ours(a, x)))(a)


def test_what_is_not_okay_has_no_derivative_in_either_mode():
    """Though that of the square root at 0 is infinite, which no selection afterwards would take out of the way back."""
    rows = lambda x: jax.vmap(lambda x: isolated(lambda x: (jnp.sqrt(x), x > 0), x, "once")[0])(x)  # noqa: E731
    x = jnp.array([4.0, 0.0])
    np.testing.assert_array_equal(jax.jvp(rows, (x,), (jnp.ones(2),))[1], [0.25, 0.0])
    np.testing.assert_array_equal(jax.vjp(rows, x)[1](jnp.ones(2))[0], [0.25, 0.0])
