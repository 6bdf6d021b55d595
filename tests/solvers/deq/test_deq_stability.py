"""What tells whether a model contracts, and what keeps it so; and the continuous and the multi-scale equilibrium."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equilibria import Linear, Tanh, gradients, jacobians, samples, tight
from helpers import directional_difference, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.solvers import Anderson, ImplicitGradient, JacobianFreeGradient, JacobianPenalty, MultiScaleCell

SIZE = 3
X = samples(4, SIZE)


def squared_norms(deq, ps, st):
    z, _ = jax.jit(deq)(X, ps, st)
    inner, _ = setup(deq.model)
    J = jacobians(deq.model, z, X, inner.replace(ps.vector))
    return jnp.sum(J**2, axis=(1, 2)) / SIZE


# The Jacobian


def test_the_penalty_estimates_the_norm_of_the_jacobian():
    for mode in ("vjp", "jvp"):
        deq = lux.DeepEquilibrium(
            Tanh(SIZE), solver=tight(), throw=False, jacobian_penalty=JacobianPenalty(probes=20_000, mode=mode)
        )
        ps, st = setup(deq)
        _, new = jax.jit(deq)(X, ps, st)
        np.testing.assert_allclose(new.solution.jacobian_penalty, squared_norms(deq, ps, st), rtol=0.05)


def test_the_penalty_is_differentiated_through_the_equilibrium():
    deq = lux.DeepEquilibrium(Tanh(SIZE), solver=tight(), throw=False, jacobian_penalty=JacobianPenalty(probes=2))
    ps, st = setup(deq)
    loss = jax.jit(lambda vector: jnp.sum(deq(X, ps.replace(vector), st)[1].solution.jacobian_penalty))
    gradient = jax.jit(jax.grad(loss))(ps.vector)
    direction = jnp.cos(jnp.arange(ps.vector.size, dtype=float))
    np.testing.assert_allclose(gradient @ direction, directional_difference(loss, ps.vector, direction), rtol=1e-6)


@pytest.mark.slow
def test_the_penalty_draws_anew_at_each_call():
    deq = lux.DeepEquilibrium(Tanh(SIZE), throw=False, jacobian_penalty=JacobianPenalty())
    ps, st = setup(deq)
    _, once = jax.jit(deq)(X, ps, st)
    _, twice = jax.jit(deq)(X, ps, once)
    assert bool(jnp.all(once.solution.jacobian_penalty != twice.solution.jacobian_penalty))


@pytest.mark.slow
def test_training_on_the_penalty_makes_the_model_contract():
    deq = lux.DeepEquilibrium(Tanh(SIZE, radius=2.0), throw=False, jacobian_penalty=JacobianPenalty(probes=4))
    ps, st = setup(deq)
    _, st = deq(X, ps, st)

    def step(carry, _):
        vector, st = carry

        def loss(vector):
            _, new = deq(X, ps.replace(vector), st)
            return jnp.mean(new.solution.jacobian_penalty), new

        gradient, new = jax.grad(loss, has_aux=True)(vector)
        return (vector - 0.3 * gradient, new), new.solution.num_steps

    (vector, _), steps = jax.jit(lambda v: jax.lax.scan(step, (v, st), None, length=40))(ps.vector)
    radius = jax.jit(lambda v: deq.spectral_radius(X, ps.replace(v), st, key=jax.random.key(1)))
    assert bool(jnp.all(radius(vector) < 0.5 * radius(ps.vector)))
    assert int(jnp.sum(steps[-1])) < int(jnp.sum(steps[0]))


def test_the_spectral_radius_is_the_largest_eigenvalue():
    key = jax.random.key(0)
    turn = 0.9 * np.asarray([[np.cos(1.0), np.sin(1.0), 0], [-np.sin(1.0), np.cos(1.0), 0], [0, 0, 0.5]])
    cases = [(Linear(SIZE), jnp.asarray(turn), 0.02), (Linear(SIZE), jnp.diag(jnp.asarray([0.2, -0.8, 0.1])), 1e-3)]
    for cell, matrix, rtol in cases:
        deq = lux.DeepEquilibrium(cell, throw=False)
        ps, st = setup(deq)
        ps = ps.set("model.matrix", matrix)
        radius = jax.jit(lambda ps: deq.spectral_radius(X, ps, st, key=key, steps=100))(ps)  # noqa: B023
        np.testing.assert_allclose(radius, np.max(np.abs(np.linalg.eigvals(matrix))), rtol=rtol)


# Iterates on the way


def test_corrections_are_iterates_with_the_gradient_of_one_application():
    cell = Tanh(SIZE)
    deq = lux.DeepEquilibrium(cell, solver=Anderson(rtol=0.0, atol=1e-12))
    ps, st = setup(deq)
    early = jax.jit(lambda ps: deq.corrections(X, ps, st, number=3, steps=2))
    values = early(ps)
    z, _ = jax.jit(deq)(X, ps, st)
    distances = jnp.sqrt(jnp.mean((values - z[None]) ** 2, axis=(1, 2)))
    assert values.shape == (3, 4, SIZE)
    assert bool(jnp.all(distances[1:] < 0.5 * distances[:-1]))

    free = lux.DeepEquilibrium(cell, solver=Anderson(rtol=0.0, atol=1e-12), adjoint=JacobianFreeGradient(), throw=False)
    late = jax.jit(jax.grad(lambda ps: jnp.sum(deq.corrections(X, ps, st, number=2, steps=40)[-1])))(ps)
    _, _, expected = gradients(free, ps, st, X, jnp.ones_like(X))
    np.testing.assert_allclose(late.vector, expected, rtol=1e-8, atol=1e-10)


# The continuous equilibrium


def test_the_continuous_equilibrium_is_the_equilibrium():
    cell = Tanh(SIZE)
    discrete = lux.DeepEquilibrium(cell, solver=tight(), throw=False)
    continuous = lux.ContinuousDEQ(cell, solver=diffrax.Tsit5(), rtol=1e-10, atol=1e-10, throw=False)
    ps, st = setup(discrete)
    g = samples(4, SIZE, seed=1)
    for got, expected in zip(
        gradients(continuous, ps, setup(continuous)[1], X, g), gradients(discrete, ps, st, X, g), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-8)


def test_the_continuous_equilibrium_is_reached_where_plain_iteration_is_not():
    deq = lux.ContinuousDEQ(Linear(SIZE), throw=False)
    ps, st = setup(deq)
    ps = ps.set("model.matrix", -3.0 * jnp.eye(SIZE))  # z <- -3 z + x diverges, z' = -4 z + x does not
    z, new = jax.jit(deq)(X.at[1].set(jnp.nan), ps, st)
    np.testing.assert_array_equal(new.solution.converged, [True, False, True, True])
    np.testing.assert_allclose(z[jnp.asarray([0, 2, 3])], X[jnp.asarray([0, 2, 3])] / 4, rtol=1e-3)
    assert np.isnan(z[1]).all()


def relaxing(change, y):
    return change - y


@pytest.mark.slow
def test_the_neural_ode_of_infinite_time_has_the_same_equilibrium():
    dense = lux.Dense(SIZE, SIZE, jnp.tanh)
    node = lux.SteadyStateODE(lux.SkipConnection(dense, relaxing), rtol=1e-9, atol=1e-9)
    ps, st = setup(node)
    ps = ps.replace(0.5 * ps.vector + 0.1)
    deq = lux.ContinuousDEQ(
        lux.Chain(lambda z_and_x: z_and_x[0], dense), solver=diffrax.Tsit5(), rtol=1e-10, atol=1e-10, throw=False
    )
    inner, inner_st = setup(deq)
    y, _ = jax.jit(node)(X[0], ps, st)
    z, _ = jax.jit(deq)(X[0], inner.replace(ps.vector), inner_st)
    np.testing.assert_allclose(z, y, rtol=1e-8)


# Several resolutions


def coarser(z):
    return 0.5 * (z[:, ::2] + z[:, 1::2])


def finer(z):
    return 0.4 * jnp.repeat(z, 2, axis=1)


def half(z):
    return 0.5 * z


@pytest.mark.slow
def test_every_resolution_is_at_its_equilibrium():
    side_by_side = lambda z_and_x: jnp.concatenate(z_and_x, axis=-1)  # noqa: E731
    fine, coarse = lux.Chain(side_by_side, lux.Dense(8, 4, jnp.tanh)), lux.Dense(2, 2, jnp.tanh)
    mix = lux.Dense(2, 2)
    cell = MultiScaleCell((fine, coarse), ((None, coarser), (finer, mix)), half)
    x = samples(3, 4)
    deq = lux.MultiScaleDEQ(
        cell, shapes=((4,), (2,)), solver=tight(), adjoint=ImplicitGradient("bicgstab"), throw=False
    )
    ps, st = setup(deq)
    (a, b), new = jax.jit(deq)(x, ps, st)
    m = ps.params.model
    h = jnp.tanh(jnp.concatenate([a, x], axis=1) @ m.branch_0.layer_1.weight + m.branch_0.layer_1.bias[None])
    k = jnp.tanh(b @ m.branch_1.weight + m.branch_1.bias[None])
    np.testing.assert_allclose(a, 0.5 * (h + finer(k)), rtol=1e-10)
    np.testing.assert_allclose(b, 0.5 * (coarser(h) + k @ m.mix_1_1.weight + m.mix_1_1.bias[None]), rtol=1e-10)
    assert new.solution.num_steps.shape == (3,)

    loss = jax.jit(lambda vector: sum(jnp.sum(jnp.sin(z)) for z in deq(x, ps.replace(vector), st)[0]))
    direction = jnp.cos(jnp.arange(ps.vector.size, dtype=float))
    gradient = jax.jit(jax.grad(loss))(ps.vector)
    np.testing.assert_allclose(gradient @ direction, directional_difference(loss, ps.vector, direction), rtol=1e-7)
    skip = eqx.filter_jit(lux.MultiScaleDEQ(cell, shapes=((4,), (2,)), solver=tight(), init="skip_reg", throw=False))
    np.testing.assert_allclose(skip(x, ps, st)[0][1], b, rtol=1e-9)


def test_a_multi_scale_cell_is_made_of_its_parts(unchecked):
    cell = MultiScaleCell((lux.Dense(2, 2), lux.Dense(2, 2)), ((None, half), (None, lux.Dense(2, 2))), (None, half))
    assert list(cell.children()) == ["branch_0", "branch_1", "mix_1_1"]
    assert cell.with_children(cell.children()) == cell
    other = cell.with_children({**cell.children(), "branch_1": lux.Dense(2, 2, jnp.tanh)})
    assert other.branches == (lux.Dense(2, 2), lux.Dense(2, 2, jnp.tanh))
    two = (lux.Dense(2, 2), lux.Dense(2, 2))
    refused(lambda: MultiScaleCell(two, ((None, None),)), LayerError, "a row for each of 2 branches")
    refused(lambda: MultiScaleCell((half,), ((None,),)), LayerError, "tuple of layers")
    refused(lambda: lux.MultiScaleDEQ(cell), LayerError, "shapes is a tuple")
    refused(lambda: lux.ContinuousDEQ(cell, solver=tight()), LayerError, "one of diffrax")
