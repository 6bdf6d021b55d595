"""HybridODE: terms by name in one field and one vector; networks for parameters, starts and observations; state; refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError, PathError

TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def decay(t, y, terms):
    return -terms.rates.decay * y


def made(node):
    return node, *setup(node)


def rates():
    return lux.ParameterDict(decay=lux.positive(0.5, unit="1/h"))


def test_terms_are_layers_by_name_in_one_vector():
    node, ps, st = made(lux.HybridODE(learned, rates=rates(), network=lux.Dense(1, 1), t1=2.0, **TIGHT))
    assert [entry.path for entry in ps.layout.entries] == ["rates.decay", "network.weight", "network.bias"]
    assert "1/h" in str(ps.layout)
    assert ps.vector[0] == np.log(0.5)
    # dy/dt = -decay y + weight y + bias
    ps = ps.set("network.weight", jnp.asarray([[0.2]])).set("network.bias", jnp.asarray([0.3]))
    exact = lambda a, b: (1.0 - b / a) * np.exp(-2.0 * a) + b / a  # noqa: E731
    y1, _ = node(jnp.ones(1), ps, st)
    np.testing.assert_allclose(y1, exact(0.3, 0.3), rtol=1e-8)
    gradient = jax.jit(jax.grad(lambda ps: node(jnp.ones(1), ps, st)[0][0]))(ps)
    h = 1e-6
    in_a, in_b = (
        (exact(0.3 + h, 0.3) - exact(0.3 - h, 0.3)) / (2 * h),
        (exact(0.3, 0.3 + h) - exact(0.3, 0.3 - h)) / (2 * h),
    )
    np.testing.assert_allclose(gradient.vector, [0.5 * in_a, -in_a, in_b], rtol=1e-6)


def learned(t, y, terms):
    assert y.shape == (1,)
    return -terms.rates["decay"] * y + terms.network(y)


def test_it_is_the_neural_ode_of_the_same_field():
    class ByHand(lux.AbstractContainer):
        rates: lux.AbstractLayer
        network: lux.AbstractLayer

        def __call__(self, y, ps, st):
            correction, network = self.network(y, ps.network, st.network)
            return -ps.rates.decay * y + correction, {**st, "network": network}

    network = lux.MLP(1, (3,), 1, jnp.tanh)
    by_hand, hand_ps, hand_st = made(lux.NeuralODE(ByHand(rates(), network)))
    node, ps, st = made(lux.HybridODE(learned, rates=rates(), network=network))
    ps = ps.replace(hand_ps.vector)
    loss = lambda node, st: jax.jit(jax.value_and_grad(lambda ps: node(jnp.ones(1), ps, st)[0][0]))  # noqa: E731
    (value, gradient), (expected, expected_gradient) = loss(node, st)(ps), loss(by_hand, hand_st)(hand_ps)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(gradient.vector, expected_gradient.vector, rtol=1e-12)


def test_time_and_inputs():
    node, ps, st = made(lux.HybridODE(lambda t, y, terms, u: 2.0 * t + u + 0.0 * y, t1=2.0, **TIGHT))
    np.testing.assert_allclose(node(1.0, ps, st, inputs=lambda t: 3.0)[0], 1.0 + 4.0 + 6.0, rtol=1e-8)
    assert ps.vector.shape == (0,)


def test_the_start_may_be_parameters_the_state_a_dict_and_the_result_an_observation():
    def field(t, y, terms):
        flow = terms.rates.decay * y["donor"]
        return {"donor": -flow, "receiver": flow}

    node, ps, st = made(
        lux.HybridODE(
            field,
            rates=rates(),
            gain=lux.ParameterDict(factor=3.0),
            initial=lux.ParameterDict(donor=lux.positive(2.0, unit="mg"), receiver=0.5),
            observation=lambda y, terms: terms.gain.factor * y["receiver"],
            **TIGHT,
        )
    )
    assert ps["initial.donor"] == pytest.approx(2.0)
    ts = np.array([0.0, 0.4, 1.0])
    solution, _ = node.solve(None, ps, st, ts=ts)
    np.testing.assert_allclose(solution.ys, 3.0 * (0.5 + 2.0 * (1.0 - np.exp(-0.5 * ts))), rtol=1e-8)
    gradient = jax.grad(lambda ps: node(None, ps, st)[0])(ps)
    one = 1.0 - np.exp(-0.5)
    np.testing.assert_allclose(gradient["initial.receiver"], 3.0, rtol=1e-7)
    np.testing.assert_allclose(gradient["gain.factor"], 0.5 + 2.0 * one, rtol=1e-7)
    stored = dict(zip([entry.path for entry in ps.layout.entries], gradient.vector, strict=True))
    np.testing.assert_allclose(stored["initial.donor"], 2.0 * 3.0 * one, rtol=1e-7)  # of the logarithm


def test_networks_may_make_the_start_and_the_observation():
    encoder, head = lux.Dense(3, 2), lux.Dense(2, 1)
    node, ps, st = made(lux.HybridODE(decay, rates=rates(), initial=encoder, observation=head, t1=2.0, **TIGHT))
    x = jnp.asarray([0.2, -0.5, 1.0])
    start, _ = encoder(x, ps.initial, st.initial)
    expected, _ = head(start * np.exp(-1.0), ps.observation, st.observation)
    np.testing.assert_allclose(node(x, ps, st)[0], expected, rtol=1e-8)
    # A function instead, of a layer that the field may use as well.
    other, ps, st = made(
        lux.HybridODE(decay, rates=rates(), net=encoder, initial=lambda x, terms: terms.net(x), t1=2.0, **TIGHT)
    )
    start, _ = encoder(x, ps.net, st.net)
    np.testing.assert_allclose(other(x, ps, st)[0], start * np.exp(-1.0), rtol=1e-8)


class Counter(lux.AbstractLayer):
    """The number of calls before this one."""

    def initial_states(self, key):
        return {"calls": jnp.zeros(())}

    def __call__(self, x, ps, st):
        return st.calls + 0.0 * x, st.set("calls", st.calls + 1.0)


def test_state_is_constant_during_a_solve_and_advanced_once_per_call():
    def field(t, y, terms):
        return terms.counter(y) + 10.0 * terms.counter(y)  # the second call goes on from the first

    node, ps, st = made(lux.HybridODE(field, counter=Counter(), initial=Counter(), observation=Counter(), **TIGHT))
    call = jax.jit(node)
    for number in range(3):
        start, rate = float(number), 2.0 * number + 10.0 * (2.0 * number + 1.0)
        whole, _ = lux.HybridODE(field, counter=Counter(), initial=Counter(), **TIGHT).solve(1.0, ps, st)
        np.testing.assert_allclose(whole.ys[-1], start + rate, rtol=1e-8)
        y1, st = call(1.0, ps, st)
        np.testing.assert_allclose(y1, number)
        assert (st.counter.calls, st.initial.calls, st.observation.calls) == (2 * number + 2, number + 1, number + 1)


def test_the_layers_can_be_replaced():
    node = lux.HybridODE(decay, rates=rates(), net=lux.Dense(1, 1), observation=lux.Dense(1, 2), t1=2.0)
    other = lux.tools.replace_layer(lux.tools.replace_layer(node, "net", lux.Dense(1, 3)), "observation", lux.NoOp())
    assert other == lux.HybridODE(decay, rates=rates(), net=lux.Dense(1, 3), observation=lux.NoOp(), t1=2.0)
    assert node["net"] == lux.Dense(1, 1)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused():
    refused(lambda: lux.HybridODE(decay, rates=rates(), rtoll=1e-3), LayerError, "rtoll=0.001 is no layer", "rtol")
    refused(lambda: lux.HybridODE(decay, net=jnp.sin), LayerError, "net", "no layer")
    refused(lambda: lux.HybridODE(lux.Dense(1, 1)), LayerError, "model is a function")
    refused(lambda: lux.HybridODE(decay, rates=rates(), time=True), LayerError, "always given the time")
    refused(lambda: lux.HybridODE(decay, solution=rates()), LayerError, "solution")
    refused(lambda: lux.HybridODE(decay, rates=rates(), initial=3.0), LayerError, "initial")
    refused(lambda: lux.HybridODE(decay, rates=rates(), t1=0.0), LayerError, "span is empty")
    node, ps, st = made(lux.HybridODE(decay, rate=rates()))
    refused(lambda: node(1.0, ps, st), PathError, "no layer 'rates'; nearest: rate")
    node, ps, st = made(lux.HybridODE(lambda t, y, terms: jax.vmap(terms.counter)(y), counter=Counter()))
    refused(lambda: node(jnp.ones(2), ps, st), LayerError, "terms.counter changes its state inside a transformation")
