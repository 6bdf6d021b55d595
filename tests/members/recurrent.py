"""Layers of `sciml_lux.layers.recurrent`."""

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

from .base import Layer, array


class Leaky(lux.AbstractRecurrentCell):
    """What a user writes: a carry with a scalar beside the hidden state, a bounded parameter, noise and a counter in the state."""

    features: int

    def initial_parameters(self, key):
        return {"rate": lux.bounded(jnp.full(self.features, 0.1), 0.0, 1.0)}

    def initial_states(self, key):
        return {"key": key, "steps": jnp.zeros((), jnp.int32), "training": lux.Training()}

    def initial_carry(self, ps, batch_shape, dtype):
        return {"value": jnp.zeros((*batch_shape, self.features), dtype), "total": jnp.zeros(batch_shape, dtype)}

    def __call__(self, x_and_carry, ps, st):
        x, carry = x_and_carry
        now, later = jax.random.split(st.key)
        value = carry["value"] + jnp.broadcast_to(ps.rate, x.shape) * (x - carry["value"])
        noise = jax.random.normal(now, x.shape, x.dtype) if st.training else jnp.zeros_like(x)
        carry = {"value": value, "total": carry["total"] + jnp.sum(value, -1)}
        y = value * carry["total"][..., None] + noise
        return (y, carry), {"key": later, "steps": st.steps + 1, "training": st.training}


custom = {"Leaky": Leaky}
mask = jnp.asarray(np.array([[1, 1, 0, 1], [0, 1, 1, 0]]), bool)
mixed = lux.RNNCell(3, 2), lux.GRUCell(3, 2)

LAYERS = [
    Layer("RNNCell", lambda: lux.RNNCell(3, 2), (array(4, 3), array(4, 2))),
    Layer("RNNCell of relu", lambda: lux.RNNCell(3, 2, activation=jax.nn.relu), (array(3), array(2)), slow=True),
    Layer("LSTMCell", lambda: lux.LSTMCell(3, 2), (array(4, 3), (array(4, 2), 0.3 * array(4, 2)))),
    Layer(
        "LSTMCell without bias", lambda: lux.LSTMCell(3, 2, use_bias=False), (array(3), (array(2), array(2))), slow=True
    ),
    Layer("GRUCell", lambda: lux.GRUCell(3, 2), (array(2, 2, 3), array(2, 2, 2))),
    Layer("GRUCell without bias", lambda: lux.GRUCell(3, 2, use_bias=False), (array(3), array(2)), slow=True),
    Layer(
        "GRUCell resetting before",
        lambda: lux.GRUCell(3, 2, reset_before=True),
        (array(2, 3), array(2, 2)),
        slow=True,
    ),
    Layer(
        "Recurrence resetting before",
        lambda: lux.Recurrence(lux.GRUCell(3, 2, reset_before=True)),
        (array(2, 4, 3), mask),
        slow=True,
    ),
    Layer("Recurrence", lambda: lux.Recurrence(lux.LSTMCell(3, 2)), array(2, 4, 3)),
    Layer(
        "Recurrence, reverse, last",
        lambda: lux.Recurrence(lux.GRUCell(3, 2, train_carry=True), return_sequence=False, reverse=True),
        array(4, 3),
        slow=True,
    ),
    Layer(
        "Recurrence, masked",
        lambda: lux.Recurrence(lux.LSTMCell(3, 2, train_carry=True), unroll=2),
        (array(2, 4, 3), mask),
    ),
    Layer("Recurrence of a user's cell", lambda: lux.Recurrence(Leaky(3)), array(2, 4, 3), names=custom),
    Layer(
        "Recurrence of a user's cell, masked, last",
        lambda: lux.Recurrence(Leaky(3), return_sequence=False),
        (array(2, 4, 3), mask),
        names=custom,
        slow=True,
    ),
    Layer("Bidirectional", lambda: lux.Bidirectional(lux.LSTMCell(3, 2)), (array(2, 4, 3), mask)),
    Layer("Bidirectional, last", lambda: lux.Bidirectional(*mixed, return_sequence=False), array(4, 3), slow=True),
    Layer("StatefulRecurrentCell", lambda: lux.StatefulRecurrentCell(lux.LSTMCell(3, 2, train_carry=True)), array(3)),
    Layer(
        "StatefulRecurrentCell of a batch",
        lambda: lux.StatefulRecurrentCell(lux.GRUCell(3, 2), batch_shape=(2,)),
        array(2, 3),
        slow=True,
    ),
]
