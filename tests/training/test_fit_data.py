"""What a fit takes for data: loaders, tensors, buffers that are used again; and what it cannot take."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import bits, refused

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError
from sciml_lux.estimation import curve_fit
from sciml_lux.training._batches import Batches

PS = lux.flatten.flatten({"a": jnp.zeros(2)})
SGD = optax.sgd(0.1)


def loss(ps, st, batch):
    return jnp.mean((ps["a"][None] - batch["x"]) ** 2), st


def first(ps, st, batch):
    return 0.0 * ps["a"][0] + batch["x"][0, 0], st


def rows(number, size=2):
    return [{"x": np.full((size, 2), float(i))} for i in range(number)]


class Loader:
    """Something to loop over again and again, each time the same."""

    def __init__(self, batches):
        self.batches, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches)


class Tensor:
    """As much of a tensor of PyTorch as is looked at: it gives its numbers only once it is detached and on the host."""

    def __init__(self, array, ready=False):
        self.array, self.ready, self.dtype = array, ready, array.dtype

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self.array, ready=True)

    def __array__(self, dtype=None, copy=None):
        assert self.ready
        return self.array

    def __iter__(self):
        return iter(self.array)


def losses(data, **options):
    return lux.fit(first, PS, {}, SGD, data=data, throw=False, **options).losses


def test_a_buffer_that_is_used_again_is_copied_when_it_is_received():
    def loader():
        buffer = {"x": np.zeros((2, 2))}
        for i in range(40):
            buffer["x"][:] = i
            yield buffer

    np.testing.assert_array_equal(losses(loader()), np.arange(40.0))


@pytest.mark.parametrize("steps", [None, 3, 5, 13])
def test_a_loader_is_looped_over_once_or_as_often_as_there_are_steps(steps):
    loader = Loader(rows(5))
    expected = np.resize(np.arange(5.0), 5 if steps is None else steps)
    np.testing.assert_array_equal(losses(loader, **({} if steps is None else {"steps": steps})), expected)
    assert loader.passes == -(-len(expected) // 5)


def test_the_value_is_the_loss_on_the_last_batch():
    for data in (iter(rows(5)), Loader(rows(5))):
        assert lux.fit(first, PS, {}, SGD, data=data, throw=False).value == 4.0


def test_the_last_batch_of_a_loader_may_have_fewer_rows():
    batches = [*rows(3), {"x": np.full((1, 2), 3.0)}]
    np.testing.assert_array_equal(losses(Loader(batches), steps=9), np.resize(np.arange(4.0), 9))
    parts = ["gave {'x': 'float64[2, 3]'} after {'x': 'float64[2, 2]'}", "drop or pad"]
    refused(lambda: losses(Loader([*rows(3), {"x": np.zeros((2, 3))}])), ShapeError, *parts)


def test_tensors_are_arrays():
    array = np.arange(4.0).reshape(2, 2)
    plain = lux.fit(loss, PS, {}, SGD, data={"x": array}, steps=5)
    for data in ({"x": Tensor(array)}, Loader([{"x": Tensor(array)}])):
        fitted = lux.fit(loss, PS, {}, SGD, data=data, steps=5)
        assert bits(fitted.ps) == bits(plain.ps)


@pytest.mark.slow
def test_a_data_loader_of_pytorch():
    torch = pytest.importorskip("torch")
    x = torch.arange(100.0, dtype=torch.float64).reshape(50, 2).requires_grad_()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=16)
    fitted = lux.fit(
        lambda ps, st, batch: loss(ps, st, {"x": batch[0]}), PS, {}, SGD, data=loader, steps=10, throw=False
    )
    by_hand = [{"x": x.detach().numpy()[16 * (i % 4) : 16 * (i % 4 + 1)]} for i in range(10)]
    plain = lux.fit(loss, PS, {}, SGD, data=Loader(by_hand), steps=10, throw=False)
    np.testing.assert_allclose(fitted.losses, plain.losses)
    line = torch.linspace(0, 1, 9, dtype=torch.float64)
    np.testing.assert_allclose(curve_fit(lambda x, a: a * x, line, 2 * line, (1.0,)).values.a, 2.0)


def test_numbers_that_cannot_be_kept_are_refused():
    with jax.enable_x64(False):
        parts = ["data['ids'][1]: got 3000000000 of int64, which no int32 holds", "jax_enable_x64"]
        refused(lambda: Batches({"ids": [1, np.array([1, 3_000_000_000])]}), LayerError, *parts)
        refused(lambda: Batches({"x": np.array([1.0, 1e300])}), LayerError, "data['x']: got 1e+300", "float32")
        assert Batches({"x": np.array([1.0, np.inf, np.nan]), "n": np.array([7])}).first["x"].dtype == jnp.float32
    assert Batches({"ids": np.array([3_000_000_000])}).first["ids"][0] == 3_000_000_000


# What belongs to others is not read again after it was received


def aligned(numbers):
    """A copy of an array in memory that JAX takes over without a copy where it does so at all."""
    raw = np.zeros(numbers.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + numbers.nbytes].view(numbers.dtype).reshape(numbers.shape)
    array[...] = numbers
    return array


KEEPERS = {
    "FlatParams": lambda array, ps: lux.FlatParams(array, ps.layout).vector,
    "replace": lambda array, ps: ps.replace(array).vector,
    "set": lambda array, ps: ps.set("a", array).vector,
    "flatten": lambda array, ps: lux.flatten.flatten({"a": array}).vector,
    "declared": lambda array, ps: lux.setup(jax.random.key(0), lux.ParameterDict(a=lux.real(array)))[0].vector,
    "fixed": lambda array, ps: lux.flatten.flatten({"a": lux.fixed(array)})["a"],
    "whole data": lambda array, ps: Batches({"x": array}).first["x"],
    "a batch": lambda array, ps: Batches(iter([{"x": array}])).first["x"],
    "minibatches": lambda array, ps: next(lux.training.strategies.minibatches(array, 512, jax.random.key(0))).sum()[
        None
    ],
    "fit": lambda array, ps: (
        lux.fit(
            lambda ps, st, batch: (jnp.sum(ps["a"] * batch), st),
            ps,
            {},
            optax.sgd(-1.0),
            steps=1,
            data=array,
            throw=False,
        ).ps.vector
    ),
}


@pytest.mark.parametrize("name", KEEPERS)
def test_what_was_passed_as_an_array_may_be_written_into_afterwards(name):
    ps = lux.flatten.flatten({"a": jnp.zeros(512)})
    array = aligned(np.arange(512.0))
    kept = KEEPERS[name](array, ps)
    expected = np.asarray(kept).copy()
    array[:] = 77.0
    np.testing.assert_array_equal(np.asarray(kept), expected)


def test_minibatches_copy_their_rows_when_they_are_made():
    rows = np.arange(8.0)
    batches = lux.training.strategies.minibatches(rows, 8, jax.random.key(0))
    rows[:] = 77.0
    np.testing.assert_array_equal(np.sort(next(batches)), np.arange(8.0))
