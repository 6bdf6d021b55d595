"""`lux.tools.summary`: output shapes, operations and memory, layer by layer."""

import html.parser

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused
from members import LAYERS

import sciml_lux as lux
from sciml_lux import LayerError, ShapeError


class Fork(lux.AbstractContainer):
    """A user's container, whose result is a dictionary, and one of whose layers is not called."""

    left: lux.AbstractLayer
    right: lux.AbstractLayer
    spare: lux.AbstractLayer

    def __call__(self, x, ps, st):
        left, left_state = self.left(x, ps.left, st.left)
        right, right_state = self.right(left, ps.right, st.right)
        return {"<left>": left, "right": right}, {**st, "left": left_state, "right": right_state}


def network():
    return lux.Chain(lux.Dense(8, 16, jnp.tanh), out=lux.Chain(lux.Dense(16, 4, use_bias=False), jnp.abs))


def by_path(summary):
    return {layer.path: layer for layer in summary.layers}


def test_what_is_printed():
    text = str(lux.tools.summary(network(), (32, 8)))
    assert text.splitlines()[:-1] == [
        "path         layer                         output    parameters  states   FLOPs",
        "-------------------------------------------------------------------------------",
        "(the top)    Chain                         (32, 4)          208       0  12,928",
        "layer_0      Dense(8, 16, jnp.tanh)        (32, 16)         144       0   8,704",
        "out          Chain                         (32, 4)           64       0   4,224",
        "out.layer_0  Dense(16, 4, use_bias=False)  (32, 4)           64       0   4,096",
        "out.layer_1  WrappedFunction(jnp.abs)      (32, 4)            0       0     128",
        "-------------------------------------------------------------------------------",
        "208 parameters: 1,664 bytes of float64; 0 states: 0 bytes",
        "forward: 12,928 FLOPs",
    ]
    assert text.splitlines()[-1].startswith("memory: 3,712 bytes of arguments, 1,024 bytes of results, ")
    assert repr(lux.tools.summary(network(), (32, 8))) == text


@pytest.mark.parametrize(("batch", "features", "outputs"), [(1, 3, 5), (32, 8, 16), (7, 64, 1)])
def test_the_operations_of_a_matrix_product(batch, features, outputs):
    summary = lux.tools.summary(
        lux.Chain(lux.Dense(features, outputs, use_bias=False)), (batch, features), gradient=True
    )
    product = 2 * batch * features * outputs
    assert [layer.flops for layer in summary.layers] == [product, product]
    assert summary.flops == product
    # The gradient with respect to the weight is one more product; the results are added up.
    assert 2 * product <= summary.gradient_flops <= 2 * product + 2 * batch * outputs


def test_the_operations_of_a_convolution():
    def convolve(x):
        kernel = jnp.ones((3, 3, 2, 5))
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    summary = lux.tools.summary(lux.Chain(convolve), (4, 8, 8, 2))
    assert summary.layers[1].output == (4, 6, 6, 5)
    assert summary.layers[1].flops == 2 * (4 * 6 * 6 * 5) * (3 * 3 * 2)


def test_all_passes_of_a_scan_are_counted():
    layer = lux.Dense(16, 16, use_bias=False)
    repeated = lux.tools.summary(lux.Repeated(layer, 10), (32, 16))
    once = 2 * 32 * 16 * 16
    assert by_path(repeated)["layer"].flops == once
    assert by_path(repeated)["layer"].output == (32, 16)
    np.testing.assert_allclose(repeated.flops, 10 * once, rtol=0.01)  # and some counting of the loop itself
    nested = lux.tools.summary(lux.Chain(lux.Repeated(lux.Repeated(layer, 3), 5)), (32, 16))
    np.testing.assert_allclose(nested.flops, 15 * once, rtol=0.01)
    np.testing.assert_allclose(by_path(nested)["layer_0"].flops, 15 * once, rtol=0.01)
    assert not nested.partial


