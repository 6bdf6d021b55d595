"""fit: against known minima and loops written by hand; batches, stages, state, donation, compilations, the progress bar."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
from helpers import Counted, assert_close, bits, setup

import sciml_lux as lux
from sciml_lux.training import _run

MINIMUM = np.array([1.0, 2.0, -0.5])


class Counter(lux.AbstractLayer):
    """Three numbers, and a state that counts the calls."""

    def initial_parameters(self, key):
        return {"point": jnp.asarray([3.0, -2.0, 0.0])}

    def initial_states(self, key):
        return {"calls": jnp.zeros((), jnp.int32), "key": key}

    def __call__(self, x, ps, st):
        return ps.point, st.set("calls", st.calls + 1).set("key", jax.random.split(st.key)[1])


PS, ST = setup(Counter())


def quadratic(ps, st, batch):
    """`(point - minimum)^T H (point - minimum) / 2`, with eigenvalues from 0.5 to 2."""
    point, st = Counter()(None, ps, st)
    offset = point - MINIMUM
    return 0.5 * jnp.sum(jnp.asarray([0.5, 1.0, 2.0]) * offset**2) + 0.1 * offset[0] * offset[1], st


def shifted(ps, st, batch):
    """The minimum is the batch's, and the offset is reported."""
    point, st = Counter()(None, ps, st)
    offset = point - batch["target"]
    return jnp.sum(offset**2), st, {"offset": offset, "size": jnp.sum(jnp.abs(offset))}


def targets(number):
    return [{"target": np.sin(np.arange(3.0) + i)} for i in range(number)]


def loop(loss, ps, st, optimizer, batches):
    """The same by hand: one compiled step, a Python loop."""

    @jax.jit
    def step(ps, st, optimizer_state, batch):
        def value_of(ps):
            value, st_, *_ = loss(ps, st, batch)
            return value, st_

        (value, st), gradient = jax.value_and_grad(value_of, has_aux=True)(ps)
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer_state = optimizer.update(gradient, optimizer_state, ps)
            return optax.apply_updates(ps, updates), st, optimizer_state, value

    optimizer_state = optimizer.init(ps)
    losses = []
    for batch in batches:
        ps, st, optimizer_state, value = step(ps, st, optimizer_state, batch)
        losses.append(value)
    return ps, st, np.array(losses)


# Where it arrives


@pytest.mark.parametrize(
    ("optimizer", "steps", "tolerance"),
    [
        (optax.sgd(0.5), 120, 1e-9),
        (optax.adam(0.2), 600, 1e-6),
        (optax.lbfgs(), 25, 1e-9),
        (optimistix.BFGS(1e-10, 1e-10), 60, 1e-9),
        (optimistix.LBFGS(1e-10, 1e-10), 60, 1e-9),
        (optimistix.GradientDescent(0.5, 1e-10, 1e-10), 200, 1e-9),  # holds an array: it cannot be hashed
        ([(optax.adam(0.2), 30), (optimistix.BFGS(1e-10, 1e-10), 60)], None, 1e-9),
    ],
    ids=["sgd", "adam", "optax lbfgs", "BFGS", "LBFGS", "GradientDescent", "stages"],
)
def test_every_kind_of_optimizer_finds_the_minimum(optimizer, steps, tolerance):
    fitted = lux.fit(quadratic, PS, ST, optimizer, steps=steps)
    np.testing.assert_allclose(fitted.ps["point"], MINIMUM, atol=tolerance)
    assert fitted.ps.layout is PS.layout
    start, end = (float(quadratic(ps, ST, None)[0]) for ps in (PS, fitted.ps))
    assert fitted.losses[0] == pytest.approx(start, rel=1e-14)
    assert fitted.losses[-1] == pytest.approx(end, abs=1e-9)
    assert (fitted.num_rejected, fitted.message) == (0, "")
    assert fitted.result == optimistix.RESULTS.successful
    assert "3 parameters; successful" in repr(fitted)


def test_a_minimiser_stops_when_it_has_converged():
    fitted = lux.fit(quadratic, PS, ST, optimistix.BFGS(1e-6, 1e-6), steps=10_000)
    assert len(fitted.losses) < 50
    np.testing.assert_allclose(fitted.ps["point"], MINIMUM, atol=1e-4)


