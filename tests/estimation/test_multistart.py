"""Many starts: how they are drawn, that each is as if it were alone, and what is made of those that end badly."""

import concurrent.futures
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml_lux as lux
from sciml_lux.estimation.fitting import _batch as batch
from sciml_lux.estimation.fitting import _lanes as lanes
from sciml_lux.estimation.fitting import _search as search

est = lux.estimation
TS = np.linspace(0.0, 6.0, 25)


class Wave(lux.AbstractLayer):
    """`size sin(frequency t)`: many local minima; NaN above a frequency, as a model that cannot be solved there."""

    def initial_parameters(self, key):
        return {"size": lux.real(1.0), "frequency": lux.positive(1.0), "offset": lux.real(0.0)}

    def __call__(self, ts, ps, st):
        wave = ps.size * jnp.sin(ps.frequency * ts) + ps.offset
        return jnp.where(ps.frequency < 9.0, wave, jnp.nan), st


DATA = est.Data(
    [est.Experiment("a", TS, {"y": 2.0 * np.sin(3.0 * TS) + 0.1 * np.random.default_rng(0).normal(size=25)})]
)
PROBLEM = est.Problem(
    Wave(),
    DATA,
    observe={"y": lambda t, y, ps: y},
    noise=0.1,
    bounds={"frequency": (0.1, 20.0), "size": (0.0, 5.0)},
    priors={"offset": est.priors.Normal(0.0, 0.3)},
)


@pytest.fixture(scope="module")
def many():
    starts = est.sample_starts(jax.random.key(1), PROBLEM, 24)
    return starts, est.multistart(PROBLEM, starts)


def test_each_part_of_every_range_has_one_start():
    starts = est.sample_starts(jax.random.key(0), PROBLEM, 50)
    values = {
        name: np.asarray(jax.vmap(starts.layout.unravel)(starts.vector)[name])
        for name in ("size", "frequency", "offset")
    }
    shares = {
        "size": values["size"] / 5.0,
        "frequency": np.log(values["frequency"] / 0.1) / np.log(200.0),
        "offset": np.array(
            [np.mean(np.random.default_rng(1).normal(size=100_000) * 0.3 < one) for one in values["offset"]]
        ),
    }
    for name, share in shares.items():
        if name != "offset":  # whose shares are counted, with an error of their own
            assert sorted(np.floor(share * 50).astype(int)) == list(range(50)), name
        assert np.max(np.abs(np.sort(share) - (np.arange(50) + 0.5) / 50)) < 0.03
    assert not np.array_equal(starts.vector, est.sample_starts(jax.random.key(1), PROBLEM, 50).vector)
    np.testing.assert_array_equal(starts.vector, est.sample_starts(jax.random.key(0), PROBLEM, 50).vector)


def test_the_best_of_many_is_the_truth(many):
    _, found = many
    assert found.best.outcome == "converged"
    np.testing.assert_allclose(found.best.values.frequency, 3.0, rtol=0.01)
    assert found.best.objective == min(one.objective for one in found.results if one.outcome != "failed")
    clusters = found.clusters()
    assert sum(map(len, clusters)) == len(found.ordered)
    assert len(clusters) > 1
    assert "above the best" in str(found)


def test_each_start_is_as_if_it_were_alone(many):
    starts, found = many
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        again = est.multistart(PROBLEM, starts, executor=executor)
    for i in (0, 5, 11):
        alone = est.fit(PROBLEM, starts.replace(starts.vector[i]))
        for one in (found.results[i], again.results[i]):
            np.testing.assert_array_equal(one.ps.vector, alone.ps.vector)
            assert one.outcome == alone.outcome


def test_starts_that_fail_are_marked_and_the_others_go_on(many):
    _, found = many
    failed = [one for one in found.results if one.outcome == "failed"]
    assert failed
    assert all(one.initial.frequency >= 9.0 for one in failed)
    assert all(np.isnan(one.objective) for one in failed)
    worst = est.sample_starts(jax.random.key(0), PROBLEM, 2)
    worst = worst.replace(worst.vector.at[:, 1].set(np.log(15.0)))
    with pytest.raises(lux.ParameterError, match="none of 2 starts has a finite result"):
        _ = est.multistart(PROBLEM, worst).best


def test_starts_that_would_all_be_the_same_are_refused():
    alike = est.Problem(Wave(), DATA, observe={"y": lambda t, y, ps: y}, noise=0.1)
    with pytest.raises(lux.ParameterError, match="would be the same"):
        est.sample_starts(jax.random.key(0), alike, 4)
    with pytest.raises(lux.ShapeError, match="sample_starts"):
        est.multistart(PROBLEM, lux.setup(jax.random.key(0), Wave())[0])


def test_an_interruption_keeps_what_is_done(many, monkeypatch):
    starts, _ = many
    updates = iter([None] * 2)

    def interrupt(bar, steps, loss):
        if next(updates, "enough") == "enough":
            raise KeyboardInterrupt

    monkeypatch.setattr(lux.training.Progress, "update", interrupt)
    found = est.multistart(PROBLEM, starts)
    assert 2 < len(found.results) < 24
    assert str(found).startswith(f"{len(found.results)} of 24 starts: ")


def test_lanes_of_a_batch_end_as_if_alone_and_make_room_for_the_next(monkeypatch):
    monkeypatch.setattr(lanes, "_FEW", 70)
    starts = est.sample_starts(jax.random.key(3), PROBLEM, 70)
    found = est.multistart(PROBLEM, starts)
    assert len(found.results) == 70
    assert {one.outcome for one in found.results} >= {"converged", "failed"}
    for i in range(0, 70, 7):
        alone = est.fit(PROBLEM, starts.replace(starts.vector[i]))
        np.testing.assert_allclose(found.results[i].objective, alone.objective, rtol=1e-9)
        assert found.results[i].outcome == alone.outcome


def test_sets_of_a_bootstrap_in_lanes_are_what_they_are_apart(many, monkeypatch):
    best = many[1].best
    apart = best.bootstrap(40, jax.random.key(2))
    monkeypatch.setattr(lanes, "_FEW", 40)
    together = best.bootstrap(40, jax.random.key(2))
    np.testing.assert_allclose(together.values, apart.values, rtol=1e-6)
    assert np.std(apart.values[:, 0]) > 0


def test_the_time_of_a_search_in_a_lane_begins_when_it_does(monkeypatch):
    clock = [0.0]
    step = batch.Batch.step

    def counted(self):
        clock[0] += 1.0
        step(self)

    monkeypatch.setattr(lanes, "_FEW", 70)
    monkeypatch.setattr(lanes, "_WIDTH", 4)
    monkeypatch.setattr(batch.Batch, "step", counted)
    for module in (lanes, search):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    starts = est.sample_starts(jax.random.key(3), PROBLEM, 70)
    alone = est.multistart(PROBLEM, starts)
    longest = max(one.num_steps for one in alone.results)
    assert clock[0] > longest + 2  # some searches waited for others
    clock[0] = 0.0
    found = est.multistart(PROBLEM, starts, budget=est.Budget(seconds=longest + 1.0))
    assert not [one.reason for one in found.results if "seconds" in one.reason]
