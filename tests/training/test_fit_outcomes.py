"""What a fit returns and what it calls a success: the best point, the last one judged, and what is left of a fit that was ended."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
from helpers import bits

import sciml_lux as lux

PS = lux.flatten.flatten({"x": 3.0})
ST = lux.State(calls=jnp.zeros(()))
TARGET = jnp.ones(())


def parabola(ps, st, batch):
    """`(x - batch)^2`, and a state that counts and shifts it a little."""
    return (ps["x"] - batch) ** 2 + 1e-3 * st["calls"], st.set("calls", st["calls"] + 1)


def square(ps, st, batch):
    return ps["x"] ** 2, st


def never(ps, st, batch):
    return jnp.nan * ps["x"], st


def walled(ps, st, batch):
    return jnp.where(ps["x"] < 0.0, jnp.nan, ps["x"] ** 2), st


def broken(ps, st, batch):
    raise ZeroDivisionError


def failure(function):
    with pytest.raises(lux.FitError) as caught:
        function()
    assert caught.value.fitted.result != optimistix.RESULTS.successful
    assert caught.value.fitted.message == str(caught.value)
    return caught.value.fitted


OPTIMIZERS = {
    "sgd": (optax.sgd(0.9), 12),  # which jumps over the minimum
    "adam": (optax.adam(0.8), 30),
    "BFGS": (optimistix.BFGS(1e-8, 1e-8), 30),
    "NelderMead": (optimistix.NelderMead(1e-6, 1e-6), 30),
    "OptaxMinimiser": (optimistix.OptaxMinimiser(optax.sgd(0.9), 1e-8, 1e-8), 30),
    "stages": ([(optax.sgd(0.9), 3), (optax.adam(0.5), 20)], None),
}


SLOW = ("NelderMead", "OptaxMinimiser")
COSTLY = (*SLOW, "BFGS", "stages")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in COSTLY)) for name in OPTIMIZERS]
)
def test_the_best_is_the_least_of_all_that_was_evaluated(name):
    optimizer, steps = OPTIMIZERS[name]
    fitted = lux.fit(parabola, PS, ST, optimizer, steps=steps, data=TARGET)
    everything = [*fitted.losses, fitted.value]
    assert fitted.best.value == np.nanmin(everything)
    if name not in SLOW:  # whose losses are those of other points than the one moved to
        assert everything[fitted.best.step] == fitted.best.value
    # It can be had again, and so can the value at the end.
    assert float(parabola(fitted.best.ps, fitted.best.st, TARGET)[0]) == pytest.approx(fitted.best.value, rel=1e-14)
    if name not in ("BFGS", *SLOW):  # which hold the state
        assert float(parabola(fitted.ps, fitted.st, TARGET)[0]) == pytest.approx(fitted.value, rel=1e-14)
    assert f"best {fitted.best.value:.4g}" in repr(fitted)


def test_the_best_of_batches_is_that_of_one_batch():
    batches = [np.asarray(value) for value in (0.0, 2.5, 5.0, 0.0)]
    fitted = lux.fit(parabola, PS, ST, optax.sgd(0.01), data=iter(batches))
    assert fitted.best.step == int(np.argmin(fitted.losses)) == 1
    assert float(parabola(fitted.best.ps, fitted.best.st, batches[1])[0]) == pytest.approx(fitted.best.value)


def test_a_last_step_that_leads_nowhere_is_no_success():
    ps = lux.flatten.flatten({"x": jnp.float32(1e3)})
    fitted = failure(lambda: lux.fit(square, ps, ST, optax.sgd(3e38), steps=1))
    assert "no point with a finite loss beside its start, in 1 steps" in fitted.message
    assert bits(fitted.ps) == bits(fitted.best.ps) == bits(ps)
    assert fitted.value == fitted.best.value == 1e6


def test_a_last_step_that_leads_nowhere_is_not_taken():
    fitted = lux.fit(walled, PS, ST, optax.sgd(0.45), steps=3)  # 3, 0.3, 0.03, ...
    over = lux.fit(walled, PS, ST, [(optax.sgd(0.45), 2), (optax.sgd(1.0), 1)])
    assert over.message == fitted.message == ""
    np.testing.assert_allclose(over.ps["x"], 0.03)
    assert over.value == over.losses[-1] == over.best.value


@pytest.mark.parametrize("data", ["whole", "batches"])
def test_a_loss_that_rises_is_no_success(data):
    given = {"data": TARGET, "steps": 60} if data == "whole" else {"data": iter([np.ones(())] * 60)}
    fitted = failure(lambda: lux.fit(parabola, PS, ST, optax.sgd(1.2), **given))
    assert "the loss rose from 4 to" in fitted.message.replace("4.06", "4")
    assert "error.fitted.best" in fitted.message
    assert (fitted.best.step, fitted.best.value) == (0, 4.0)
    np.testing.assert_array_equal(fitted.best.ps["x"], 3.0)
    assert fitted.value > 1e9


def test_harder_data_are_no_rise():
    # Each batch is harder than the one before, and the parameters better for it.
    batches = [np.asarray(3.0 + 0.1 * i) for i in range(60)]
    fitted = lux.fit(parabola, PS, ST, optax.sgd(0.02), data=iter(batches))
    assert fitted.losses[-1] > fitted.losses[5]
    assert fitted.message == ""


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optimistix.BFGS(1e-6, 1e-6)], ids=["sgd", "BFGS"])
def test_a_fit_that_took_no_step_is_no_success(optimizer):
    fitted = failure(lambda: lux.fit(never, PS, ST, optimizer, steps=9))
    assert "no step was taken: none of 9 losses" in fitted.message
    assert fitted.num_rejected == 9
    assert np.isnan([fitted.value, fitted.best.value]).all()
    assert bits(fitted.ps) == bits(PS)


# Every way out


def raising(error, number=40):
    def batches():
        for _ in range(number):
            yield np.ones(())
        raise error

    return batches()


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_what_a_loader_raises_carries_what_was_reached(error):
    with pytest.raises(type(error)) as caught:
        lux.fit(parabola, PS, ST, [(optax.sgd(0.1), 20), (optax.sgd(0.05), 100)], data=raising(error))
    fitted = caught.value.fitted
    # What came before an error is used; an interrupt is heard at once.
    assert len(fitted.losses) == 40 if isinstance(error, OSError) else 20 <= len(fitted.losses) < 40
    assert fitted.st["calls"] == len(fitted.losses)
    assert fitted.best.value == fitted.losses.min()
    assert f"ended by {type(error).__name__} after" in fitted.message
    assert fitted.result != optimistix.RESULTS.successful


@pytest.mark.parametrize(
    "optimizer",
    [optax.sgd(0.1), pytest.param(optimistix.BFGS(0.0, 0.0), marks=pytest.mark.slow)],
    ids=["sgd", "BFGS"],
)
def test_an_interrupt_between_chunks_carries_what_was_reached(optimizer, monkeypatch):
    calls = []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 2

    monkeypatch.setattr(lux.training._run, "_next_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        lux.fit(parabola, PS, ST, [(optax.sgd(0.1), 2), (optimizer, 50)], data=TARGET)
    fitted = caught.value.fitted
    assert len(fitted.losses) == 3  # 2 of the first stage, in two chunks, and the first chunk of the second
    assert fitted.best.value == fitted.losses.min()
    assert np.isfinite(fitted.ps.vector).all()


@pytest.mark.slow
def test_what_a_callback_raises_carries_what_was_reached():
    def checked(value):
        if value < 0.5:
            raise RuntimeError("too small")
        return value

    def loss(ps, st, batch):
        value, st = parabola(ps, st, batch)
        seen = jax.pure_callback(checked, jax.ShapeDtypeStruct((), value.dtype), jax.lax.stop_gradient(value))
        return value + 0.0 * jax.lax.stop_gradient(seen), st

    with pytest.raises(Exception, match="too small") as caught:
        lux.fit(loss, PS, ST, optax.sgd(0.05), steps=200, data=TARGET)
    fitted = caught.value.fitted
    assert 1 <= len(fitted.losses) < 30
    assert bits(fitted.ps) == bits(lux.fit(parabola, PS, ST, optax.sgd(0.05), steps=len(fitted.losses), data=TARGET).ps)


def test_what_a_loss_raises_carries_the_start():
    with pytest.raises(ZeroDivisionError) as caught:
        lux.fit(broken, PS, ST, [(optax.sgd(0.1), 5), (optax.adam(0.1), 5)])
    assert bits(caught.value.fitted.ps) == bits(PS)
    assert len(caught.value.fitted.losses) == 0