def test_loops_of_unknown_length_are_said_to_count_once():
    node = lux.NeuralODE(lux.Chain(lux.Dense(2, 3, jnp.tanh), lux.Dense(3, 2)))
    summary = lux.tools.summary(node, (2,))
    assert summary.partial
    assert "(loops of unknown length counted as one pass)" in str(summary)
    assert by_path(summary)["model.layer_0"].output == (3,)


def test_a_users_container_and_a_layer_that_is_not_called():
    layers = by_path(lux.tools.summary(Fork(lux.Dense(3, 2), lux.Scale(2), lux.Scale(4)), (5, 3)))
    assert list(layers) == ["", "left", "right", "spare"]
    assert layers[""].output == {"<left>": (5, 2), "right": (5, 2)}
    assert layers["right"].output == (5, 2)
    assert layers["spare"].output is None
    assert layers["spare"].flops is None
    assert (layers["spare"].parameters, layers[""].parameters) == (8, 20)


def test_inputs_of_any_kind_and_parameters_of_another_dtype():
    lookup = lux.Chain(lambda x: x["table"][x["index"]])
    x = {"table": jax.ShapeDtypeStruct((10, 4), jnp.float32), "index": jax.ShapeDtypeStruct((3,), jnp.int32)}
    assert lux.tools.summary(lookup, x).layers[0].output == (3, 4)
    half, double = (lux.tools.summary(network(), (32, 8), dtype=dtype) for dtype in (jnp.float32, jnp.float64))
    assert half.output_bytes == double.output_bytes // 2 == 512
    assert "832 bytes of float32" in str(half)


def test_memory():
    summary = lux.tools.summary(network(), (32, 8))
    assert summary.argument_bytes == 8 * (32 * 8 + 208)
    assert summary.output_bytes == 8 * 32 * 4
    assert summary.temporary_bytes >= 0


@pytest.mark.parametrize("member", LAYERS, ids=lambda member: member.name)
def test_the_shapes_are_those_of_output_shape(member):
    """Only recorded, not compiled."""
    layer = member.make()
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), member.x)
    ps, st = jax.eval_shape(lambda: lux.setup(jax.random.key(0), layer))
    calls = lux.tools.display._record.record_calls(layer, x, ps, st)
    assert calls[""].output == lux.output_shape(layer, x)
    known = {path for path, _ in lux.core.node_of(layer).walk()}
    assert set(calls) <= known


class Reader(html.parser.HTMLParser):
    """Checks that tags are closed in order, and keeps the texts of the cells by row."""

    def __init__(self):
        super().__init__()
        self.open, self.rows = [], []

    def handle_starttag(self, tag, attrs):
        if tag == "br":
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.rows[-1][-1] += data


def test_the_table_of_a_notebook():
    summary = lux.tools.summary(Fork(lux.Dense(3, 2), lux.WrappedFunction(lambda x: x), lux.Scale(4)), (5, 3))
    reader = Reader()
    reader.feed(summary._repr_html_())
    reader.close()
    assert not reader.open
    assert reader.rows[0] == ["path", "layer", "output", "parameters", "states", "FLOPs"]
    assert reader.rows[1][2] == "{'<left>': (5, 2), 'right': (5, 2)}"
    assert reader.rows[3][1].startswith("WrappedFunction(<lambda test_summary.py:")
    assert reader.rows[4] == ["spare", "Scale(4)", "not called", "8", "0", "?"]
    assert len(reader.rows) == 6
    assert reader.rows[5][0].startswith("16 parameters: 128 bytes")


def test_it_is_a_value():
    assert lux.tools.summary(network(), (32, 8)) == lux.tools.summary(network(), (32, 8))


def test_what_it_refuses(unchecked):
    refused(
        lambda: lux.tools.summary(network(), (32, 7)), ShapeError, "expects 8 features", "in layer layer_0: Dense(8, 16"
    )
    refused(lambda: lux.tools.summary(jnp.tanh, (32, 7)), LayerError, "expected a layer")
