"""Multiple shooting, its augmented Lagrangian, and ensembles: what they compute, and what they end at."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
from helpers import directional_difference, refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError
from sciml_lux.flatten import pick
from sciml_lux.training.strategies import (
    MultipleShooting,
    ShootingLoss,
    TrajectoryLoss,
    fit_augmented_lagrangian,
    fit_ensemble,
    series,
    windows,
)
from sciml_lux.training.strategies._augmented_lagrangian import _raised


class Oscillator(lux.AbstractLayer):
    """`(rate v, -rate x)`, with a positive rate."""

    def initial_parameters(self, key):
        return {"rate": lux.positive(2.0)}

    def __call__(self, y, ps, st):
        return ps.rate * jnp.stack([y[1], -y[0]]), st


TS = np.linspace(0.0, 6.0, 19)
NODE = lux.NeuralODE(Oscillator(), t1=6.0, rtol=1e-8, atol=1e-8)
NODE_PS, NODE_ST = setup(NODE)
CLEAN = np.stack([np.cos(2.0 * TS), -np.sin(2.0 * TS)], axis=1)
YS = CLEAN + 0.1 * np.random.default_rng(0).normal(size=CLEAN.shape)
YS[4] = np.nan
SEGMENTS = windows(series(TS, YS), 5, starts=CLEAN)
SHOOTING = MultipleShooting(NODE, *SEGMENTS.y0.shape)
PS, ST = setup(SHOOTING)
PS = SHOOTING.start_from(PS, SEGMENTS)
LOSS = ShootingLoss(SHOOTING)
EVALUATE = jax.jit(LOSS)


OVERLAPPING = windows(series(TS, CLEAN), 5, stride=2)


def trajectory(ps, y0):
    return np.asarray(NODE.solve(jnp.asarray(y0), ps, NODE_ST, ts=TS)[0].ys)


# Multiple shooting


@pytest.mark.slow
def test_without_defects_it_is_the_plain_loss():
    y0 = np.array([0.8, 0.3])
    away = NODE_PS.set("model.rate", jnp.asarray(1.7))
    joined = windows(series(TS, YS, y0=y0), 5, starts=trajectory(away, y0))
    ps = SHOOTING.start_from(PS, joined).set("node", away.params)
    value, new, stats = EVALUATE(ps, ST.set("multipliers", ST["multipliers"] + 3.0), joined)
    plain, _ = TrajectoryLoss(NODE)(away, NODE_ST, series(TS, YS, y0=y0))
    assert stats["defect"] < 1e-6
    np.testing.assert_allclose(value, plain, rtol=1e-5)
    assert new["defects"].shape == (len(joined.ts) - 1, 2)


def test_defects_cost_what_the_formula_says():
    state = ST.set("multipliers", ST["multipliers"] + 0.7).set("penalty", jnp.asarray(3.0))
    ps = PS.set("starts", PS["starts"] + 0.1 * jnp.cos(jnp.arange(PS["starts"].size)).reshape(PS["starts"].shape))
    value, new, _ = EVALUATE(ps, state, SEGMENTS)
    starts = np.asarray(ps["starts"])
    turn = lambda y, t: np.array([[np.cos(2 * t), np.sin(2 * t)], [-np.sin(2 * t), np.cos(2 * t)]]) @ y  # noqa: E731
    ys = np.array([[turn(y, t - row[0]) for t in row] for y, row in zip(starts, SEGMENTS.ts, strict=True)])
    defects = ys[:-1, -1] - starts[1:]
    misfit = np.mean((ys - SEGMENTS.ys)[SEGMENTS.mask] ** 2)
    np.testing.assert_allclose(new["defects"], defects, atol=1e-6)
    np.testing.assert_allclose(value, misfit + np.mean(0.7 * defects + 1.5 * defects**2), rtol=1e-6)
    direction = jnp.sin(jnp.arange(ps.vector.size, dtype=float))
    gradient = jax.jit(jax.grad(lambda ps: LOSS(ps, state, SEGMENTS)[0]))(ps)
    difference = directional_difference(lambda v: EVALUATE(ps.replace(v), state, SEGMENTS)[0], ps.vector, direction)
    np.testing.assert_allclose(gradient.vector @ direction, difference, rtol=1e-5)


def test_segments_that_do_not_follow_one_another_have_no_loss_within_a_program():
    order = np.array([1, 0, 2, 3, 4])
    value, *_ = EVALUATE(PS, ST, jax.tree.map(lambda leaf: leaf[order], SEGMENTS))
    assert np.isnan(value)


def test_its_parameters_are_those_of_the_node_and_the_starts():
    assert [entry.path for entry in PS.layout.entries] == ["node.model.rate", "starts"]
    away = PS.set("node.model.rate", jnp.asarray(1.3))
    plain, state = SHOOTING.plain(away, ST)
    assert plain.layout is NODE_PS.layout
    np.testing.assert_allclose(plain["model.rate"], 1.3)
    assert jax.tree.structure(state) == jax.tree.structure(NODE_ST)
    moved, report = lux.flatten.transplant(away, NODE_PS, rename={"node.model": "model"})
    assert report.matched == ("model.rate",)
    np.testing.assert_array_equal(moved.vector, plain.vector)


@pytest.mark.slow
def test_an_augmented_lagrangian_joins_the_segments_at_the_best_trajectory():
    start = PS.set("node.model.rate", jnp.asarray(1.0))
    optimizer = optimistix.BFGS(rtol=1e-8, atol=1e-10)
    fitted = fit_augmented_lagrangian(LOSS, start, ST, optimizer, data=SEGMENTS, steps=100, tolerance=1e-6)
    assert np.abs(fitted.st["defects"]).max() < 1e-6
    assert fitted.stats["defect"].shape == fitted.losses.shape
    # The constrained minimum: the best rate and initial value of one trajectory, whose equation has a closed form.
    seen = np.isfinite(YS)

    def misfit(vector):
        rate, (x, v) = jnp.exp(vector[0]), vector[1:]
        cos, sin = jnp.cos(rate * TS), jnp.sin(rate * TS)
        return jnp.mean((jnp.stack([x * cos + v * sin, v * cos - x * sin], 1) - np.where(seen, YS, 0.0))[seen] ** 2)

    plain, _ = SHOOTING.plain(fitted.ps, fitted.st)
    reached = jnp.concatenate([plain.vector, fitted.ps["starts"][0]])
    best = optimistix.minimise(lambda v, _: misfit(v), optimistix.BFGS(rtol=1e-9, atol=1e-12), reached).value
    np.testing.assert_allclose(reached, best, atol=2e-4)
    np.testing.assert_allclose(plain["model.rate"], 2.0, atol=0.03)


def test_multipliers_rise_by_the_penalty_that_was_minimised_before_it_grows():
    defects = np.cos(np.arange(ST["defects"].size)).reshape(ST["defects"].shape)
    before = ST.set("defects", jnp.asarray(defects)).set("multipliers", jnp.full(defects.shape, 0.5))
    after = _raised(before.set("penalty", jnp.asarray(3.0)), 10.0)
    np.testing.assert_allclose(after["multipliers"], 0.5 + 3.0 * defects, rtol=1e-14)
    assert after["penalty"] == 30.0


@pytest.mark.slow
def test_an_augmented_lagrangian_that_ends_too_early_says_so():
    options = {"data": SEGMENTS, "steps": 3, "rounds": 2, "tolerance": 1e-12}
    with pytest.raises(lux.FitError, match="do not meet after 2 rounds") as caught:
        fit_augmented_lagrangian(LOSS, PS, ST, optax.adam(1e-3), **options)
    fitted = caught.value.fitted
    assert fitted.losses.shape == (6,)
    assert (np.asarray(fitted.st["multipliers"]) != 0).any()
    assert fitted.st["penalty"] >= 1.0


@pytest.mark.parametrize(
    ("call", "kind", "part"),
    [
        (lambda: MultipleShooting(lux.Dense(2, 2), 3, 2), LayerError, "solve"),
        (lambda: MultipleShooting(NODE, 0, 2), LayerError, "segments"),
        (lambda: MultipleShooting(NODE, 3, 0), LayerError, "size"),
        (lambda: MultipleShooting(NODE, 3, 2, penalty=-1.0), LayerError, "penalty"),
        (lambda: SHOOTING(series(TS, YS, y0=CLEAN[0]), PS, ST), ShapeError, "windows"),
        (lambda: SHOOTING(windows(series(TS, CLEAN), 3), PS, ST), ShapeError, "5 segments"),
        (
            lambda: SHOOTING.start_from(PS, OVERLAPPING),
            ShapeError,
            "segment 1 begins at 0.666667 and the one before ends at 1.33333",
        ),
        (lambda: SHOOTING(jax.tree.map(lambda leaf: leaf[::-1], SEGMENTS), PS, ST), ShapeError, "follow one another"),
        (lambda: MultipleShooting(lux.AugmentedODE(lux.Dense(3, 3), 1), 2, 2), LayerError, "hidden"),
        (lambda: ShootingLoss(NODE), LayerError, "MultipleShooting"),
        (
            lambda: fit_augmented_lagrangian(TrajectoryLoss(NODE), PS, ST, optax.sgd(0.1), data=0),
            LayerError,
            "ShootingLoss",
        ),
        (lambda: fit_augmented_lagrangian(LOSS, PS, ST, optax.sgd(0.1), data=SEGMENTS, rounds=0), LayerError, "rounds"),
        (
            lambda: fit_augmented_lagrangian(LOSS, PS, ST, optax.sgd(0.1), data=SEGMENTS, growth=1.0),
            LayerError,
            "growth",
        ),
    ],
)
def test_shooting_refuses_what_cannot_be(call, kind, part, unchecked):
    refused(call, kind, part)


# Ensembles


class Valley(lux.AbstractLayer):
    """A loss with two minima, the deeper one at `x = 2`; left of -3 it is not a number."""

    def initial_parameters(self, key):
        return {"x": jax.random.uniform(key, (), minval=-2.0, maxval=3.0)}

    def __call__(self, x, ps, st):
        return jnp.where(ps.x < -3.0, jnp.nan, 1.0) * ((ps.x**2 - 4.0) ** 2 / 8.0 - ps.x + x), st


def valley_loss(ps, st, shift):
    return *Valley()(shift, ps, st), {"x": ps["x"]}


SHIFT = jnp.asarray(0.5)


@pytest.mark.parametrize("optimizer", [optax.adam(5e-2), optimistix.BFGS(rtol=1e-8, atol=1e-8)], ids=["adam", "BFGS"])
def test_an_ensemble_is_separate_fits(optimizer):
    ps, st = lux.setup_batch(jax.random.key(3), Valley(), 4)
    ensemble = fit_ensemble(valley_loss, ps, st, optimizer, steps=60, data=SHIFT)
    for i in range(4):
        alone = lux.fit(valley_loss, pick(ps, i), st, optimizer, steps=60, data=SHIFT)
        np.testing.assert_allclose(ensemble.ps.vector[i], alone.ps.vector, rtol=1e-6)
        length = min(len(alone.losses), len(ensemble.losses))
        np.testing.assert_allclose(ensemble.losses[:length, i], alone.losses[:length], rtol=1e-9)
    assert ensemble.best.ps["x"] == ensemble.ps["x"][np.argmin(ensemble.final)]
    np.testing.assert_allclose(ensemble.best.ps["x"], 2.2143, atol=0.2)  # x (x^2 - 4) = 2
    assert ensemble.best.stats["x"].shape == ensemble.best.losses.shape
    assert "4 members, 0 failed" in repr(ensemble)


def test_one_that_fails_leaves_the_others_unharmed():
    ps, st = lux.setup_batch(jax.random.key(3), Valley(), 3)
    ps = ps.replace(jnp.array([[1.0], [-5.0], [-1.0]]))
    ensemble = fit_ensemble(valley_loss, ps, st, optax.sgd(1e-2), steps=50, data=SHIFT, max_failures=3)
    assert np.isnan(ensemble.losses[:, 1]).all()
    assert np.isnan(ensemble.final[1])
    assert len(ensemble.losses) == 50
    assert ensemble.ps.vector[1] == -5.0
    for i in (0, 2):
        alone = lux.fit(valley_loss, pick(ps, i), st, optax.sgd(1e-2), steps=50, data=SHIFT)
        np.testing.assert_allclose(ensemble.ps.vector[i], alone.ps.vector, rtol=1e-12)


def test_an_ensemble_that_fails_as_a_whole_says_so():
    ps, st = lux.setup_batch(jax.random.key(3), Valley(), 2)
    hopeless = ps.replace(jnp.full((2, 1), -5.0))
    with pytest.raises(lux.FitError, match="every member") as caught:
        fit_ensemble(valley_loss, hopeless, st, optax.sgd(1e-2), steps=50, data=SHIFT, max_failures=3)
    assert len(caught.value.fitted.losses) == 3
    short = fit_ensemble(valley_loss, hopeless, st, optax.sgd(1e-2), steps=9, data=SHIFT, throw=False)
    assert "no step was taken" in short.best.message


def test_streamed_data_are_judged_by_those_that_are_given():
    ps, st = lux.setup_batch(jax.random.key(3), Valley(), 3)
    shifts = iter([np.asarray(0.1 * i) for i in range(20)])
    ensemble = fit_ensemble(valley_loss, ps, st, optax.adam(5e-2), data=shifts, judge=SHIFT)
    assert ensemble.losses.shape == (20, 3)
    expected = [float(valley_loss(pick(ensemble.ps, i), st, SHIFT)[0]) for i in range(3)]
    np.testing.assert_allclose(ensemble.final, expected)


@pytest.mark.parametrize(
    ("change", "kind", "part"),
    [
        (lambda ps, st: (pick(ps, 0), st, {}), ShapeError, "setup_batch"),
        (lambda ps, st: (ps, lux.State(count=jnp.zeros(2)), {}), ShapeError, "leading axis"),
        (lambda ps, st: (ps.params, st, {}), LayerError, "FlatParams"),
        (lambda ps, st: (ps, st, {"max_failures": 0}), LayerError, "max_failures"),
        (lambda ps, st: (ps, st, {"data": iter([SHIFT])}), LayerError, "judge="),
    ],
)
def test_ensembles_refuse_what_cannot_be(change, kind, part, unchecked):
    ps, st, options = change(*lux.setup_batch(jax.random.key(0), Valley(), 3))
    refused(
        lambda: fit_ensemble(valley_loss, ps, st, optax.sgd(0.1), **{"steps": 1, "data": SHIFT, **options}), kind, part
    )
