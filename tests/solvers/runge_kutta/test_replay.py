"""The default gradient of a Neural ODE is that of the discrete solve: diffrax's checkpointed adjoint is the oracle."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import setup

import sciml_lux as lux
from sciml_lux.solvers.runge_kutta import _pull_back, _replay
from sciml_lux.solvers.runge_kutta._problem import InitialValueProblem
from sciml_lux.solvers.runge_kutta._solve import solve

METHODS = [diffrax.Tsit5(), diffrax.Dopri8(), diffrax.Heun()]  # with an interpolation each of its own kind
network = lux.Chain(lux.Dense(2, 5, jnp.tanh), lux.Dense(5, 2))
y0 = jnp.array([1.0, 0.5])


@pytest.fixture
def both(monkeypatch):
    """Gradients with the default and with diffrax's checkpointed adjoint; the first must really be ours."""
    calls = []
    for name in ("chunk_adjoint", "step_adjoint"):
        ours = getattr(_pull_back, name)
        monkeypatch.setattr(_pull_back, name, lambda *args, ours=ours, **more: calls.append(1) or ours(*args, **more))

    def gradients(model, loss, *arguments, **options):
        results = []
        for adjoint in ("auto", diffrax.RecursiveCheckpointAdjoint()):
            calls.clear()
            node = lux.NeuralODE(model, adjoint=adjoint, **options)
            ps, st = setup(node)
            numbers = tuple(range(1 + len(arguments)))
            gradient = jax.jit(jax.grad(lambda ps, *rest: loss(node, ps, st, *rest), argnums=numbers))  # noqa: B023
            results.append(gradient(ps, *arguments))
            assert bool(calls) == (adjoint == "auto")
        return results

    return gradients


def agree(results, rtol=1e-11):
    for got, expected in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * max(1.0, float(jnp.max(jnp.abs(expected)))))


def weighted(ys):
    return sum(
        jnp.sum(jnp.sin(leaf) * jnp.arange(1.0, 1.0 + leaf.size, dtype=leaf.dtype).reshape(leaf.shape))
        for leaf in jax.tree.leaves(ys)
    )


@pytest.mark.parametrize(
    "solver",
    [METHODS[0], *(pytest.param(solver, marks=pytest.mark.slow) for solver in METHODS[1:])],
    ids=lambda solver: type(solver).__name__,
)
@pytest.mark.parametrize(
    ("t0", "t1"), [pytest.param(0.0, 3.0, marks=pytest.mark.slow), (3.0, 0.0)], ids=["forward", "backward in time"]
)
def test_every_explicit_method_saving_at_many_times(both, solver, t0, t1):
    # The first time is the start, two are the same, and the last one is the end.
    ts = jnp.array([t0, 0.9 * t0 + 0.1 * t1, 0.5 * (t0 + t1), 0.5 * (t0 + t1), 0.2 * t0 + 0.8 * t1, t1])
    agree(
        both(
            network,
            lambda node, ps, st, y0: weighted(node.solve(y0, ps, st, ts=ts)[0].ys),
            y0,
            solver=solver,
            t0=t0,
            t1=t1,
        )
    )


@pytest.mark.parametrize("number", [1, _replay._CHUNK_ALONE, 2 * _replay._CHUNK_ALONE + 1])
def test_any_number_of_steps(both, number):
    options = {"stepsize_controller": diffrax.ConstantStepSize(), "dt0": 2.0 / number, "t1": 2.0}
    agree(both(network, lambda node, ps, st, y0: weighted(node(y0, ps, st)[0]), y0, **options))


def test_steps_that_were_rejected_leave_no_trace(both):
    stiff = lux.Chain(lambda y: 8 * y**3, network)
    agree(both(stiff, lambda node, ps, st, y0: weighted(node(y0, ps, st)[0]), y0, rtol=1e-8, atol=1e-8), rtol=1e-9)


def test_trees_time_and_inputs(both):
    class Forced(lux.AbstractContainer):
        network: lux.Chain

        def __call__(self, x, ps, st):
            t, y, u = x
            dy, network = self.network(jnp.stack([y["a"], y["b"][0]]), ps.network, st.network)
            return {"a": dy[0] + u * jnp.sin(t), "b": dy[1:] * t}, {"network": network}

    times = jnp.linspace(0.0, 1.0, 4)

    def loss(node, ps, st, start, forcing):
        inputs = diffrax.LinearInterpolation(times, forcing)
        return weighted(node.solve(start, ps, st, ts=times, inputs=inputs)[0].ys)

    # Fixed steps: where the forcing has kinks, adaptive ones amplify the rounding by which trees differ from vectors.
    options = {"time": True, "stepsize_controller": diffrax.ConstantStepSize(), "dt0": 0.07}
    start = {"a": jnp.float64(0.3), "b": jnp.ones(1)}
    agree(both(Forced(network), loss, start, jnp.array([0.0, 1.0, -1.0, 2.0]), **options))