def test_a_minimiser_is_the_one_of_optimistix():
    solver = optimistix.BFGS(1e-8, 1e-8)
    fitted = lux.fit(quadratic, PS, ST, solver, steps=100)
    alone = optimistix.minimise(lambda ps, _: quadratic(ps, ST, None)[0], solver, PS, max_steps=100)
    np.testing.assert_allclose(fitted.ps.vector, alone.value.vector, rtol=1e-12)
    assert len(fitted.losses) == alone.stats["num_steps"]


def test_stages_go_on_where_the_last_one_ended():
    stages = [(optax.sgd(0.3), 7), (optax.sgd(0.1), 5)]
    both = lux.fit(quadratic, PS, ST, stages)
    first = lux.fit(quadratic, PS, ST, optax.sgd(0.3), steps=7)
    second = lux.fit(quadratic, first.ps, first.st, optax.sgd(0.1), steps=5)
    assert bits((both.ps, both.st)) == bits((second.ps, second.st))
    assert bits(both.losses) == bits(np.concatenate([first.losses, second.losses]))
    assert both.st.calls == 12


# How it gets there


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1, momentum=0.9), optax.adam(0.05)], ids=["sgd", "adam"])
def test_chunks_of_steps_are_a_loop_written_by_hand(optimizer, monkeypatch):
    number = 70
    ps, st, losses = loop(quadratic, PS, ST, optimizer, [None] * number)
    for chunk in (1, 9, number):
        sizes = []
        monkeypatch.setattr(_run, "_next_chunk", lambda *_: sizes.append(chunk) or chunk)  # noqa: B023
        fitted = lux.fit(quadratic, PS, ST, optimizer, steps=number)
        assert len(sizes) == 1 + -(-(number - 1) // chunk)  # the first chunk is one step
        # Two programs of the same steps: compiled without optimization, as in the fast suite, they may differ in the last bit.
        assert_close((fitted.ps, fitted.st, fitted.losses), (ps, st, losses), rtol=1e-13)


def test_the_state_counts_the_steps():
    fitted = lux.fit(quadratic, PS, ST, optax.sgd(0.1), steps=37)
    assert fitted.losses.shape == (37,)
    assert fitted.st.calls == 37
    key = ST.key
    for _ in range(37):
        key = jax.random.split(key)[1]
    assert bits(fitted.st.key) == bits(key)


def test_a_minimiser_holds_the_state_so_that_its_function_does_not_change():
    fitted = lux.fit(quadratic, PS, ST, optimistix.BFGS(1e-6, 1e-6), steps=50)
    assert fitted.st.calls == 1
    assert len(fitted.losses) > 2


def test_no_steps_change_nothing():
    fitted = lux.fit(quadratic, PS, ST, optax.sgd(0.1), steps=0)
    assert bits((fitted.ps, fitted.st)) == bits((PS, ST))
    assert fitted.losses.shape == (0,)
    assert "0 steps, no finite loss" in repr(fitted)


def test_an_empty_model_is_fitted():
    ps, st = setup(lux.Chain())
    for optimizer in (optax.sgd(0.1), optimistix.BFGS(1e-6, 1e-6)):
        fitted = lux.fit(lambda ps, st, _: (jnp.sum(ps.vector**2) + 1.0, st), ps, st, optimizer, steps=3)
        np.testing.assert_array_equal(fitted.losses, 1.0)
        assert fitted.ps.vector.shape == (0,)


# Data


def test_data_is_given_whole_to_every_step():
    batch = targets(1)[0]
    fitted = lux.fit(shifted, PS, ST, optax.sgd(0.1), steps=40, data=batch)
    ps, st, losses = loop(shifted, PS, ST, optax.sgd(0.1), [batch] * 40)
    assert_close((fitted.ps, fitted.st, fitted.losses), (ps, st, losses), rtol=1e-13)


@pytest.mark.parametrize("stages", [False, True])
def test_an_iterator_gives_one_batch_a_step(stages):
    # More than are sent to the device at once, so that several transfers are put together.
    ps, st, losses = loop(shifted, PS, ST, optax.sgd(0.1), targets(50))
    ended = {"optimizer": [(optax.sgd(0.1), 20), (optax.sgd(0.1), 80)]} if stages else {"optimizer": optax.sgd(0.1)}
    fitted = lux.fit(shifted, PS, ST, **ended, data=iter(targets(50)))
    assert_close((fitted.ps, fitted.st, fitted.losses), (ps, st, losses), rtol=1e-13)
    assert fitted.message == ""


def test_an_iterator_is_read_no_further_than_the_steps():
    batches = iter(targets(60))
    fitted = lux.fit(shifted, PS, ST, optax.sgd(0.1), steps=40, data=batches)
    assert fitted.losses.shape == (40,)
    assert next(batches)["target"][0] == np.sin(40.0)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optimistix.BFGS(1e-9, 1e-9)], ids=["sgd", "BFGS"])
