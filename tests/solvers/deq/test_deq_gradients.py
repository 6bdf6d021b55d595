"""Gradients of equilibria: the exact ones against dense implicit differentiation, the approximate ones against their formulas."""

import equilibria
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from equilibria import Linear, Tanh, dense_gradient, gradients, samples, tight
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux.solvers import (
    Anderson,
    Broyden,
    ImplicitGradient,
    JacobianFreeGradient,
    PhantomGradient,
    ShineGradient,
    UnrolledGradient,
)

SIZE = 4
X = samples(3, SIZE)
G = samples(3, SIZE, seed=1)


def dense(cell, ps, x=X, g=G):
    inner, _ = setup(cell)
    return dense_gradient(cell, x, inner.replace(ps.vector), g)


def u_of(propagate, cell, ps, z):
    """What the gradient in `x` is for `u = propagate(J^T, g)`, sample by sample."""
    inner, _ = setup(cell)
    inner = inner.replace(ps.vector)
    J, Jx = equilibria.jacobians(cell, z, X, inner), equilibria.jacobians(cell, z, X, inner, argument=1)
    return jnp.stack([propagate(J[i].T, G[i]) @ Jx[i] for i in range(len(G))])


# The exact ones

EXACT = [
    ImplicitGradient("lu"),
    ImplicitGradient("gmres", restart=2),
    ImplicitGradient("bicgstab"),
    ImplicitGradient("bicgstab", coupled=True),
    ImplicitGradient(Anderson(rtol=1e-13, atol=1e-13)),
    UnrolledGradient(steps=120),
]


@pytest.mark.parametrize("adjoint", EXACT, ids=lambda adjoint: str(adjoint)[:30])
def test_exact_gradients_are_dense_implicit_differentiation(adjoint):
    cell = Tanh(SIZE)
    deq = lux.DeepEquilibrium(cell, solver=tight(), adjoint=adjoint, throw=False)
    ps, st = setup(deq)
    for got, expected in zip(gradients(deq, ps, st, X, G), dense(cell, ps), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)


def test_the_equilibrium_of_a_linear_system_is_its_solution():
    deq = lux.DeepEquilibrium(Linear(SIZE), solver=tight())
    ps, st = setup(deq)
    z, in_x, _ = gradients(deq, ps, st, X, G)
    inverse = np.linalg.inv(np.eye(SIZE) - ps["model.matrix"])
    np.testing.assert_allclose(z, X @ inverse, rtol=1e-11)
    np.testing.assert_allclose(in_x, G @ inverse.T, rtol=1e-11)


@pytest.mark.parametrize("solver", ["gmres", "bicgstab"])
def test_systems_that_plain_iteration_cannot_solve_are_solved(solver):
    """The adjoint of a model that does not contract, at an equilibrium that Newton's method found."""
    cell = Linear(SIZE, radius=2.5)
    deq = lux.DeepEquilibrium(
        cell, solver=optx.Newton(rtol=1e-12, atol=1e-12), adjoint=ImplicitGradient(solver, rtol=1e-12), throw=False
    )
    ps, st = setup(deq)
    for got, expected in zip(gradients(deq, ps, st, X, G), dense(cell, ps), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-9)


