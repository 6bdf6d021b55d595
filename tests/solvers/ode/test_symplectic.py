"""Symplectic steppers, with diffrax alone and in the adapters: order, reversal, the symplectic form, and the drift of the energy."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.solvers import StormerVerlet, Yoshida4

FIXED = diffrax.ConstantStepSize()
OMEGA = np.array([[0.0, 1.0], [-1.0, 0.0]])
METHODS = pytest.mark.parametrize(("solver", "order"), [(StormerVerlet(), 2), (Yoshida4(), 4)])


def flow(solver, q, p, t0, t1, steps, saveat=None):
    """A driven pendulum, `q' = p (1 + t^2 / 20)`, `p' = -sin q - t / 2`, by diffrax alone."""
    terms = (
        diffrax.ODETerm(lambda t, p, args: p * (1.0 + 0.05 * t**2)),
        diffrax.ODETerm(lambda t, q, args: -jnp.sin(q) - 0.5 * t),
    )
    saveat = diffrax.SaveAt(t1=True) if saveat is None else saveat
    dt0 = (t1 - t0) / steps
    return diffrax.diffeqsolve(
        terms, solver, t0, t1, dt0, (q, p), saveat=saveat, stepsize_controller=FIXED, adjoint=diffrax.ForwardMode()
    )


def end(solver, y, t0, t1, steps):
    q, p = flow(solver, y[0], y[1], t0, t1, steps).ys
    return jnp.stack([q[-1], p[-1]])


START = jnp.asarray([0.9, -0.2])


@METHODS
def test_the_order_of_convergence(solver, order):
    reference = end(Yoshida4(), START, 0.0, 2.0, 2000)
    errors = [np.linalg.norm(end(solver, START, 0.0, 2.0, steps) - reference) for steps in (20, 40)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)
    assert solver.order(None) == order


@METHODS
def test_between_steps_too(solver, order):
    ts = jnp.asarray([0.0, 0.37, 1.0, 1.93])
    reference = flow(Yoshida4(), *START, 0.0, 2.0, 2000, diffrax.SaveAt(ts=ts)).ys[0]
    errors = [
        np.abs(flow(solver, *START, 0.0, 2.0, steps, diffrax.SaveAt(ts=ts)).ys[0] - reference).max()
        for steps in (20, 40)
    ]
    assert np.log2(errors[0] / errors[1]) > order - 0.5


@METHODS
def test_backward_in_time_is_the_way_back(solver, order):
    there = end(solver, START, 0.0, 2.0, 10)
    np.testing.assert_allclose(end(solver, there, 2.0, 0.0, 10), START, rtol=1e-13)


@METHODS
def test_the_symplectic_form_is_kept(solver, order):
    jacobian = jax.jacfwd(lambda y: end(solver, y, 0.0, 2.0, 4))(START)
    np.testing.assert_allclose(jacobian.T @ OMEGA @ jacobian, OMEGA, atol=1e-13)


def test_a_runge_kutta_method_does_not_keep_it():
    field = diffrax.ODETerm(lambda t, y, args: jnp.stack([y[1], -jnp.sin(y[0])]))
    settings = {"stepsize_controller": FIXED, "adjoint": diffrax.ForwardMode()}
    jacobian = jax.jacfwd(lambda y: diffrax.diffeqsolve(field, diffrax.Heun(), 0.0, 2.0, 0.5, y, **settings).ys[-1])(
        START
    )
    assert np.abs(jacobian.T @ OMEGA @ jacobian - OMEGA).max() > 1e-3


def test_the_force_is_evaluated_once_a_stage():
    def count(solver):
        calls = []

        def force(t, q, args):
            jax.debug.callback(lambda: calls.append(1))
            return -q

        terms = (diffrax.ODETerm(lambda t, p, args: p), diffrax.ODETerm(force))
        jax.block_until_ready(
            diffrax.diffeqsolve(terms, solver, 0.0, 1.0, 0.1, (1.0, 0.0), stepsize_controller=FIXED).ys
        )
        jax.effects_barrier()
        return len(calls)

    assert 10 <= count(StormerVerlet()) <= 13
    assert 30 <= count(Yoshida4()) <= 33


def energies(periods, **settings):
    """The largest error of a pendulum's energy in each quarter of many periods (of 7.3), as the adapter solves it."""
    steps = round(periods * 7.3 / settings["dt0"])
    node = lux.HamiltonianODE(
        lux.WrappedFunction(lambda q: -jnp.cos(q)),
        kinetic=lux.WrappedFunction(lambda p: 0.5 * p**2),
        t1=steps * settings["dt0"],
        max_steps=steps + 1,
        adjoint=diffrax.ForwardMode(),
        **settings,
    )
    ps, st = setup(node)
    y0 = (jnp.asarray(1.5), jnp.asarray(0.0))
    # A number of steps between two saves that has nothing to do with the period, within which the energy swings.
    saveat = diffrax.SaveAt(steps=max(steps // 1000, 1))
    solution, _ = jax.jit(lambda y0: node.solve(y0, ps, st, saveat=saveat))(y0)
    errors = np.abs(jax.vmap(lambda y: node.energy(y, ps, st))(solution.ys) - node.energy(y0, ps, st))
    return [part.max() for part in np.array_split(errors[np.isfinite(errors)], 4)]


# Three evaluations of the force to 0.3 units of time, each.


def test_the_energy_of_a_pendulum_stays_in_bounds_for_ten_thousand_periods():
    for solver, dt0, bound in ((StormerVerlet(), 0.1, 2e-3), (Yoshida4(), 0.3, 7e-4)):
        quarters = energies(10_000, solver=solver, dt0=dt0)
        assert max(quarters) < bound
        assert max(quarters) < 1.01 * min(quarters)


def test_it_drifts_in_proportion_to_the_time_by_a_runge_kutta_method():
    quarters = energies(20, solver=diffrax.Bosh3(), dt0=0.3, stepsize_controller=FIXED)
    np.testing.assert_allclose(np.diff(quarters), np.diff(quarters)[0], rtol=0.15)
    assert quarters[-1] > 0.1


def test_a_method_of_two_terms_needs_two_parts():
    harmonic = lux.WrappedFunction(lambda y: y)
    for build in (
        lambda: lux.SecondOrderODE(harmonic, solver=StormerVerlet(), dt0=0.1),
        lambda: lux.HamiltonianODE(harmonic, solver=diffrax.SemiImplicitEuler(), dt0=0.1),
    ):
        refused(build, LayerError, "in turn", "Runge-Kutta")
    refused(
        lambda: lux.SecondOrderODE(harmonic, velocity=False, solver=StormerVerlet()), LayerError, "give the step, dt0"
    )
    node = lux.NeuralODE(harmonic, solver=StormerVerlet(), dt0=0.1)
    ps, st = setup(node)
    refused(lambda: node((jnp.ones(1), jnp.ones(1)), ps, st), LayerError, "one field", "HamiltonianODE")