def test_what_a_loss_reports_is_returned_one_row_a_step(optimizer):
    fitted = lux.fit(shifted, PS, ST, optimizer, steps=20, data=targets(1)[0])
    number = len(fitted.losses)
    assert fitted.stats["offset"].shape == (number, 3)
    np.testing.assert_allclose(np.sum(fitted.stats["offset"] ** 2, axis=1), fitted.losses, rtol=1e-12, atol=1e-30)
    np.testing.assert_allclose(np.sum(np.abs(fitted.stats["offset"]), axis=1), fitted.stats["size"], rtol=1e-12)
    assert lux.fit(quadratic, PS, ST, optax.sgd(0.1), steps=3).stats is None


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optimistix.BFGS(1e-6, 1e-6)], ids=["adam", "BFGS"])
def test_what_the_user_passed_is_usable_afterwards(optimizer):
    # Buffers are given up to the compiled loop: those that are ours.
    data = {"target": jnp.ones(3)}
    ps, st = setup(Counter())
    before = bits((ps, st, data))
    lux.fit(shifted, ps, st, optimizer, steps=5, data=data)
    assert bits((ps, st, data)) == before
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((ps, st, data)))


def test_a_second_fit_compiles_nothing():
    optimizers = (optax.adam(0.1), optimistix.BFGS(1e-9, 1e-9), [(optax.adam(0.1), 5), (optax.sgd(0.1), 5)])
    for optimizer in optimizers:
        counted = Counted(shifted)
        traces = []
        for steps in (40, 40, 25):
            steps = None if isinstance(optimizer, list) else steps
            lux.fit(
                counted,
                PS.replace(PS.vector + steps if steps else PS.vector),
                ST,
                optimizer,
                steps=steps,
                data=targets(1)[0],
            )
            traces.append(counted.traces)
        assert traces[0] == traces[1] == traces[2]
        assert traces[0] <= 2 * (2 if isinstance(optimizer, list) else 1)


def test_parameters_in_float32_stay_so():
    ps, st = setup(Counter(), dtype=jnp.float32)
    for optimizer in (optax.adam(0.1), optimistix.BFGS(1e-3, 1e-3)):
        loss = lambda ps, st, batch: (jnp.sum((ps.point - batch) ** 2), st)  # noqa: E731
        fitted = lux.fit(loss, ps, st, optimizer, steps=5, data=np.ones(3, np.float32))
        assert fitted.ps.vector.dtype == jnp.float32
        assert fitted.losses[-1] < fitted.losses[0]


# Progress


def test_the_bar_says_how_far_and_how_well(capsys):
    stages = [(optax.sgd(0.5), 40), (optax.sgd(0.5), 30)]
    fitted = lux.fit(quadratic, PS, ST, stages, progress=True)
    written = capsys.readouterr()
    assert written.out == ""
    for part in ("fit 1/2", "40/40", "fit 2/2", "30/30", "step/s", f"loss {fitted.losses[-1]:.4g}"):
        assert part in written.err
    lux.fit(quadratic, PS, ST, optax.sgd(0.5), steps=10)
    assert capsys.readouterr().err == ""


def test_a_bar_without_tqdm_names_the_extra(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'sciml-lux\[progress\]'"):
        lux.fit(quadratic, PS, ST, optax.sgd(0.1), steps=3, progress=True)
    assert lux.fit(quadratic, PS, ST, optax.sgd(0.1), steps=3).losses.shape == (3,)