def test_every_sample_is_what_it_is_alone():
    deq = lux.DeepEquilibrium(Tanh(SIZE), solver=tight(), adjoint=ImplicitGradient("bicgstab"), throw=False)
    ps, st = setup(deq)
    z, in_x, in_ps = gradients(deq, ps, st, X, G)
    alone = [gradients(deq, ps, st, X[i : i + 1], G[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(z, jnp.concatenate([one[0] for one in alone]), rtol=1e-12)
    np.testing.assert_allclose(in_x, jnp.concatenate([one[1] for one in alone]), rtol=1e-10)
    np.testing.assert_allclose(in_ps, sum(one[2] for one in alone), rtol=1e-10)


def test_the_products_that_a_sample_needs_are_its_own():
    """A sample whose adjoint system is solved at once takes no part in what the others need."""
    deq = lux.DeepEquilibrium(Tanh(SIZE), solver=tight(), adjoint=ImplicitGradient("bicgstab", rtol=1e-10))
    ps, st = setup(deq)
    saturated = X.at[1].set(200.0 * jnp.sign(X[1]))
    accuracy = jax.jit(deq.check_adjoint)(saturated, ps, st, G)
    assert accuracy.num_steps[1] < accuracy.num_steps[0]
    assert bool(jnp.all(accuracy.okay))
    assert float(jnp.max(accuracy.residual)) < 1e-9


def test_a_residual_that_was_large_on_the_way_leaves_no_rounding():
    """Bi-CGSTAB divides by `g^T (I - J^T) g`, which is next to nothing where `I - J` nearly is a rotation by 90 degrees."""
    slight = jnp.asarray([[1e-5, 1.0], [-1.0, 1e-5]], jnp.float32)
    deq = lux.DeepEquilibrium(
        lux.Chain(lambda zx: zx[0] - zx[0] @ slight + zx[1]),
        adjoint=ImplicitGradient("bicgstab", rtol=1e-5),
    )
    ps, st = lux.setup(jax.random.key(0), deq)
    x = jnp.asarray([[1.0, 0.0], [1.0, 2.0], [0.0, 0.0]], jnp.float32)
    accuracy = jax.jit(deq.check_adjoint)(x, ps, st, x)
    assert bool(jnp.all(accuracy.okay))
    assert float(jnp.max(accuracy.residual)) <= 2e-5
    assert int(accuracy.num_steps[2]) == 0  # nothing to solve


@pytest.mark.parametrize("adjoint", [ImplicitGradient("bicgstab"), PhantomGradient(), JacobianFreeGradient()], ids=str)
def test_forward_mode_is_the_transposed_of_reverse_mode(adjoint):
    deq = lux.DeepEquilibrium(Tanh(SIZE), solver=tight(), adjoint=adjoint)
    ps, st = setup(deq)
    _, in_x, in_ps = gradients(deq, ps, st, X, G)
    direction = jnp.cos(jnp.arange(ps.vector.size, dtype=float))

    @jax.jit
    def forward(vector):
        tangent = jax.jvp(lambda vector: deq(X, ps.replace(vector), st)[0], (vector,), (direction,))[1]
        return tangent, jax.jacfwd(lambda x: deq(x, ps, st)[0])(X)

    tangent, jacobian = forward(ps.vector)
    np.testing.assert_allclose(jnp.sum(G * tangent), in_ps @ direction, rtol=1e-10)
    np.testing.assert_allclose(jnp.einsum("ij,ijkl->kl", G, jacobian), in_x, rtol=1e-10)


@pytest.mark.slow
def test_a_complex_equilibrium_is_differentiated_as_pairs_of_reals():
    matrix = np.array([[0.3 + 0.2j, -0.1j], [0.25, 0.2 - 0.3j]])

    class Complex(lux.AbstractLayer):
        def __call__(self, z_and_x, ps, st):
            z, x = z_and_x
            return jnp.conj(z) @ jnp.asarray(matrix) + x, st  # linear in the reals alone

    class Reals(lux.AbstractLayer):
        def __call__(self, z_and_x, ps, st):
            z, x = (jax.lax.complex(v[..., :2], v[..., 2:]) for v in z_and_x)
            new = jnp.conj(z) @ jnp.asarray(matrix) + x
            return jnp.concatenate([new.real, new.imag], axis=-1), st

    def loss_of(cell, split):
        solver = optx.FixedPointIteration(rtol=1e-13, atol=1e-13)
        deq = lux.DeepEquilibrium(cell, solver=solver, adjoint=ImplicitGradient("bicgstab", rtol=1e-12))
        ps, st = setup(deq)
        weights = jnp.asarray([[0.3, -1.0, 0.7, 0.4], [1.0, 0.2, -0.6, 0.1]])

        def loss(reals):
            x = reals if split else jax.lax.complex(reals[:, :2], reals[:, 2:])
            z, _ = deq(x, ps, st)
            z = z if split else jnp.concatenate([z.real, z.imag], axis=1)
            return jnp.sum(weights * z)

        return jax.grad(loss)(samples(2, 4))

    with pytest.warns(UserWarning, match="Complex support"):
        got = loss_of(Complex(), split=False)
    np.testing.assert_allclose(got, loss_of(Reals(), split=True), rtol=1e-10)


# The approximate ones


def test_the_jacobian_free_gradient_is_that_of_one_application():
    deq = lux.DeepEquilibrium(Tanh(SIZE), solver=tight(), adjoint=JacobianFreeGradient())
    ps, st = setup(deq)
    z, in_x, in_ps = gradients(deq, ps, st, X, G)
    np.testing.assert_allclose(in_x, u_of(lambda A, g: g, Tanh(SIZE), ps, z), rtol=1e-10)
    _, pull = jax.vjp(lambda vector: deq.model((z, X), ps.replace(vector).params.model, lux.State({}))[0], ps.vector)
    np.testing.assert_allclose(in_ps, pull(G)[0], rtol=1e-10)


@pytest.mark.parametrize(("steps", "damping"), [(1, 1.0), (4, 0.5), (3, 1.0)])
def test_the_phantom_gradient_is_that_of_damped_steps_from_the_equilibrium(steps, damping):
    cell = Tanh(SIZE)
    deq = lux.DeepEquilibrium(cell, solver=tight(), adjoint=PhantomGradient(steps, damping))
    ps, st = setup(deq)
    z, in_x, in_ps = gradients(deq, ps, st, X, G)

    def damped(vector, x):
        new = z
        for _ in range(steps):
            inner = ps.replace(vector).params.model
            new = (1 - damping) * new + damping * cell((new, x), inner, lux.State({}))[0]
        return new

    _, pull = jax.vjp(damped, ps.vector, X)
    expected = pull(G)
    np.testing.assert_allclose(in_x, expected[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(in_ps, expected[0], rtol=1e-9, atol=1e-12)


def test_shine_uses_the_matrix_that_broyden_leaves():
    cell = Tanh(SIZE)
    solver = Broyden(rtol=1e-13, atol=1e-13, memory=30)
    deq = lux.DeepEquilibrium(cell, solver=solver, adjoint=ShineGradient())
    ps, st = setup(deq)
    z, in_x, _ = gradients(deq, ps, st, X, G)
    inner, _ = setup(cell)
    solver = Broyden(rtol=1e-13, atol=1e-13, memory=30, batched=True)
    function = lambda z, x: cell((z, x), inner.replace(ps.vector), lux.State({}))[0]  # noqa: E731
    state = optx.fixed_point(function, solver, jnp.zeros_like(X), X).state.memory
    H = jnp.einsum("smi,smj->sij", state.left, state.right) - jnp.eye(SIZE)[None]
    J = equilibria.jacobians(cell, z, X, inner)
    used = []

    def shine(A, g):
        i = next(i for i in range(3) if bool(jnp.all(A == J[i].T)))
        u = -H[i].T @ g
        near = jnp.linalg.norm(g - u + A @ u) < jnp.linalg.norm(A @ g)
        used.append(bool(near))
        return u if near else g

    np.testing.assert_allclose(in_x, u_of(shine, cell, ps, z), rtol=1e-7)
    assert any(used)


def test_unrolled_steps_are_differentiated_as_they_are():
    cell = Tanh(SIZE)
    deq = lux.DeepEquilibrium(cell, init=lux.Dense(SIZE, SIZE)).unrolled(steps=3, damping=0.8)
    ps, st = setup(deq)

    def steps(vector, x):
        params = ps.replace(vector).params
        z, _ = deq.init(x, params.init, st.init)
        for _ in range(3):
            z = 0.2 * z + 0.8 * cell((z, x), params.model, lux.State({}))[0]
        return z

    z, pull = jax.vjp(steps, ps.vector, X)
    got = gradients(deq, ps, st, X, G)
    np.testing.assert_allclose(got[0], z, rtol=1e-12)
    np.testing.assert_allclose(got[2], pull(G)[0], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(got[1], pull(G)[1], rtol=1e-10)


def test_second_derivatives_are_refused_but_for_unrolled_steps():
    deq = lux.DeepEquilibrium(Tanh(SIZE))
    ps, st = setup(deq)
    loss = lambda deq, x: jnp.sum(deq(x, ps, st)[0])  # noqa: E731
    tangent = lambda deq: jax.jvp(jax.grad(lambda x: loss(deq, x)), (X,), (G,))[1]  # noqa: E731
    gradient = lambda deq: jax.grad(lambda x: jnp.sum(G * jax.grad(lambda x: loss(deq, x))(x)))(X)  # noqa: E731
    for second in (tangent, gradient):
        with pytest.raises(RuntimeError, match="differentiated once, not twice"):
            jax.eval_shape(lambda: second(deq))  # noqa: B023
    unrolled = deq.unrolled(steps=2)
    np.testing.assert_allclose(jax.jit(tangent)(unrolled), jax.jit(gradient)(unrolled), rtol=1e-10)
    assert float(jnp.max(jnp.abs(jax.jit(tangent)(unrolled)))) > 1e-3


# What fails


class Singular(lux.AbstractLayer):
    """Whatever `z` is, it is an equilibrium in its second number."""

    def initial_parameters(self, key):
        return {"shift": jnp.ones(1)}

    def __call__(self, z_and_x, ps, st):
        z, x = z_and_x
        return jnp.stack([0.5 * z[:, 0] + x[:, 0] * ps.shift, z[:, 1]], axis=1), st


@pytest.mark.parametrize("solver", ["lu", pytest.param("bicgstab", marks=pytest.mark.slow)])
def test_a_singular_adjoint_system_is_an_error(solver):
    deq = lux.DeepEquilibrium(Singular(), solver=tight(), adjoint=ImplicitGradient(solver))
    ps, st = setup(deq)
    x = X[:, :2]
    loss = jax.jit(lambda deq, ps: jnp.sum(deq(x, ps, st)[0]))
    assert np.isfinite(loss(deq, ps))  # there is an equilibrium
    with pytest.raises(RuntimeError, match=r"the gradient of the equilibrium could not be computed.*sample 0"):
        jax.block_until_ready(jax.grad(loss, argnums=1)(deq, ps).vector)
    quiet = lux.DeepEquilibrium(Singular(), solver=tight(), adjoint=ImplicitGradient(solver), throw=False)
    assert np.isnan(jax.grad(loss, argnums=1)(quiet, ps).vector).all()
    assert not jnp.any(deq.check_adjoint(x, ps, st).okay)
    free = lux.DeepEquilibrium(Singular(), solver=tight(), adjoint=PhantomGradient())
    assert np.isfinite(jax.grad(loss, argnums=1)(free, ps).vector).all()


class Centered(lux.AbstractLayer):
    """Samples that see the mean of all others."""

    def initial_parameters(self, key):
        return {"weight": jnp.asarray([[0.4, -0.2], [0.1, 0.3]])}

    def __call__(self, z_and_x, ps, st):
        z, x = z_and_x
        return jnp.tanh((z - 0.8 * jnp.mean(z, axis=0, keepdims=True)) @ ps.weight + x), st


@pytest.mark.parametrize(
    "adjoint", [ImplicitGradient(), ImplicitGradient("gmres", coupled=True)], ids=["each", "coupled"]
)
def test_samples_that_depend_on_each_other_have_the_gradient_of_the_whole(adjoint):
    deq = lux.DeepEquilibrium(Centered(), solver=tight(), adjoint=adjoint, throw=False)
    ps, st = setup(deq)
    x, g = X[:, :2], G[:, :2]
    z, in_x, _ = gradients(deq, ps, st, x, g)
    f = lambda z, x: Centered()((z.reshape(x.shape), x), ps.params.model, lux.State({}))[0].reshape(-1)  # noqa: E731
    J, Jx = jax.jacobian(f, argnums=(0, 1))(z.reshape(-1), x)
    u = np.linalg.solve(np.eye(6) - J.T, g.reshape(-1))
    np.testing.assert_allclose(in_x, jnp.einsum("i,ijk->jk", u, Jx), rtol=1e-8)


def test_a_loss_without_a_gradient_is_not_blamed_on_the_equilibrium():
    deq = lux.DeepEquilibrium(Tanh(SIZE))
    ps, st = setup(deq)
    with pytest.raises(RuntimeError, match=r"gradient of the loss in z\* of sample 1.*is not finite"):
        jax.block_until_ready(gradients(deq, ps, st, X, G.at[1, 0].set(jnp.nan)))


def test_samples_that_depend_on_each_other_are_not_mistaken_for_others():
    """Coefficients of its own for each sample solve nothing here, and that is said."""
    deq = lux.DeepEquilibrium(Centered(), solver=tight(), adjoint=ImplicitGradient("bicgstab"), throw=False)
    ps, st = setup(deq)
    _, in_x, _ = gradients(deq, ps, st, X[:, :2], G[:, :2])
    assert np.isnan(in_x).all()
    loud = lux.DeepEquilibrium(Centered(), solver=tight(), adjoint=ImplicitGradient("bicgstab"))
    with pytest.raises(RuntimeError, match="write coupled=True"):
        jax.block_until_ready(gradients(loud, ps, st, X[:, :2], G[:, :2]))


def test_settings_that_cannot_be_are_refused(unchecked):
    refused(lambda: ImplicitGradient("cholesky"), lux.LayerError, "lu, gmres, bicgstab", "'cholesky'")
    refused(lambda: ImplicitGradient(rtol=-1.0), lux.LayerError, "rtol is 0 or more")
    refused(lambda: PhantomGradient(steps=0), lux.LayerError, "steps is a whole number")
    refused(lambda: UnrolledGradient(damping=1.5), lux.LayerError, "damping is above 0")
    refused(
        lambda: lux.DeepEquilibrium(Tanh(2), adjoint=ShineGradient()),
        lux.LayerError,
        "solver=lux.solvers.Broyden",
    )
    refused(lambda: lux.DeepEquilibrium(Tanh(2), adjoint="implicit"), lux.LayerError, "with its parentheses")


def test_the_choice_says_why():
    small, large = lux.DeepEquilibrium(Tanh(4)), lux.DeepEquilibrium(Tanh(40))
    for deq, size, solver in ((small, 4, "lu"), (large, 40, "bicgstab")):
        ps, st = setup(deq)
        choice = str(deq.choose_adjoint(samples(2, size), ps, st))
        assert solver in choice
        assert f"({size})" in choice
    asked = lux.DeepEquilibrium(Tanh(4), adjoint=PhantomGradient())
    assert "as asked for" in str(asked.choose_adjoint(X, *setup(asked)))
