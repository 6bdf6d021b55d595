"""Small residuals that are not those of a point of rest, and points of rest that are: every solver, alone and as an equilibrium."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest
from fixed_points import SOLVERS
from helpers import setup

import sciml_lux as lux
from sciml_lux import FitError, SolveError
from sciml_lux.solvers import Anderson, Broyden, Damped, NewtonKrylov

METHODS = {"Anderson": Anderson, "Damped": Damped, "Broyden": Broyden, "NewtonKrylov": NewtonKrylov}
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS.keys())
all_variants = pytest.mark.parametrize(
    "make", [pytest.param(m, marks=pytest.mark.slow, id=n) for n, m in SOLVERS.items()]
)
KINDS = 4


def adrift(pair, kind):
    """No fixed point: a shift, one beside what contracts, an eigenvalue of exactly 1, a turn."""
    a, b = pair
    shift, kind = 1 + 0 * a, kind[:, None]
    new_a = jnp.where(kind == 3, jnp.concatenate([-a[:, 1:], a[:, :1]], axis=1), a + shift)
    new_a = jnp.where(kind == 2, jnp.mean(a, axis=1, keepdims=True) + shift, new_a)
    return new_a, jnp.where(kind == 1, 0.5 * b, b + jnp.asarray(1, b.dtype))


def check_adrift(make, dtype):
    size = [1e6 if dtype == jnp.float32 else 1e9, 1e3, 0.0]
    scale, kind = (leaf.reshape(-1) for leaf in np.meshgrid(size, np.arange(KINDS)))
    a = jnp.asarray(scale[:, None] * np.ones((1, 2)), dtype)
    start = (a, jnp.asarray(np.where(kind == 1, 0.0, scale)[:, None], dtype))
    solution = optx.fixed_point(adrift, make(batched=True), start, jnp.asarray(kind), max_steps=60, throw=False)
    assert not np.any(solution.stats["converged"])
    # No step went far out: plain ones move by the residual.
    assert np.all(np.abs(solution.value[0]).max(axis=1) <= 1e4 * (1 + scale))


@every_method
def test_what_drifts_does_not_converge(make):
    check_adrift(make, jnp.float64)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@all_variants
def test_what_drifts_does_not_converge_by_any_variant(make, dtype):
    check_adrift(make, dtype)


def turning(number=12, size=5):
    """Affine maps of an eigenvalue of exactly 1, the even ones beside a turn, whose drift is a fair part of their offset."""
    draw = np.random.default_rng(0)
    matrices, offsets = [], []
    while len(matrices) < number:
        basis, inner = draw.normal(size=(size, size)), np.diag(draw.uniform(-0.9, 0.9, size))
        inner[0, 0], angle = 1, draw.uniform(0, np.pi)
        if len(matrices) % 2 == 0:
            inner[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        offset = draw.normal(size=size)
        if np.linalg.cond(basis) < 50 and abs(np.linalg.solve(basis, offset)[0]) > 0.3:
            matrices.append(basis @ inner @ np.linalg.inv(basis))
            offsets.append(offset)
    return np.array(matrices), np.array(offsets)


def check_turning(make, dtype):
    far = [0.0, 1.0, 1e3, 1e6, 1e9] if dtype == jnp.float64 else [0.0, 1.0, 1e3]
    matrices, offsets = (np.repeat(array, len(far), axis=0) for array in turning())
    scale = np.tile(far, len(matrices) // len(far))[:, None]
    args = jnp.asarray(matrices, dtype), jnp.asarray(offsets, dtype)
    start = jnp.asarray(scale * np.random.default_rng(1).normal(size=offsets.shape), dtype)

    def affine(z, args):
        return jnp.einsum("sij,sj->si", args[0], z, precision="highest") + args[1]

    solution = optx.fixed_point(affine, make(batched=True), start, args, max_steps=120, throw=False)
    assert not np.any(solution.stats["converged"]), solution.value[solution.stats["converged"]]


def test_affine_maps_of_eigenvalue_1_do_not_converge():
    check_turning(Anderson, jnp.float64)


MEMORIES = {
    f"Anderson {kind}, {memory}": functools.partial(Anderson, kind=kind, memory=memory, mixing=0.7)
    for kind in (1, 2)
    for memory in (2, 10)
}
LIMITED = {
    "Broyden, 3": functools.partial(Broyden, memory=3),
    "Broyden, no search": functools.partial(Broyden, line_search=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("name", [*SOLVERS, *MEMORIES, *LIMITED])
def test_affine_maps_of_eigenvalue_1_do_not_converge_by_any_variant(name, dtype):
    check_turning({**SOLVERS, **MEMORIES, **LIMITED}[name], dtype)


def resting(z, kind):
    """Fixed points: large from afar, where it starts, at 0, of a map that expands; and at 1e8 and 1e-8."""
    kind = kind[:, None]
    goals = jnp.asarray([1e6, 3.0, 0.0, 2.0, 1e8, 1e-8], z.dtype)[kind[:, 0]][:, None]
    return goals + jnp.where(kind == 3, -3.0, 0.5).astype(z.dtype) * (z - goals)


@every_method
def test_what_rests_converges(make):
    kind = jnp.arange(6)
    start = jnp.asarray([0.0, 3.0001, 7e3, 0.0, 0.0, 0.0])[:, None]
    solver = make(rtol=1e-6, atol=0.0, batched=True, criterion="relative")
    far = solution = optx.fixed_point(resting, solver, start.at[2].set(0.0), kind, max_steps=60, throw=False)
    assert np.all(far.stats["converged"])
    np.testing.assert_allclose(solution.value[:, 0], [1e6, 3.0, 0.0, 2.0, 1e8, 1e-8], rtol=3e-6)
    # Units are free.
    np.testing.assert_array_equal(solution.stats["num_steps"][0], solution.stats["num_steps"][4])
    np.testing.assert_array_equal(solution.stats["num_steps"][4], solution.stats["num_steps"][5])


MATRIX = jax.random.normal(jax.random.key(3), (4, 6)) / 3


def admm(z_and_x):
    """A step of the alternating direction method for least squares with an absolute penalty: piecewise linear, it contracts by 0.94."""
    (z, u), y = z_and_x
    x = jnp.linalg.solve(MATRIX.T @ MATRIX + jnp.eye(6), (y @ MATRIX + (z - u)).T).T
    new = jnp.sign(x + u) * jnp.maximum(jnp.abs(x + u) - 0.1, 0)
    return new, u + x - new


@pytest.mark.parametrize(
    "make", [pytest.param(m, marks=[] if m is Anderson else pytest.mark.slow, id=n) for n, m in METHODS.items()]
)
def test_no_step_leaves_for_infinity_where_the_residual_is_small_beside_z(make):
    y = jax.random.normal(jax.random.key(1), (5, 4))
    deq = lux.DeepEquilibrium(
        lux.WrappedFunction(admm), solver=make(), throw=False, max_steps=300, init=lambda y: (jnp.zeros((5, 6)),) * 2
    )
    (z, _), st = jax.jit(deq)(y, *setup(deq))
    good = np.asarray(st.solution.converged)
    # Newton-Krylov does not reach one of the five within the steps, and says so.
    assert np.all(good) if make is not NewtonKrylov else np.sum(good) >= 4
    np.testing.assert_allclose(
        jnp.sum(z**2, axis=1)[good], np.array([6.665, 2.427, 13.82, 5.071, 3.015])[good], rtol=2e-2
    )


SHIFT = lux.WrappedFunction(lambda z_and_x: z_and_x[0] + 1 + 0 * z_and_x[1])


@pytest.mark.parametrize("make", [lux.DeepEquilibrium, lux.ContinuousDEQ])
def test_an_equilibrium_at_infinity_is_refused(make):
    deq = make(SHIFT, init=lambda x: 1e9 + 0 * x)
    with pytest.raises(SolveError, match="not seen to go as z moves"):
        deq(jnp.ones((2, 3)), *setup(deq))
    foreign = lux.DeepEquilibrium(
        SHIFT, init=lambda x: 1e9 + 0 * x, throw=False, solver=optx.FixedPointIteration(rtol=1e-4, atol=1e-4)
    )
    assert not np.any(foreign(jnp.ones((2, 3)), *setup(foreign))[1].solution.converged)


def exchanging(z_and_x):
    """Two resolutions. Both drift, one drives the other, they drift by turns, one drifts alone; and they rest, one far from 0."""
    (fine, coarse), kind = z_and_x
    kind, mean = kind[:, None], jnp.mean(fine, axis=1, keepdims=True)
    new_fine = jnp.where(kind == 2, coarse + 1, jnp.where(kind >= 3, 0.5 * fine + 1, fine + 1))
    new_coarse = jnp.where(kind == 1, 0.5 * coarse + mean, coarse + 1)
    new_coarse = jnp.where(kind == 2, mean + 1, new_coarse)
    return new_fine, jnp.where(kind == 4, 0.5 * coarse + 1e3 * mean, new_coarse)


@every_method
def test_resolutions_that_drift_are_no_equilibrium(make):
    kind = jnp.tile(jnp.arange(5), 3)
    size = jnp.repeat(jnp.asarray([0.0, 1e3, 1e9]), 5)[:, None]
    deq = lux.MultiScaleDEQ(
        lux.WrappedFunction(exchanging),
        shapes=((2,), (1,)),
        solver=make(),
        init=lambda kind: (jnp.tile(size, (1, 2)), size),
        throw=False,
    )
    (fine, coarse), st = jax.jit(deq)(kind, *setup(deq))
    np.testing.assert_array_equal(st.solution.converged, kind == 4)
    np.testing.assert_allclose(fine[kind == 4], 2.0, rtol=1e-2)
    np.testing.assert_allclose(coarse[kind == 4], 4e3, rtol=1e-2)


def weakly(z_and_x):
    return 0.99999 * z_and_x[0] + 1e-6 * z_and_x[1]


def test_weak_contraction_is_no_convergence_far_away():
    deq = lux.DeepEquilibrium(lux.WrappedFunction(weakly))
    x = jnp.linspace(-2, 3, 6).reshape(2, 3)
    with pytest.warns(UserWarning, match="contracts weakly, by 0.99999 .*rtol and atol"):
        z, st = deq(x, *setup(deq))
    np.testing.assert_allclose(z, 0.1 * x, atol=1e-9)
    assert np.all(np.abs(z - 0.1 * x).max(axis=1) <= 3 * st.solution.error)
    damped = lux.DeepEquilibrium(deq.model, solver=Damped(adaptive=False), throw=False)
    st = damped(x, *setup(damped))[1]
    assert not np.any(st.solution.converged)  # with a residual of 1e-6


def cell_of(dense):
    @lux.compact(lin=dense)
    def cell(self, z_and_x):
        return jnp.tanh(self.lin(z_and_x[0]) + z_and_x[1])

    return cell


@pytest.mark.slow
def test_a_fit_that_stops_names_what_lets_it_go_on():
    x = jax.random.normal(jax.random.key(0), (128, 16))
    y = jnp.argmax(x @ jax.random.normal(jax.random.key(1), (16, 4)), 1)

    def fit(dense, **options):
        model = lux.Chain(lux.DeepEquilibrium(cell_of(dense), **options), lux.Dense(16, 4))

        def loss(ps, st, data):
            out, st = model(data[0], ps, st)
            return optax.softmax_cross_entropy_with_integer_labels(out, data[1]).mean(), st

        return model, lux.fit(loss, *setup(model), optax.adam(1e-2), steps=150, data=(x, y))

    plain = lux.Dense(16, 16)
    with pytest.raises(FitError, match=r"of 128 samples found no equilibrium.*SpectralNorm.*unconverged"):
        fit(plain)
    _, fitted = fit(plain, unconverged="best")
    assert len(fitted.losses) == 150
    model, fitted = fit(lux.SpectralNorm(plain))
    assert len(fitted.losses) == 150
    out, st = jax.jit(model)(x, fitted.ps, fitted.st)
    assert np.all(st.layer_0.solution.converged)
    assert np.mean(np.argmax(out, axis=1) == y) > 0.95


def test_the_best_iterate_of_a_sample_that_did_not_converge():
    model = lux.WrappedFunction(lambda z_and_x: 0.9 * z_and_x[0] + z_and_x[1])
    deq = lux.DeepEquilibrium(model, solver=Damped(adaptive=False), max_steps=5, unconverged="best")
    ps, st = setup(deq)
    z, new = deq(jnp.ones((2, 1)), ps, st)
    np.testing.assert_allclose(z, sum(0.9**k for k in range(4)), rtol=1e-12)
    assert not np.any(new.solution.converged)
    assert bool(new.solution.result == optx.RESULTS.successful)
    # The gradient of the linearized equation, which of this model is the equation.
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(deq(x, ps, st)[0]))(jnp.ones((2, 1))), 10.0, rtol=1e-9)