def test_times_are_differentiated_where_they_are_saved(key):
    """d y(t) / dt is the field at y(t), to the accuracy of the interpolation, and exactly that of the interpolation."""
    node = lux.NeuralODE(network, t1=2.0, rtol=1e-9, atol=1e-9)
    ps, st = lux.setup(key, node)
    ts = jnp.array([0.5, 1.1, 2.0])
    derivative = jax.jacrev(lambda ts: node.solve(y0, ps, st, ts=ts)[0].ys)(ts)
    ys = node.solve(y0, ps, st, ts=ts)[0].ys
    for i in range(2):  # the last one is the end of the solve
        field = network(ys[i], ps.params.model, st.model)[0]
        np.testing.assert_allclose(derivative[i, :, i], field, rtol=1e-5)
        assert not np.any(np.delete(derivative[i], i, axis=-1))


def test_mapped_over_starts_is_looped(key):
    node = lux.NeuralODE(lux.Chain(lambda y: y**3, network), t1=1.0)
    ps, st = lux.setup(key, node)
    starts = jnp.array([[1.0, 0.5], [0.1, 0.0], [2.0, -2.0]])  # of different difficulty
    gradient = jax.grad(lambda ps, y0: weighted(node(y0, ps, st)[0]), argnums=(0, 1))
    mapped = jax.jit(jax.vmap(gradient, (None, 0)))(ps, starts)
    for i, start in enumerate(starts):
        agree((jax.tree.map(lambda leaf: leaf[i], mapped), gradient(ps, start)))  # noqa: B023


