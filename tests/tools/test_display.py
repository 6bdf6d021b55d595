"""What `print` shows of a model, and what `repr` does."""

import jax
import jax.numpy as jnp
import pytest
from members import LAYERS

import sciml_lux as lux
from sciml_lux.core import bytes_text


class Oscillator(lux.AbstractContainer):
    """A mechanistic term and a network in one equation."""

    rates: lux.ParameterDict
    friction: lux.Chain

    def initial_parameters(self, key):
        return {**super().initial_parameters(key), "share": lux.bounded(0.3, 0.0, 1.0), "offset": jnp.zeros(2)}

    def __call__(self, y, ps, st):
        force, friction = self.friction(y[1:], ps.friction, st.friction)
        return jnp.stack([y[1], -ps.rates.stiffness * y[0] - force[0]]), {**st, "friction": friction}


def network():
    block = lux.Chain(lux.Dense(64, 64, jnp.tanh, init_bias=lux.init.normal(std=1.0)), lux.BatchNorm(64))
    dense = lux.Dense(64, 64, jax.nn.gelu, use_bias=False)
    return lux.Chain(
        lux.Dense(8, 64), dense, dense, dense, jnp.tanh, blocks=lux.Chain(block, block), head=lux.Dense(64, 3)
    )


def science():
    rates = lux.ParameterDict(
        stiffness=lux.positive(1.0, unit="1/s^2"),
        level=lux.bounded((0.1, 0.4), 0.0, 1.0),
        mass=lux.fixed(2.0),
        shift=0.0,
    )
    return lux.NeuralODE(Oscillator(rates, lux.Chain(lux.Dense(1, 8, jnp.tanh), lux.Dense(8, 1))), t1=6.0)


def sharing():
    layers = [lux.Dense(3, 3, jnp.tanh) for _ in range(4)]
    return lux.Chain(
        lux.Share(lux.Chain(*layers), "layer_0", "layer_1", "layer_2", "layer_3"),
        lux.Frozen(lux.Dense(3, 3)),
        lux.WeightNorm(lux.Dense(3, 3)),
        lux.Repeated(lux.Dense(3, 3), 5),
    )


NETWORK = """\
layer                                            shapes                   parameters   states
---------------------------------------------------------------------------------------------
Chain                                                                         21,635      256
    layer_0: Dense(8, 64)                        weight[8,64], bias[64]          576
    layer_{1..3}: Dense(64, 64, jax.nn.gelu,     weight[64,64]             3 x 4,096
        use_bias=False)
    layer_4: WrappedFunction(jnp.tanh)
    blocks: Chain                                                              8,576      256
        layer_{0..1}: Chain                                                2 x 4,288  2 x 128
            layer_0: Dense(64, 64, jnp.tanh,     weight[64,64], bias[64]       4,160
                init_bias=init.normal(std=1.0))
            layer_1: BatchNorm(64)               weight[64], bias[64]            128      128
    head: Dense(64, 3)                           weight[64,3], bias[3]           195
---------------------------------------------------------------------------------------------
21,635 parameters: 173 kB of float64; 256 states: 2,048 bytes
"""

SCIENCE = """\
layer                                               shapes                    parameters  states
------------------------------------------------------------------------------------------------
NeuralODE(t1=6.0)                                                                     32       2
    model: Oscillator                               share Bounded(lower=0.0,          32
                                                    upper=1.0), offset[2]
        rates: ParameterDict                                                           4
            stiffness: positive(1.0, unit='1/s^2')                                     1
            level: bounded((0.1, 0.4), 0.0, 1.0)    [2]                                2
            mass: fixed(2.0)
            shift: real(0.0)                                                           1
        friction: Chain                                                               25
            layer_0: Dense(1, 8, jnp.tanh)          weight[1,8], bias[8]              16
            layer_1: Dense(8, 1)                    weight[8,1], bias[1]               9
------------------------------------------------------------------------------------------------
32 parameters: 256 bytes of float64; 2 states: 8 bytes
"""

SHARING = """\
layer                                                shapes                    parameters  states
-------------------------------------------------------------------------------------------------
Chain                                                                                  87      12
    layer_0: Share('layer_0', 'layer_1', 'layer_2',                                    12
        'layer_3')
        layer_0: Dense(3, 3, jnp.tanh)               weight[3,3], bias[3]              12
        layer_{1..3}: Dense(3, 3, jnp.tanh)          = layer_0.layer_0                  0
    layer_1: Frozen                                                                            12
        layer: Dense(3, 3)
    layer_2: WeightNorm                                                                15
        layer: Dense(3, 3)                           weight.direction[3,3],            15
                                                     weight.magnitude[1,3],
                                                     bias[3]
    layer_3: Repeated(5)                                                               60
        layer: Dense(3, 3)                           weight[5,3,3], bias[5,3]          60
-------------------------------------------------------------------------------------------------
87 parameters: 696 bytes of float64; 12 states: 96 bytes
"""


@pytest.mark.parametrize(("model", "expected"), [(network, NETWORK), (science, SCIENCE), (sharing, SHARING)])
def test_what_is_printed(model, expected):
    assert str(model()) == expected.rstrip()


