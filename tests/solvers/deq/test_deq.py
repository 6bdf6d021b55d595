"""The layer of an equilibrium: what it returns, what it keeps in its state, where it starts, and how it fails."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest
from equilibria import Linear, Tanh, gradients, samples, tight
from helpers import bits, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError, SolveError
from sciml_lux.solvers import Anderson, JacobianPenalty

SIZE = 3
X = samples(4, SIZE)
call = jax.jit(lambda deq, x, ps, st: deq(x, ps, st))


def quiet(model=None, **options):
    return lux.DeepEquilibrium(model or Tanh(SIZE), throw=False, **options)


def test_the_result_is_a_fixed_point_and_the_state_says_how_near():
    deq = lux.DeepEquilibrium(Tanh(SIZE), solver=Anderson(rtol=0.0, atol=1e-6))
    ps, st = setup(deq)
    z, new = call(deq, X, ps, st)
    off = deq.model((z, X), ps.params.model, lux.State({}))[0] - z
    solution = new.solution
    np.testing.assert_allclose(solution.residual, np.sqrt(np.mean(np.square(off), axis=1)), rtol=1e-6, atol=1e-15)
    assert solution.residual.shape == solution.num_steps.shape == solution.converged.shape == (4,)
    assert bool(jnp.all(solution.converged & (solution.residual <= 1e-6)))
    assert bool(solution.result == optx.RESULTS.successful)
    np.testing.assert_allclose(solution.init_distance, jnp.mean(z**2, axis=1))


def test_the_whole_solution_has_the_figures_of_every_sample_and_step():
    deq = quiet(solver=Anderson(rtol=0.0, atol=1e-6, trace=30))
    ps, st = setup(deq)
    solution, new = jax.jit(deq.solve)(X, ps, st)
    assert bits(solution.value) == bits(call(deq, X, ps, st)[0])
    for name in ("residual", "num_steps", "converged"):
        assert bits(solution.stats[name]) == bits(new.solution[name])
    for i, steps in enumerate(solution.stats["num_steps"]):
        np.testing.assert_allclose(solution.stats["residuals"][steps - 1, i], solution.stats["residual"][i])


def test_every_sample_is_what_it_is_alone():
    # Residuals of more steps than a sample has numbers are nearly dependent: that makes much of the last bit of a product of few rows.
    deq = quiet(solver=lux.solvers.Anderson(memory=2))
    ps, st = setup(deq)
    x = X * jnp.asarray([0.1, 1.0, 3.0, 10.0])[:, None]
    z, new = call(deq, x, ps, st)
    for i in range(4):
        alone, own = call(deq, x[i : i + 1], ps, st)
        np.testing.assert_allclose(z[i], alone[0], rtol=1e-12)
        assert own.solution.num_steps[0] == new.solution.num_steps[i]
    assert len(set(new.solution.num_steps.tolist())) > 1


def test_a_vector_is_one_sample_and_so_is_all_without_batches():
    vector, joint = quiet(solver=tight()), quiet(solver=tight(), batched=False)
    ps, st = setup(vector)
    z, new = call(vector, X[0], ps, st)
    np.testing.assert_allclose(z, call(vector, X, ps, st)[0][0], rtol=1e-11)
    assert new.solution.residual.shape == ()
    z, new = call(joint, X, ps, st)
    np.testing.assert_allclose(z, call(vector, X, ps, st)[0], rtol=1e-11)
    assert new.solution.num_steps.shape == ()


def test_any_tree_can_be_an_equilibrium():
    class Pair(lux.AbstractLayer):
        def __call__(self, z_and_x, ps, st):
            z, x = z_and_x
            return {"a": 0.5 * z["a"] + x, "b": 0.1 * z["b"] + z["a"][:, :1, None]}, st

    def start(x):
        return {"a": jnp.zeros_like(x), "b": jnp.zeros((len(x), 1, 2), x.dtype)}

    deq = quiet(Pair(), init=start, solver=tight())
    z, _ = call(deq, X, *setup(deq))
    np.testing.assert_allclose(z["a"], 2 * X, rtol=1e-11)
    np.testing.assert_allclose(z["b"], jnp.broadcast_to(2 * X[:, :1, None] / 0.9, (4, 1, 2)), rtol=1e-11)


def test_root_finders_and_solvers_of_optimistix_do_as_well():
    expected = call(quiet(solver=tight()), X, *setup(quiet()))[0]
    for solver in (optx.Newton(rtol=1e-10, atol=1e-10), optx.FixedPointIteration(rtol=1e-10, atol=1e-10)):
        z, new = call(quiet(solver=solver), X, *setup(quiet()))
        np.testing.assert_allclose(z, expected, rtol=1e-8)
        assert bool(jnp.all(new.solution.converged))


# Where it starts


def test_a_start_that_is_nearer_takes_fewer_steps():
    loose = Anderson(rtol=0.0, atol=1e-8)
    zeros, skip = quiet(solver=loose), quiet(solver=loose, init="skip_reg")
    ps, st = setup(zeros)
    z, far = call(zeros, X, ps, st)
    from_skip, near = call(skip, X, ps, st)
    np.testing.assert_allclose(z, from_skip, atol=1e-7)
    assert int(jnp.sum(near.solution.num_steps)) < int(jnp.sum(far.solution.num_steps))
    known = quiet(solver=loose, init=lambda x: z)
    assert bool(jnp.all(call(known, X, ps, st)[1].solution.num_steps <= 3))  # some of them to show that it rests


def test_a_layer_that_predicts_the_start_learns_from_its_distance_alone():
    deq = quiet(init=lux.Dense(SIZE, SIZE), solver=tight())
    ps, st = setup(deq)

    @jax.jit
    def both(ps):
        loss = lambda ps: jnp.sum(deq(X, ps, st)[0])  # noqa: E731
        distance = lambda ps: jnp.sum(deq(X, ps, st)[1].solution.init_distance)  # noqa: E731
        return jax.grad(loss)(ps), jax.grad(distance)(ps), deq(X, ps, st)[0]

    of_loss, of_distance, z = both(ps)
    assert not of_loss["init.weight"].any()
    predicted = lambda weight: X @ weight + ps["init.bias"][None]  # noqa: E731
    expected = jax.grad(lambda weight: jnp.sum(jnp.mean((predicted(weight) - z) ** 2, axis=1)))(ps["init.weight"])
    np.testing.assert_allclose(of_distance["init.weight"], expected, rtol=1e-9)
    assert jnp.any(of_distance["model.weight"] != 0)


def test_a_warm_start_goes_on_from_the_last_result():
    deq = quiet(warm_start=True)
    ps, st = setup(deq)
    z, once = call(deq, X, ps, st)
    _, twice = call(deq, X, ps, once)
    assert bool(jnp.all(once.solution.num_steps > 2))
    assert bool(jnp.all(twice.solution.num_steps == 1))
    assert jax.tree.map(jnp.shape, once) == jax.tree.map(jnp.shape, twice)
    np.testing.assert_allclose(once.start, z, rtol=1e-12)
    _, other = call(deq, X[:2], ps, twice)  # as many samples as before, or from the beginning
    assert bool(jnp.all(other.solution.num_steps == once.solution.num_steps[:2]))


def test_unrolled_steps_are_for_the_same_parameters_and_state():
    deq = quiet()
    ps, st = setup(deq)
    pretraining = deq.unrolled(steps=2)
    z, new = call(pretraining, X, ps, st)
    model = lambda z: deq.model((z, X), ps.params.model, lux.State({}))[0]  # noqa: E731
    np.testing.assert_allclose(z, model(model(jnp.zeros_like(X))), rtol=1e-12)
    off = model(z) - z
    np.testing.assert_allclose(new.solution.residual, np.sqrt(np.mean(np.square(off), axis=1)), rtol=1e-12)
    assert not bool(jnp.any(new.solution.converged))
    assert jax.tree.structure(new) == jax.tree.structure(call(deq, X, ps, new)[1])


def test_the_state_of_the_model_holds_still_within_a_solve_and_advances_once():
    class Counted(lux.AbstractContainer):
        inner: lux.AbstractLayer
        dropout: lux.AbstractLayer

        def initial_states(self, key):
            return {**super().initial_states(key), "count": jnp.zeros((), jnp.int32)}

        def __call__(self, z_and_x, ps, st):
            z, inner = self.inner(z_and_x, ps.inner, st.inner)
            z, dropout = self.dropout(z, ps.dropout, st.dropout)
            return z, lux.State({"inner": inner, "dropout": dropout, "count": st.count + 1})

    deq = quiet(Counted(Tanh(SIZE), lux.Dropout(0.4)), solver=tight())
    ps, st = setup(deq)
    z, new = call(deq, X, ps, st)
    again, advanced = deq.model((z, X), ps.params.model, st.model)
    np.testing.assert_allclose(z, again, rtol=1e-11)  # a fixed point under one mask
    assert bool(jnp.any(z == 0))
    assert bits(new.model) == bits(advanced)
    assert bool(jnp.any((call(deq, X, ps, new)[0] == 0) != (z == 0)))  # the next call has another


# How it fails


class Drifting(lux.AbstractLayer):
    """Has an equilibrium for `x = 0` alone: `z + x`."""

    def __call__(self, z_and_x, ps, st):
        z, x = z_and_x
        return jnp.where(x == 0, 0.5 * z, z + x), st


def test_no_fixed_point_is_an_error_that_says_where():
    x = jnp.zeros((4, SIZE)).at[2:].set(1.0)
    deq = lux.DeepEquilibrium(Drifting(), max_steps=15)
    ps, st = setup(deq)
    text = refused(lambda: deq(x, ps, st), SolveError, "sample 2 (2 of 4 samples failed)", "15 steps of Anderson")
    assert "max_steps=15" in text
    with pytest.raises(RuntimeError, match=r"no equilibrium was found in sample 2 \(2 of 4"):
        jax.block_until_ready(call(deq, x, ps, st))


def test_a_failed_sample_is_nan_and_others_are_what_they_are():
    for bad in (jnp.nan, jnp.inf):
        deq = quiet(jacobian_penalty=JacobianPenalty())
        ps, st = setup(deq)
        spoiled = X.at[1].set(bad)
        (z, new), (clean, _) = call(deq, spoiled, ps, st), call(deq, X, ps, st)
        good = np.asarray([True, False, True, True])
        np.testing.assert_array_equal(new.solution.converged, good)
        assert np.isnan(z[1]).all()
        assert bits(z[good]) == bits(clean[good])
        assert bool(new.solution.result == optx.RESULTS.successful)  # not all failed
        assert np.isnan(new.solution.jacobian_penalty[1])
        g = jnp.ones_like(X)
        _, in_x, in_ps = gradients(deq, ps, st, spoiled, g)
        _, alone_x, alone_ps = gradients(deq, ps, st, X, g.at[1].set(0.0))
        np.testing.assert_array_equal(in_x[1], 0.0)
        np.testing.assert_allclose(in_x[good], alone_x[good], rtol=1e-12)
        np.testing.assert_allclose(in_ps, alone_ps, rtol=1e-12)


def test_if_all_samples_fail_the_state_says_why():
    deq = quiet(Drifting(), max_steps=5)
    z, new = call(deq, jnp.ones((2, SIZE)), *setup(deq))
    assert np.isnan(z).all()
    assert bool(new.solution.result == optx.RESULTS.nonlinear_max_steps_reached)
    z, new = call(quiet(), jnp.full((2, SIZE), jnp.nan), *setup(quiet()))
    assert bool(new.solution.result == optx.RESULTS.nonfinite)


def test_a_tolerance_of_zero_is_met_by_exact_equilibria_only():
    deq = quiet(Drifting(), solver=Anderson(rtol=0.0, atol=0.0), max_steps=30)
    _, new = call(deq, jnp.zeros((2, SIZE)).at[1].set(1.0), *setup(deq))
    np.testing.assert_array_equal(new.solution.converged, [True, False])
    deq = quiet(Linear(SIZE), solver=Anderson(rtol=0.0, atol=0.0), max_steps=30)
    _, new = call(deq, X, *setup(deq))
    np.testing.assert_array_equal(new.solution.converged, new.solution.residual == 0)


def test_a_model_that_ignores_z_is_its_own_equilibrium():
    class Ignoring(lux.AbstractLayer):
        def initial_parameters(self, key):
            return {"scale": jnp.full(SIZE, 2.0)}

        def __call__(self, z_and_x, ps, st):
            return z_and_x[1] * ps.scale.reshape(1, -1), st

    deq = quiet(Ignoring())
    ps, st = setup(deq)
    z, in_x, in_ps = gradients(deq, ps, st, X, jnp.ones_like(X))
    np.testing.assert_allclose(z, 2 * X, rtol=1e-12)
    np.testing.assert_allclose(in_x, 2.0)
    np.testing.assert_allclose(in_ps, jnp.sum(X, axis=0), rtol=1e-12)
    assert int(jnp.max(call(deq, X, ps, st)[1].solution.num_steps)) == 2
    assert not jnp.any(jax.jit(lambda: deq.spectral_radius(X, ps, st, key=jax.random.key(0)))())


def test_models_that_return_something_else_are_refused(unchecked):
    other = lux.WrappedFunction(lambda z_and_x: z_and_x[0][:, :2])
    deq = lux.DeepEquilibrium(other)
    refused(lambda: deq(X, *setup(deq)), ShapeError, "float64[4, 2]", "float64[4, 3]", "init=function of x")
    deq = lux.DeepEquilibrium(lux.WrappedFunction(lambda z_and_x: z_and_x))
    refused(lambda: deq(X, *setup(deq)), ShapeError, "float64[4, 3], float64[4, 3]", "takes (z, x)")
    deq = lux.DeepEquilibrium(Tanh(SIZE))
    ps, st = setup(deq)
    refused(lambda: deq(jnp.ones((4, 2), int), ps, st), ShapeError, "zeros of the shape of x", "init=layer")
    refused(lambda: deq((X, X), ps, st), ShapeError, "zeros of the shape of x")
    refused(lambda: deq(X[:0], ps, st), ShapeError, "no numbers")


def test_settings_that_cannot_be_are_refused(unchecked):
    make = lambda **options: lambda: lux.DeepEquilibrium(Tanh(2), **options)  # noqa: E731
    refused(make(solver="anderson"), LayerError, "lux.solvers.Anderson", "'anderson'")
    refused(make(init="ones"), LayerError, '"zeros", "skip_reg"', "'ones'")
    refused(make(max_steps=0), LayerError, "max_steps is a whole number")
    refused(make(jacobian_penalty=0.1), LayerError, "JacobianPenalty(probes=1)", "weight belongs into the loss")
    refused(lambda: JacobianPenalty(probes=0), LayerError, "probes is a whole number")
    refused(lambda: JacobianPenalty(mode="forward"), LayerError, '"vjp" or "jvp"')


def test_a_fit_begins_with_the_state_of_setup():
    deq = lux.DeepEquilibrium(Tanh(SIZE), warm_start=True)
    ps, st = setup(deq)

    def loss(ps, st, x):
        z, st = deq(x, ps, st)
        return jnp.mean((z - 0.3) ** 2), st

    fitted = lux.fit(loss, ps, st, optax.adam(3e-2), steps=60, data=X)
    assert fitted.losses[-1] < 0.3 * fitted.losses[0]
    assert bool(jnp.all(fitted.st.solution.converged))
