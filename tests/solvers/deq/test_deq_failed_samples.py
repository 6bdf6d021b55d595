"""Failed samples of a batch under throw=False leave no trace in the gradients that all samples share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equilibria import Tanh, samples, tight
from helpers import setup

import sciml_lux as lux
from sciml_lux.solvers import Anderson, JacobianPenalty

SIZE = 3
X = samples(4, SIZE)
# Each sample by itself.
EACH = Anderson(rtol=1e-12, atol=1e-12)
GOOD = np.array([True, False, True, True])


def loss(deq, ps, st, x):
    """Of what is there: of the samples that are finite, all that can be differentiated."""
    z, new = deq(x, ps, st)
    solution = new.solution
    there = jnp.isfinite(solution.residual)
    total = jnp.sum(jnp.where(there[:, None], jnp.sin(z), 0)) + jnp.sum(jnp.where(there, solution.init_distance, 0))
    if "jacobian_penalty" in solution:
        total += jnp.sum(jnp.where(there, solution.jacobian_penalty, 0))
    return total


gradient = jax.jit(jax.grad(loss, argnums=1), static_argnums=0)


@pytest.mark.parametrize("unrolls", [False, True], ids=["implicit", "unrolled"])
@pytest.mark.parametrize(
    "init",
    ["zeros", pytest.param("skip_reg", marks=pytest.mark.slow), lux.Dense(SIZE, SIZE)],
    ids=["zeros", "skip", "layer"],
)
def test_the_gradient_is_that_of_the_others_alone(init, unrolls):
    deq = lux.DeepEquilibrium(Tanh(SIZE), init=init, solver=EACH, throw=False)
    deq = deq.unrolled(4) if unrolls else deq
    ps, st = setup(deq)
    spoiled = X.at[1].set(jnp.nan)
    alone = gradient(deq, ps, st, X[GOOD]).vector
    assert np.all(alone != 0)
    np.testing.assert_allclose(gradient(deq, ps, st, spoiled).vector, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"jacobian_penalty": JacobianPenalty()}, {"init": "skip_reg"}], ids=str)
def test_if_none_is_left_it_is_zero(options):
    deq = lux.DeepEquilibrium(Tanh(SIZE), throw=False, **options)
    ps, st = setup(deq)
    np.testing.assert_array_equal(gradient(deq, ps, st, jnp.full_like(X, jnp.nan)).vector, 0.0)


@pytest.mark.parametrize("number", [4, 5])
def test_a_shared_array_with_as_many_rows_as_samples_is_not_taken_for_samples(number):
    """The matrix that multiplies every sample keeps its rows, whatever their number."""
    model = lux.WrappedFunction(lambda z_and_x: 0.5 * jnp.tanh(z_and_x[0] @ z_and_x[1][1]) + z_and_x[1][0])
    deq = lux.DeepEquilibrium(model, init=lambda x: jnp.zeros_like(x[0]), solver=EACH, throw=False)
    ps, st = setup(deq)
    rows, matrix = samples(number, 4).at[-1].set(jnp.nan), 0.4 * samples(4, 4, seed=1)

    @jax.jit
    def of_matrix(matrix):
        return loss(deq, ps, st, (rows, matrix))

    direction = samples(4, 4, seed=2)
    expected = (of_matrix(matrix + 1e-5 * direction) - of_matrix(matrix - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jnp.vdot(jax.grad(of_matrix)(matrix), direction), expected, rtol=1e-7)


class Counting(lux.AbstractLayer):
    """A cell with a loop over a number of its state, which has no reverse-mode derivative."""

    def initial_states(self, key):
        return {"scale": jnp.full((), 0.25)}

    def __call__(self, z_and_x, ps, st):
        z, x = z_and_x
        doubled = jax.lax.while_loop(lambda scale: scale < 0.5, lambda scale: 2 * scale, st.scale)
        return doubled * jnp.tanh(z) + x, st


def test_what_nobody_differentiates_need_not_be_differentiable():
    deq = lux.DeepEquilibrium(Counting(), solver=tight())
    ps, st = setup(deq)
    in_x = jax.grad(lambda x: jnp.sum(deq(x, ps, st)[0]))(X)
    z = deq(X, ps, st)[0]
    np.testing.assert_allclose(in_x, 1 / (1 - 0.5 / jnp.cosh(z) ** 2), rtol=1e-9)  # z = tanh(z) / 2 + x
    assert np.all(deq.check_adjoint(X, ps, st).okay)


def test_a_spectral_norm_in_the_cell_is_a_constant_to_the_derivative():
    cell = lux.Chain(
        lambda z_and_x: jnp.concatenate(z_and_x, -1), lux.SpectralNorm(lux.Dense(2 * SIZE, SIZE, jnp.tanh))
    )
    deq = lux.DeepEquilibrium(cell, solver=tight())
    ps, st = setup(deq)
    _, st = deq(X, ps, st)
    st = lux.test_mode(st)
    value = jax.jit(lambda ps: jnp.sum(jnp.sin(deq(X, ps, st)[0])))
    direction = samples(1, ps.vector.size, seed=3)[0]
    moved = [value(ps.replace(ps.vector + step * direction)) for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(jnp.vdot(jax.grad(value)(ps).vector, direction), (moved[0] - moved[1]) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize("size", [SIZE, 12], ids=["dense", "matrix-free"])
def test_a_singular_system_and_a_loss_without_a_gradient_are_told_apart(size):
    deq = lux.DeepEquilibrium(lux.WrappedFunction(lambda z_and_x: z_and_x[0] + 0 * z_and_x[1]))
    ps, st = setup(deq)
    x = jnp.ones((2, size))
    with pytest.raises(RuntimeError, match="I - J is singular"):
        jax.grad(lambda x: jnp.sum(deq(x, ps, st)[0]))(x)
    root = lambda x: jnp.sqrt(jnp.sum(deq(x, ps, st)[0]))  # noqa: E731
    with pytest.raises(RuntimeError, match=r"the loss in z[*] of sample 0 is not finite"):
        jax.grad(root)(x)


def test_an_exact_equilibrium_meets_any_relative_tolerance():
    model = lux.WrappedFunction(lambda z_and_x: 0.5 * jnp.tanh(z_and_x[0]) + z_and_x[1])
    for deq in (lux.ContinuousDEQ(model, atol=0.0), lux.DeepEquilibrium(model, solver=tight()).unrolled(2)):
        z, st = deq(jnp.zeros((2, SIZE)), *setup(deq))
        np.testing.assert_array_equal(z, 0.0)
        assert np.all(st.solution.converged)