def test_a_layer_alone():
    assert str(lux.Dense(2, 3, use_bias=False)).splitlines() == [
        "layer                        shapes       parameters",
        "----------------------------------------------------",
        "Dense(2, 3, use_bias=False)  weight[2,3]           6",
        "----------------------------------------------------",
        "6 parameters: 48 bytes of float64; 0 states: 0 bytes",
    ]
    assert str(lux.NoOp()).splitlines()[2] == "NoOp"


@pytest.mark.parametrize("member", LAYERS, ids=lambda member: member.name)
def test_every_layer_is_printed_within_the_width_and_adds_up(member):
    layer = member.make()
    lines = str(layer).splitlines()
    assert max(map(len, lines)) <= 100
    assert "\xa0" not in str(layer)
    parameters, states = lux.parameter_length(layer), lux.state_length(layer)
    assert lines[-1].startswith(f"{parameters:,} parameter")
    assert f"; {states:,} state" in lines[-1]


def calls(model) -> list[str]:
    """The names and calls that are printed below the top."""
    return [line.strip().partition("  ")[0] for line in str(model).splitlines()[3:-2]]


def test_equal_neighbours_are_one_line_if_their_numbers_follow_each_other():
    a, b = lux.Scale(2), lux.Scale(2, jnp.tanh)
    assert calls(lux.Chain(a, a, b, a, a)) == [
        "layer_{0..1}: Scale(2)",
        "layer_2: Scale(2, activation=jnp.tanh)",
        "layer_{3..4}: Scale(2)",
    ]
    assert calls(lux.Chain(*[a] * 11)) == ["layer_{0..10}: Scale(2)"]
    assert calls(lux.Chain(x1=a, x2=a, x4=a, y5=a)) == ["x{1..2}: Scale(2)", "x4: Scale(2)", "y5: Scale(2)"]
    assert calls(lux.Chain(encoder=a, decoder=a)) == ["encoder: Scale(2)", "decoder: Scale(2)"]
    assert calls(lux.Chain(x01=a, x02=a)) == ["x0{1..2}: Scale(2)"]
    assert calls(lux.Chain(lambda x: x, lambda x: x))[0].startswith("layer_0: ")  # two functions, shown alike


def test_any_container_folds_with_its_names():
    class Stack(lux.AbstractContainer):
        depth: int

        def children(self):
            return {f"block{i}": lux.Chain(lux.Dense(2, 2), jnp.tanh) for i in range(self.depth)}

    assert str(Stack(3)).splitlines()[2:-2] == [
        "Stack(3)                                                                  18",
        "    block{0..2}: Chain                                                 3 x 6",
        "        layer_0: Dense(2, 2)                weight[2,2], bias[2]           6",
        "        layer_1: WrappedFunction(jnp.tanh)",
    ]


def test_equal_layers_that_are_stored_differently_are_two():
    shared = lux.Share(lux.Chain(*[lux.Scale(2)] * 3), "layer_1", "layer_2")
    assert calls(shared) == ["layer_{0..1}: Scale(2)", "layer_2: Scale(2)"]
    assert "= layer_1 " in str(shared)


def test_long_calls_and_many_arrays_are_cut():
    class Many(lux.AbstractLayer):
        text: str

        def initial_parameters(self, key):
            return {f"array_{i}": jnp.zeros((2, i)) for i in range(20)}

    lines = str(lux.Chain(lux.Chain(deep=Many("word " * 100)))).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 20
    assert "... (20 arrays)" in str(lux.Chain(Many("")))
    assert " ..." in lines[7]


def test_deep_models_stay_readable():
    model = lux.Dense(3, 3, jax.nn.gelu)
    for _ in range(10):
        model = lux.Chain(model)
    lines = str(model).splitlines()
    assert max(map(len, lines)) <= 100
    assert "layer_0: Dense(3," in str(model)


def test_a_map_of_a_whole_layer_and_of_an_array():
    class Constrained(lux.AbstractLayer):
        def initial_parameters(self, key):
            return {"rate": lux.positive(0.5, unit="1/s"), "nested": {"matrix": lux.flatten.symmetric(jnp.eye(3))}}

    line = str(Constrained()).splitlines()[2]
    assert line.split() == ["Constrained", "rate", "Positive()", "1/s,", "nested.matrix[3,3]", "Symmetric()", "7"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (9_999, "9,999 bytes"),
        (10_000, "10 kB"),
        (154_321, "154 kB"),
        (1_000_000, "1 MB"),
        (25 * 10**12, "25 TB"),
    ],
)
def test_bytes(number, text):
    assert bytes_text(number) == text


def test_the_repr_names_equal_layers_by_their_place():
    dense = lux.Dense(2, 2)
    assert repr(lux.Chain(dense, dense, last=dense)).splitlines() == [
        "Chain(",
        "    Dense(2, 2),       # layer_0: 6 parameters",
        "    Dense(2, 2),       # layer_1: 6 parameters",
        "    last=Dense(2, 2),  # 6 parameters",
        ")                      # 18 parameters",
    ]


@pytest.mark.parametrize("model", [network, sharing])
def test_the_repr_still_builds_an_equal_model(model):
    assert eval(repr(model()), vars(lux) | {"jax": jax, "jnp": jnp}) == model()