def test_the_gradient_of_a_failed_solve_is_nan(key):
    for start, max_steps in ((y0, 3), (1e300 * y0, 4096)):  # too few steps; an overflow in the first one
        node = lux.NeuralODE(lux.Chain(jnp.square, network), t1=10.0, max_steps=max_steps, throw=False)
        ps, st = lux.setup(key, node)
        gradient = jax.grad(lambda ps, y0: jnp.sum(node(y0, ps, st)[0]), argnums=(0, 1))(ps, start)  # noqa: B023
        assert all(np.all(np.isnan(leaf)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_single_precision_and_frozen_state(both):
    loss = lambda node, ps, st, y0: weighted(node(y0, ps, st)[0])  # noqa: E731
    node = lux.NeuralODE(lux.Chain(lux.Dropout(0.3), network), t1=1.0)
    ps, st = setup(node, dtype=jnp.float32)
    gradient = jax.grad(lambda ps: loss(node, ps, st, y0.astype(jnp.float32)))(ps)
    assert gradient.vector.dtype == jnp.float32
    reference = lux.NeuralODE(node.model, t1=1.0, adjoint=diffrax.RecursiveCheckpointAdjoint())
    agree((gradient, jax.grad(lambda ps: loss(reference, ps, st, y0.astype(jnp.float32)))(ps)), rtol=1e-4)


PLAIN = {
    "solver": diffrax.Tsit5(),
    "max_steps": 4096,
    "stepsize_controller": diffrax.PIDController(rtol=1e-3, atol=1e-3),
}


@pytest.mark.parametrize(
    ("start", "change"),
    [
        (y0, {"solver": diffrax.Kvaerno5()}),
        (jnp.ones(_replay.LARGEST_RECORD // 4096 // 8), {}),
        (y0, {"max_steps": None}),
        ({"a": y0, "b": y0.astype(jnp.float32)}, {}),
        (
            y0,
            {"stepsize_controller": diffrax.ClipStepSizeController(PLAIN["stepsize_controller"], jump_ts=jnp.ones(1))},
        ),
    ],
    ids=["implicit", "large record", "unbounded", "two dtypes", "jumps"],
)
def test_what_is_not_replayed(start, change):
    assert _replay.why_not_recorded(y0, PLAIN) is None
    assert _replay.why_not_recorded(start, {**PLAIN, **change})


@pytest.mark.parametrize("t1", [pytest.param(1.0, marks=pytest.mark.slow), -1.0])
def test_steps_side_by_side_are_those_of_each_alone(t1):
    """Up to steps of no length, where another lane had one to take."""
    settings = {**PLAIN, "t0": jnp.zeros(()), "t1": jnp.asarray(t1), "dt0": None}

    def steps(y0):
        problem = InitialValueProblem(
            lambda t, y, args: jnp.cos(5 * t) - jnp.sin(3 * y), y0, None, jnp.array([t1]), settings
        )
        return solve(problem, records=True)[1]

    starts = jnp.array([[1.0, 0.5], [2.0, -1.5], [0.0, 0.0]])
    mapped = jax.vmap(steps)(starts)
    for i, start in enumerate(starts):
        alone = steps(start)
        number = int(alone.number)
        rows = mapped.rows[i, : int(mapped.number[i]) + 1]
        rows = rows[np.concatenate([[True], np.diff(rows[:, 0]) != 0])]
        assert len(rows) == number + 1 > 3
        np.testing.assert_allclose(rows, alone.rows[: number + 1], rtol=1e-9)
        np.testing.assert_allclose(alone.rows[number, 0], t1, rtol=1e-15)


# States that are too large for Jacobians: step by step

WIDE = lux.Chain(lux.Dense(3, 4, jnp.tanh), lux.Dense(4, 3))  # on each of six rows


@pytest.mark.parametrize(
    ("t0", "t1"),
    [(2.0, 0.0), pytest.param(0.0, 2.0, marks=pytest.mark.slow)],
    ids=["backward in time", "forward"],
)
def test_a_large_state_step_by_step(both, t0, t1):
    ts = jnp.array([t0, 0.9 * t0 + 0.1 * t1, 0.5 * (t0 + t1), 0.5 * (t0 + t1), 0.2 * t0 + 0.8 * t1, t1])
    start = jnp.sin(jnp.arange(18.0)).reshape(6, 3)
    assert start.size > _replay.SMALL_STATE

    # The ends of the span are not only times to save at.
    def loss(node, ps, st, start, inner):
        times = jnp.concatenate([ts[:1], inner, ts[-1:]])
        return weighted(node.solve(start, ps, st, ts=times)[0].ys)

    agree(both(WIDE, loss, start, ts[1:-1], t0=t0, t1=t1, rtol=1e-6, atol=1e-6))


@pytest.mark.slow
def test_large_states_mapped_are_looped(both):
    start = jnp.sin(jnp.arange(36.0)).reshape(2, 6, 3)

    def loss(node, ps, st, start):
        return weighted(jax.vmap(lambda y0: node(y0, ps, st)[0])(start))

    agree(both(WIDE, loss, start, rtol=1e-6, atol=1e-6))


@pytest.mark.parametrize("t1", [pytest.param(2.0, marks=pytest.mark.slow), -1.0], ids=["forward", "backward in time"])
def test_where_a_solve_starts_is_differentiated(t1):
    """In `t0` and in times at which it lies: the derivative of the flow, as diffrax has it up to the tolerance."""
    field = lux.WrappedFunction(lambda t_and_y: jnp.sin(t_and_y[0] + t_and_y[1]) - t_and_y[1][::-1])

    @jax.jit
    def gradients(node, t0, ts):
        ps, st = setup(node)
        return jax.grad(lambda t0, ts: weighted(node.solve(y0, ps, st, t0=t0, ts=ts)[0].ys), argnums=(0, 1))(t0, ts)

    nodes = [
        lux.NeuralODE(field, t0=0.5, t1=t1, time=True, rtol=1e-10, atol=1e-10, adjoint=adjoint)
        for adjoint in ("auto", diffrax.RecursiveCheckpointAdjoint())
    ]
    t0 = jnp.asarray(0.3)
    agree([gradients(node, t0, jnp.linspace(t0, t1, 4)) for node in nodes], rtol=1e-8)


def test_each_sample_has_the_derivative_in_its_own_start():
    node = lux.NeuralODE(lux.WrappedFunction(jnp.sin), t1=2.0, rtol=1e-10, atol=1e-10, batching="each")
    ps, st = setup(node)
    starts, values = jnp.array([0.3, 0.6]), jnp.array([[1.0], [0.5]])
    slopes = jax.grad(lambda t0: jnp.sum(node.solve(values, ps, st, t0=t0)[0].ys))(starts)
    # tan(y / 2) grows by e^t.
    end = 2 * jnp.arctan(jnp.tan(values / 2) * jnp.exp(2.0 - starts[:, None]))
    np.testing.assert_allclose(slopes, -jnp.sin(end[:, 0]), rtol=1e-7)
