"""What others write into after they gave it changes nothing: loaders, SciPy and PyTorch use their buffers again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml_lux as lux

TIMES = np.linspace(0.0, 1.0, 64)
PS, ST = lux.setup(jax.random.key(0), lux.Dense(8, 7))


def buffer(values):
    """A copy of `values` that JAX would take as it is, without copying: it begins where 64 divides its address."""
    values = np.asarray(values)
    room = np.empty(values.nbytes + 64, np.uint8)
    begin = -room.ctypes.data % 64
    made = room[begin : begin + values.nbytes].view(values.dtype).reshape(values.shape)
    made[...] = values
    return made


class Tensor:
    """As much of a tensor of PyTorch's as is read: it shares its memory."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.array


def port(weight):
    tensors = {"weight": Tensor(weight.T), "bias": Tensor(buffer(np.zeros(7)))}
    return lux.tools.from_torch(tensors, lux.Dense(8, 7))


# What is given arrays and returns something that lives on: the arrays, and what is made of them.
RECEIVERS = {
    "FlatParams": ([PS.vector], lambda vector: lux.FlatParams(vector, PS.layout)),
    "replace": ([PS.vector], PS.replace),
    "set": ([PS["weight"]], lambda weight: PS.set("weight", weight)),
    "flatten": ([np.ones(64)], lambda a: lux.flatten.flatten({"a": a})),
    "Params": ([np.ones(64)], lambda a: lux.Params(a=a)),
    "Params.set": ([PS["weight"]], lambda weight: PS.params.set("weight", weight)),
    "State.set": ([np.ones(64)], lambda a: lux.State(a=jnp.zeros(64)).set("a", a)),
    "update_state": ([np.ones(64)], lambda a: lux.update_state(lux.State(a=jnp.zeros(64)), "a", a)),
    "stack": ([PS.vector, PS.vector], lambda *vectors: lux.flatten.stack([PS.replace(vector) for vector in vectors])),
    "from_torch": ([np.ones((8, 7))], port),
    "linear_input": ([TIMES, TIMES], lux.solvers.linear_input),
    "hold_input": ([TIMES, TIMES], lux.solvers.hold_input),
    "cubic_input": ([TIMES, TIMES], lux.solvers.cubic_input),
    "series": ([TIMES, TIMES[:, None]], lux.training.strategies.series),
    "series from y0": (
        [TIMES, TIMES[:, None], np.ones(1)],
        lambda ts, ys, y0: lux.training.strategies.series(ts, ys, y0=y0),
    ),
    "series with doses": (
        [TIMES, TIMES[:, None], TIMES[1:5], np.ones((4, 1))],
        lambda ts, ys, *doses: lux.training.strategies.series(ts, ys, doses=doses),
    ),
    "series with inputs": (
        [TIMES, TIMES[:, None], np.ones(3)],
        lambda ts, ys, inputs: lux.training.strategies.series(ts, ys, inputs=inputs),
    ),
}


@pytest.mark.parametrize("name", RECEIVERS)
def test_what_is_received_is_copied(name):
    given, receive = RECEIVERS[name]
    buffers = [buffer(array) for array in given]
    kept = receive(*buffers)
    before = jax.tree.map(np.array, kept)
    for array in buffers:
        array[...] = -77
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, kept))
    assert all(np.all(np.asarray(leaf) != -77) for leaf in jax.tree.leaves(kept))
