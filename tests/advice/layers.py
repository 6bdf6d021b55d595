"""What to write where the arguments or the parts of a layer are wrong."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from helpers import setup

import sciml_lux as lux

from .specimens import DENSE, KEY, PAIR, X, function_of_two, run


class Torch:
    """What a module of PyTorch looks like from outside."""

    def state_dict(self):
        return {"0.weight": np.ones((2, 2)), "0.bias": np.ones(2)}


class Module(eqx.Module):
    weight: object

    def method(self, x):
        return x


class Uncarried(lux.AbstractRecurrentCell):
    def __call__(self, x, ps, st):
        now, carry = x
        return (now + carry, now + carry), st


class Carried(Uncarried):
    def initial_carry(self, ps, batch_shape, dtype):
        return jnp.zeros((*batch_shape, 2), dtype)


CASES = [
    (
        "layers/containers/_function.py: write lux.WrappedFunction(jnp.sin)",
        lambda: lux.WrappedFunction(3),
        ({}, lambda layer: run(layer, X)),
    ),
    (
        "layers/containers/_function.py: write lux.WrappedFunction(lambda x: f(*x))",
        lambda: lux.WrappedFunction(function_of_two),
        lambda: run(lux.WrappedFunction(lambda x: function_of_two(*x)), PAIR),
    ),
    (
        "layers/containers/_named_layers.py: write {}(*layers)",
        lambda: lux.Chain([DENSE, DENSE]),
        ({"Chain": lux.Chain, "layers": [DENSE, DENSE]}, lambda layer: run(layer, X)),
    ),
    (
        "layers/containers/_named_layers.py: write {}(*layers)",
        lambda: lux.Branch((DENSE, DENSE)),
        ({"Branch": lux.Branch, "layers": [DENSE, DENSE]}, lambda layer: run(layer, X)),
    ),
    (
        "layers/containers/_named_layers.py: write {}(**layers)",
        lambda: lux.Chain({"a": DENSE}),
        ({"Chain": lux.Chain, "layers": {"a": DENSE}}, lambda layer: run(layer, X)),
    ),
    (
        "layers/containers/_named_layers.py: write lux.NoOp()",
        lambda: lux.Chain(None),
        lambda: run(lux.Chain(lux.NoOp()), X),
    ),
    (
        "layers/containers/_named_layers.py: write lux.Dense(2, 3)",
        lambda: lux.Chain(X),
        lambda: run(lux.Chain(lux.Dense(2, 3)), X),
    ),
    (
        "layers/containers/_named_layers.py: write {}(...), with its",
        lambda: lux.Chain(lux.Dense),
        lambda: run(lux.Chain(lux.Dense(2, 2)), X),
    ),
    (
        "layers/containers/_side_by_side.py: write lux.Branch",
        lambda: run(lux.Parallel(DENSE, DENSE), (X,)),
        lambda: run(lux.Branch(DENSE, DENSE), X),
    ),
    ("layers/linear/_maxout.py: write lux.Maxout(", lambda: lux.Maxout(), ({}, lambda layer: run(layer, jnp.ones(3)))),
    (
        "layers/convolution/_checks.py: Write {}=({},) for series",
        lambda: lux.Conv(1, 1, 3),
        lambda: [lux.Conv(1, 1, kernel_size=(3,)), lux.Conv(1, 1, kernel_size=(3, 3))],
    ),
    ("layers/convolution/_pad.py: write Pad((1,))", lambda: lux.Pad(1), lambda: [lux.Pad((1,)), lux.Pad((1, 1))]),
    (
        'layers/convolution/_pad.py: write padding_mode="zeros"',
        lambda: run(lux.Pad((1,), padding_mode="edge"), jnp.ones((0, 2))),
        lambda: run(lux.Pad((1,), padding_mode="zeros"), jnp.ones((0, 2))),
    ),
    (
        'layers/convolution/_upsample.py: write mode="linear"',
        lambda: lux.Upsample((2,), mode="nearest", align_corners=True),
        lambda: lux.Upsample((2,), mode="linear", align_corners=True),
    ),
    (
        'layers/normalization/_weight_norm.py: write names=("weight",)',
        lambda: lux.WeightNorm(DENSE, names="weight"),
        lambda: run(lux.WeightNorm(DENSE, names=("weight",)), X),
    ),
    (
        "layers/recurrent/_recurrence.py: write (forward_carry, None)",
        lambda: lux.Bidirectional(lux.RNNCell(2, 2)).run(
            jnp.ones((3, 2)), *setup(lux.Bidirectional(lux.RNNCell(2, 2))), carry=X
        ),
        lambda: lux.Bidirectional(lux.RNNCell(2, 2)).run(
            jnp.ones((3, 2)), *setup(lux.Bidirectional(lux.RNNCell(2, 2))), carry=(X, None)
        ),
    ),
    (
        "layers/attention/_attention.py: write None for all",
        lambda: lux.MultiHeadAttention(2, 1, window="all"),
        lambda: lux.MultiHeadAttention(2, 1, window=None),
    ),
    (
        "layers/custom/_compact.py: write @lux.compact(...) above a def",
        lambda: lux.compact(DENSE),
        lambda: run(lux.compact(lambda self, x: self.inner(x), inner=DENSE), X),
    ),
    (
        "layers/custom/_compact.py: write {}(...), with its",
        lambda: lux.compact(lambda self, x: x, inner=lux.Dense),
        lambda: lux.compact(lambda self, x: x, inner=lux.Dense(2, 2)),
    ),
    (
        "layers/custom/_compact.py: Write lux.state()",
        lambda: lux.compact(lambda self, x: x, key=KEY),
        lambda: run(lux.compact(lambda self, x: x, key=lux.state()), X),
    ),
    (
        "layers/custom/_compact.py: Write .astype(float)",
        lambda: lux.compact(lambda self, x: x, a=np.arange(2)),
        lambda: [
            run(lux.compact(lambda self, x: x, a=np.arange(2).astype(float)), X),
            run(lux.compact(lambda self, x: x, a=(0, 1)), X),
        ],
    ),
    (
        "layers/custom/_compact.py: write a tuple for a list",
        lambda: lux.compact(lambda self, x: x, a=[1]),
        lambda: lux.compact(lambda self, x: x, a=(1,)),
    ),
    (
        "layers/attention/_attention.py: write mask != 0, or bias=mask",
        lambda: run(lux.MultiHeadAttention(2, 1), (jnp.ones((3, 2)), jnp.ones((3, 3)))),
        lambda: [
            run(lux.MultiHeadAttention(2, 1), (jnp.ones((3, 2)), jnp.ones((3, 3)) != 0)),
            lux.scaled_dot_product_attention(*[jnp.ones((3, 1, 2))] * 3, bias=jnp.ones((3, 3))),
        ],
    ),
    (
        "layers/attention/_attention.py: write valid[..., None, None, :]",
        lambda: run(lux.MultiHeadAttention(2, 1), (jnp.ones((2, 3, 2)), jnp.ones((2, 3), bool))),
        (
            {"valid": jnp.ones((2, 3), bool)},
            lambda mask: run(lux.MultiHeadAttention(2, 1), (jnp.ones((2, 3, 2)), mask)),
        ),
    ),
    (
        "layers/recurrent/_gated_cell.py: write cell.initial_carry(ps, batch_shape, x.dtype)",
        lambda: run(lux.RNNCell(2, 2), (X, jnp.ones(3))),
        (
            {"cell": lux.RNNCell(2, 2), "ps": setup(lux.RNNCell(2, 2))[0], "batch_shape": (), "x": X},
            lambda carry: run(lux.RNNCell(2, 2), (X, carry)),
        ),
    ),
    (
        "layers/recurrent/_stateful_cell.py: write StatefulRecurrentCell(cell, batch_shape={})",
        lambda: run(lux.StatefulRecurrentCell(lux.RNNCell(2, 2)), jnp.ones((3, 2))),
        (
            {"StatefulRecurrentCell": lux.StatefulRecurrentCell, "cell": lux.RNNCell(2, 2)},
            lambda layer: run(layer, jnp.ones((3, 2))),
        ),
    ),
    (
        "layers/linear/_mlp.py: write a lux.Chain of lux.SkipConnection",
        lambda: lux.MLP(2, (2,), 2, residual=True).with_children({}),
        lambda: run(lux.Chain(lux.SkipConnection(DENSE, jnp.add)), X),
    ),
    (
        "tools/porting/_convert.py: write model.state_dict()",
        lambda: lux.tools.from_torch(Torch(), DENSE),
        ({"model": Torch()}, lambda arrays: lux.tools.from_torch(arrays, DENSE)),
    ),
    (
        "tools/foreign/_equinox.py: write lux.tools.from_pytree(module",
        lambda: lux.tools.from_equinox(Module(X)),
        ({"module": Module(X)}, None),
    ),
    (
        "tools/porting/_normalization.py: write {}(...) around each",
        lambda: lux.tools.from_torch({}, lux.WeightNorm(lux.Chain(DENSE), names=("layer_0.weight",))),
        lambda: run(lux.Chain(lux.WeightNorm(DENSE, names=("weight",))), X),
    ),
    (
        "layers/recurrent/_cell.py: write one that returns an array",
        lambda: run(lux.Recurrence(Uncarried()), jnp.ones((3, 2))),
        lambda: run(lux.Recurrence(Carried()), jnp.ones((3, 2))),
    ),
    (
        "layers/recurrent/_gated_cell.py: write one that returns the next carry",
        lambda: lux.layers.recurrent._gated_cell.AbstractGatedCell.advance(lux.RNNCell(2, 2), (), (), ()),
        lambda: run(lux.Recurrence(lux.RNNCell(2, 2)), jnp.ones((3, 2))),
    ),
]
