"""Each "write ..." of a message is followed, and leads to success; a message whose advice nothing follows fails the last test here."""

import ast
import functools
import pathlib
import re

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import message_of, setup

import sciml_lux as lux
from sciml_lux.estimation._curve_fit import _declare_bounds
from sciml_lux.estimation._evaluate import call_residual
from sciml_lux.flatten import FlatParams
from sciml_lux.training import losses, strategies

pytestmark = pytest.mark.usefixtures("unchecked")

SOURCES = pathlib.Path(lux.__file__).parent
TESTS = pathlib.Path(__file__).parent
KEY = jax.random.key(0)
DENSE = lux.Dense(2, 2)
PS, ST = setup(DENSE)
X = jnp.ones(2)
PAIR = (jnp.ones(2), jnp.ones(2))
TS, YS = np.linspace(0.0, 1.0, 5), np.ones((5, 2))
NODE = lux.NeuralODE(DENSE)


def run(layer, x, **given):
    """A call of a layer, traced but not compiled."""
    ps, st = setup(layer)
    return jax.eval_shape(lambda x, ps, st: layer(x, ps, st, **given)[0], x, ps, st)


def called(layer, x):
    """A call for numbers, as what is no array cannot be traced."""
    return layer(x, *setup(layer))


def evaluated(text, **names):
    """What the first expression of a text gives."""
    text = text.split("\n")[0]
    ends = re.finditer(r"[,;]|\.? (?:[fF]or|if|with|which|to|or|in)\b|\.$", text)
    for end in sorted((len(text), *(place.start() for place in ends)), reverse=True):
        try:
            code = compile(text[:end].rstrip(",;"), "advice", "eval")
        except SyntaxError:
            continue
        return eval(code, {"lux": lux, "jnp": jnp, "jax": jax, "np": np, "diffrax": diffrax, **names})
    raise AssertionError(f"nothing to run in {text!r}")


def function_of_two(a, b):
    return -b


class Named(lux.AbstractLayer):
    """A layer whose call returns what a function makes."""

    result: object

    def initial_states(self, key):
        return {"count": jnp.zeros(())}

    def __call__(self, x, ps, st):
        return self.result(x, st)


class Declares(lux.AbstractLayer):
    value: object

    def initial_parameters(self, key):
        return {"a": self.value()}


class Holds(lux.AbstractContainer):
    field: object


class Tensor:
    """What a tensor of PyTorch looks like from outside."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.values


def rows(*lengths):
    return [[1.0] * length for length in lengths]


class Hidden(lux.AbstractContainer):
    """Makes its layers itself."""

    def children(self):
        return {"inner": DENSE}


class Shown(Hidden):
    def with_children(self, children):
        return lux.Chain(**children)


class Unwritten(lux.solvers.AbstractODE):
    """An adapter that lacks its equation."""


class Written(lux.solvers.AbstractODE):
    def derivative(self, t, y, params, state, inputs):
        dy, model = self.model(y, params["model"], state["model"])
        return dy, lux.State(model=model)


class Torch:
    """What a module of PyTorch looks like from outside."""

    def state_dict(self):
        return {"0.weight": np.ones((2, 2)), "0.bias": np.ones(2)}


class Module(eqx.Module):
    weight: object

    def method(self, x):
        return x


SGD = optax.sgd(0.1)
SHOOTING = strategies.MultipleShooting(NODE, 2, 2)
WHOLE = {"windows": strategies.windows, "series": strategies.series, "ts": TS, "ys": YS}
DRUG = lux.JumpODE(DENSE)


def squares(ps, st, batch):
    return jnp.sum(ps.vector**2), st


def mean_square(ps, st, batch):
    x, y = batch
    prediction, st = DENSE(x, ps, st)
    return jnp.mean((prediction - y) ** 2), st


def fit(loss, **given):
    return lux.fit(loss, PS, ST, SGD, steps=1, **given)


def least_squares(residual):
    return call_residual(residual, PS, ST, None)


def halved(pair):
    return jax.tree.map(lambda leaf: 0.5 * leaf, pair[0])


def nested(depth):
    layer = DENSE
    for _ in range(depth):
        layer = lux.Chain(layer)
    return layer


def slope(node, derivative=jax.grad):
    """A function that differentiates a solve twice."""
    ps, st = setup(node)
    once = derivative(lambda y: jnp.sum(node(y, ps, st)[0] ** 2))
    return derivative(lambda y: jnp.sum(once(y)))


def slope_in_times(node, derivative):
    ps, st = setup(node)
    once = jax.grad(lambda ts: jnp.sum(node.solve(X, ps, st, ts=ts)[0].ys ** 2))
    return derivative(lambda ts: jnp.sum(once(ts)))


def lower(function, x):
    """What is refused when a program is made, before it is compiled."""
    return jax.jit(function).lower(x)


BENT = lux.Dense(2, 2, jnp.tanh)
BENT_NODE = lux.NeuralODE(BENT)
DIRECT = lux.NeuralODE(BENT, adjoint=diffrax.DirectAdjoint(), max_steps=8)
CHECKPOINTED = lux.NeuralODE(BENT, adjoint=diffrax.RecursiveCheckpointAdjoint(), max_steps=8)


class Uncarried(lux.AbstractRecurrentCell):
    def __call__(self, x, ps, st):
        now, carry = x
        return (now + carry, now + carry), st


class Carried(Uncarried):
    def initial_carry(self, ps, batch_shape, dtype):
        return jnp.zeros((*batch_shape, 2), dtype)


# (file: what the message says, as in the source), a call that raises it, and what it says, done. That is a function, or, where what is
# said is an expression to be run as it stands, what the names in it stand for and what is done with its value.
CASES = [
    # How layers are called
    ("core/_call.py: write layer(x, ps, st)", lambda: DENSE(X, PS), lambda: DENSE(X, *lux.setup(KEY, DENSE))),
    ("core/_call.py: write layer(x, ps, st)", lambda: DENSE(X), lambda: DENSE(X, *lux.setup(KEY, DENSE))),
    ("core/_call.py: write layer(x, ps, st)", lambda: DENSE(PS, X, ST), lambda: DENSE(X, *lux.setup(KEY, DENSE))),
    ("core/_call.py: write layer(x, ps, st)", lambda: DENSE(X, ST, PS), lambda: DENSE(X, *lux.setup(KEY, DENSE))),
    (
        "core/_call.py: Write `return y, st`",
        lambda: run(Named(lambda x, st: x), X),
        lambda: run(Named(lambda x, st: (x, st)), X),
    ),
    (
        "core/_call.py: Write `return y, st`, or `return y, st.set(name, value)`",
        lambda: run(Named(lambda x, st: (x, {})), X),
        lambda: run(Named(lambda x, st: (x, st.set("count", st["count"] + 1))), X),
    ),
    (
        "core/_fits.py: Write ps, st = lux.setup(key, layer)",
        lambda: DENSE(X, setup(lux.Dense(3, 2))[0], ST),
        lambda: DENSE(X, lux.flatten.transplant(setup(lux.Dense(3, 2))[0], lux.setup(KEY, DENSE)[0])[0], ST),
    ),
    (
        "core/_fits.py: write jnp.asarray(value)",
        lambda: DENSE(X, {"weight": jnp.ones((2, 2)), "bias": [1.0, 2.0]}, ST),
        ({"value": [1.0, 2.0]}, lambda value: DENSE(X, PS.set("bias", value), ST)),
    ),
    (
        "core/_fits.py: write jnp.asarray(value.detach",
        lambda: DENSE(X, {"weight": jnp.ones((2, 2)), "bias": Tensor([1.0, 2.0])}, ST),
        ({"value": Tensor([1.0, 2.0])}, lambda value: DENSE(X, PS.set("bias", value), ST)),
    ),
    (
        "core/_layer.py: write one that returns (y, st)",
        lambda: called(Declares(lambda: 1.0), X),
        lambda: run(Named(lambda x, st: (x, st)), X),
    ),
    ("core/_layer.py: write class {}(lux.AbstractContainer)", lambda: Named(DENSE), lambda: Holds(DENSE)),
    (
        "core/_layer.py: write one field for each",
        lambda: Holds((DENSE, DENSE)),
        lambda: Holds(lux.Chain(*(DENSE, DENSE))),
    ),
    ("core/_layer.py: write a tuple for a list", lambda: Named([1, 2]), lambda: [Named((1, 2)), Named((("a", 1),))]),
    # Arguments
    (
        "core/_arguments.py: write {}({}), {}",
        lambda: lux.NeuralODE(DENSE, (0.0, 1.0)),
        lambda: lux.NeuralODE(DENSE, t0=0.0, t1=1.0),
    ),
    (
        "core/_arguments.py: write {}({}), with every",
        lambda: lux.Dense(2),
        ({"Dense": lux.Dense, "in_features": 2, "out_features": 3}, lambda layer: run(layer, X)),
    ),
    (
        "core/_arguments.py: write {}({}), with every",
        lambda: lux.setup(DENSE),
        ({"key": KEY, "layer": DENSE}, lambda both: DENSE(X, *both)),
    ),
    (
        "core/_arguments.py: write each argument once",
        lambda: lux.Dense(2, 3, in_features=2),
        lambda: lux.Dense(2, out_features=3),
    ),
    (
        "core/_setup.py: write lux.setup(key, layer)",
        lambda: lux.setup(DENSE, KEY),
        ({"key": KEY, "layer": DENSE}, lambda both: DENSE(X, *both)),
    ),
    (
        "core/_setup.py: write lux.Chain(*layers)",
        lambda: lux.setup(KEY, [DENSE]),
        ({"layers": [DENSE]}, lambda layer: run(layer, X)),
    ),
    (
        "core/_setup.py: write lux.Chain(**layers)",
        lambda: lux.setup(KEY, {"a": DENSE}),
        ({"layers": {"a": DENSE}}, lambda layer: run(layer, X)),
    ),
    ("core/_setup.py: write one such as lux.Dense(2, 3)", lambda: lux.setup(KEY, None), lambda: setup(lux.Dense(2, 3))),
    (
        "core/_setup.py: write {}(...), with its",
        lambda: lux.setup(KEY, lux.Dense),
        lambda: lux.setup(KEY, lux.Dense(2, 3)),
    ),
    ("core/_setup.py: write a layer", lambda: lux.setup(KEY, int), lambda: lux.setup(KEY, DENSE)),
    ("core/_setup.py: write {}", lambda: lux.setup(0, DENSE), ({}, lambda key: lux.setup(key, DENSE))),
    (
        "core/_setup.py: write {}",
        lambda: lux.setup(jax.random.PRNGKey(1), DENSE),
        ({"key": jax.random.PRNGKey(1)}, lambda key: lux.setup(key, DENSE)),
    ),
    # Inputs
    (
        "core/_inputs.py: write jnp.asarray({})",
        lambda: called(DENSE, [1.0, 2.0]),
        ({"x": [1.0, 2.0]}, lambda x: run(DENSE, x)),
    ),
    (
        "core/_inputs.py: write jnp.asarray({}, float)",
        lambda: called(DENSE, [1, 2]),
        ({"x": [1, 2]}, lambda x: run(DENSE, x)),
    ),
    (
        "core/_inputs.py: write jnp.asarray({})",
        lambda: called(lux.Chain(DENSE), rows(2, 1)),
        lambda: run(DENSE, jnp.asarray(rows(2, 2))),
    ),
    (
        "core/_inputs.py: write jnp.asarray({}.detach",
        lambda: called(DENSE, Tensor([1.0, 2.0])),
        ({"x": Tensor([1.0, 2.0])}, lambda x: run(DENSE, x)),
    ),
    (
        "core/_inputs.py: write jnp.zeros(...)",
        lambda: called(lux.Chain(lambda x: None, DENSE), X),
        lambda: run(DENSE, jnp.zeros(2)),
    ),
    (
        "core/_inputs.py: write y, st = layer(x, ps, st)",
        lambda: called(DENSE, DENSE(X, PS, ST)),
        lambda: run(DENSE, DENSE(X, PS, ST)[0]),
    ),
    (
        'core/_inputs.py: write lux.Chain(lambda x: x["{}"], {})',
        lambda: called(DENSE, {"u": X}),
        ({"Dense": lux.Dense}, lambda layer: run(layer, {"u": X})),
    ),
    (
        "core/_inputs.py: write lux.Chain(jnp.stack, {})",
        lambda: called(DENSE, (jnp.ones(()), jnp.ones(()))),
        ({"Dense": lux.Dense}, lambda layer: run(layer, (jnp.ones(()), jnp.ones(())))),
    ),
    (
        "core/_inputs.py: write lux.Chain(jnp.hstack, {})",
        lambda: called(DENSE, (jnp.ones(()), jnp.ones(1))),
        ({"Dense": lux.Dense}, lambda layer: run(layer, (jnp.ones(()), jnp.ones(1)))),
    ),
    (
        "core/_inputs.py: write lux.Chain(lambda x: x[-1], {})",
        lambda: called(DENSE, (jnp.ones(()), jnp.ones((3, 2)))),
        ({"Dense": lux.Dense}, lambda layer: run(layer, (jnp.ones(()), jnp.ones((3, 2))))),
    ),
    (
        "core/_inputs.py: write lux.Chain(lambda x: jnp.concatenate(x, axis=-1), {})",
        lambda: run(lux.DeepEquilibrium(lux.Dense(4, 2)), X),
        ({"Dense": lux.Dense}, lambda layer: run(lux.DeepEquilibrium(layer), X)),
    ),
    (
        "core/_inputs.py: write lux.Chain(lambda x: jnp.concatenate(x, axis=-1), {})",
        lambda: run(lux.HamiltonianODE(lux.Dense(4, 1)), PAIR),
        ({"Dense": lux.Dense}, lambda layer: run(lux.HamiltonianODE(layer), PAIR)),
    ),
    (
        "layers/_checks.py: write x[None] for one number",
        lambda: run(lux.Dense(1, 2), jnp.ones(())),
        lambda: run(lux.Dense(1, 2), jnp.ones(())[None]),
    ),
    (
        "layers/_checks.py: write jnp.moveaxis(x, {}, -1)",
        lambda: run(DENSE, jnp.ones((2, 5))),
        ({"x": jnp.ones((2, 5))}, lambda x: run(DENSE, x)),
    ),
    # Containers and functions
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
        "kernels/convolution/_window.py: Write {}=({},) for series",
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
        "layers/_checks.py: write mask != 0",
        lambda: run(lux.Recurrence(lux.LSTMCell(2, 2)), (jnp.ones((3, 2)), jnp.ones(3))),
        lambda: run(lux.Recurrence(lux.LSTMCell(2, 2)), (jnp.ones((3, 2)), jnp.ones(3) != 0)),
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
    # Adapters
    (
        "solvers/ode/_settings.py: write {}(lux.WrappedFunction(f))",
        lambda: lux.NeuralODE(jnp.negative),
        ({"NeuralODE": lux.NeuralODE, "f": jnp.negative}, lambda node: run(node, X)),
    ),
    (
        "solvers/ode/_settings.py: write {}(lux.WrappedFunction(lambda ty",
        lambda: lux.NeuralODE(function_of_two),
        ({"NeuralODE": lux.NeuralODE, "f": function_of_two}, lambda node: run(node, X)),
    ),
    (
        "solvers/ode/_settings.py: write {}(lux.WrappedFunction(lambda pair",
        lambda: lux.SecondOrderODE(function_of_two),
        ({"SecondOrderODE": lux.SecondOrderODE, "f": function_of_two}, lambda node: run(node, PAIR)),
    ),
    (
        "solvers/ode/_settings.py: write lux.HybridODE(f)",
        lambda: lux.NeuralODE(lambda t, y, args: -y),
        ({"f": lambda t, y, terms: -y}, lambda node: run(node, X)),
    ),
    (
        "solvers/ode/_hybrid.py: write lux.HybridODE(lambda t, y, terms: f(t, y))",
        lambda: lux.HybridODE(function_of_two),
        ({"f": function_of_two}, lambda node: run(node, X)),
    ),
    (
        "solvers/ode/_hybrid.py: write lux.NeuralODE(layer)",
        lambda: lux.HybridODE(DENSE),
        lambda: [
            run(lux.NeuralODE(DENSE), X),
            run(lux.HybridODE(lambda t, y, terms: terms.network(y), network=DENSE), X),
        ],
    ),
    (
        "solvers/ode/_values.py: write tuple(y0)",
        lambda: called(lux.HamiltonianODE(lux.Chain(jnp.stack, lux.Dense(2, 1))), [1.0, 2.0]),
        ({"y0": [1.0, 2.0]}, lambda y0: called(lux.HamiltonianODE(lux.WrappedFunction(lambda y: y[0] * y[1])), y0)),
    ),
    (
        "solvers/ode/_second_order.py: write ({}0, {}0)",
        lambda: run(lux.SecondOrderODE(lux.WrappedFunction(lambda y: -y[0])), X),
        ({"x0": X, "v0": X}, lambda y0: run(lux.SecondOrderODE(lux.WrappedFunction(lambda y: -y[0])), y0)),
    ),
    (
        "solvers/ode/_augmented.py: write y0[None]",
        lambda: run(lux.AugmentedODE(lux.Dense(2, 2), 1), jnp.ones(())),
        ({"y0": jnp.ones(())}, lambda y0: run(lux.AugmentedODE(lux.Dense(2, 2), 1), y0)),
    ),
    (
        "solvers/ode/_one.py: write y0 = jnp.zeros(...)",
        lambda: called(lux.NeuralODE(lux.NoOp()), None),
        lambda: run(lux.NeuralODE(lux.NoOp()), jnp.zeros(2)),
    ),
    (
        "solvers/ode/_batching.py: Write y0[None]",
        lambda: run(lux.NeuralODE(lux.NoOp(), batching="each"), jnp.ones(())),
        ({"y0": jnp.ones(())}, lambda y0: run(lux.NeuralODE(lux.NoOp(), batching="each"), y0)),
    ),
    (
        "solvers/ode/_ode.py: write saveat=diffrax.SaveAt(ts=ts, ...)",
        lambda: NODE.solve(X, *setup(NODE), ts=TS, saveat=diffrax.SaveAt(t1=True)),
        lambda: jax.eval_shape(lambda: NODE.solve(X, *setup(NODE), saveat=diffrax.SaveAt(ts=TS, t1=True))[0].ys),
    ),
    (
        "solvers/ode/_values.py: write y0.astype(jnp.float32)",
        lambda: run(NODE, X.astype(jnp.bfloat16)),
        lambda: called(
            lux.NeuralODE(lux.AlternatePrecision(lux.NoOp(), jnp.bfloat16)), X.astype(jnp.bfloat16).astype(jnp.float32)
        ),
    ),
    (
        "solvers/ode/_second_order.py: write velocity=False",
        lambda: lux.SecondOrderODE(DENSE, solver=lux.solvers.StormerVerlet(), dt0=0.1),
        lambda: run(lux.SecondOrderODE(DENSE, velocity=False, solver=lux.solvers.StormerVerlet(), dt0=0.1), PAIR),
    ),
    (
        "solvers/deq/_settings.py: write {}(lux.WrappedFunction({}))",
        lambda: lux.DeepEquilibrium(function_of_two),
        ({"DeepEquilibrium": lux.DeepEquilibrium, "f": lambda z, x: 0.5 * z + x}, lambda deq: run(deq, X)),
    ),
    (
        "solvers/deq/_start.py: write init=lambda x",
        lambda: run(lux.DeepEquilibrium(lux.WrappedFunction(lambda zx: 0.5 * zx[0])), PAIR),
        lambda: run(
            lux.DeepEquilibrium(lux.WrappedFunction(lambda zx: 0.5 * zx[0]), init=lambda x: jnp.zeros(2)), PAIR
        ),
    ),
    # Parameters
    (
        "flatten/_batch.py: write stack([ps_1, ps_2])",
        lambda: lux.flatten.stack(PS),
        ({"stack": lux.flatten.stack, "ps_1": PS, "ps_2": PS}, None),
    ),
    (
        "flatten/_declare.py: Write {}, or return it",
        lambda: setup(Declares(lambda: 1)),
        lambda: setup(Declares(lambda: 1.0)),
    ),
    (
        "flatten/_declare.py: Write jnp.asarray(value, float)",
        lambda: setup(Declares(lambda: [1, 2])),
        ({"value": [1, 2]}, lambda value: setup(Declares(lambda: value))),
    ),
    (
        "flatten/_declare.py: Write value.astype(float)",
        lambda: setup(Declares(lambda: np.arange(2))),
        ({"value": np.arange(2)}, lambda value: setup(Declares(lambda: value))),
    ),
    (
        "flatten/_declare.py: write ps.params",
        lambda: lux.flatten.flatten({"a": PS}),
        ({"ps": PS}, lambda params: lux.flatten.flatten({"a": params})),
    ),
    (
        "flatten/_flat_params.py: write lux.layout_of(layer)",
        lambda: FlatParams(PS.vector, {}),
        lambda: [
            FlatParams(PS.vector, lux.layout_of(DENSE)),
            FlatParams(PS.vector, PS.layout),
            lux.flatten.flatten({"a": X}),
        ],
    ),
    (
        "flatten/_flat_params.py: write jnp.asarray({}, {})",
        lambda: PS.replace([0.0] * 6),
        ({"vector": [0.0] * 6}, PS.replace),
    ),
    (
        "flatten/_flat_params.py: write jnp.asarray({}, {})",
        lambda: PS.replace(Tensor(np.zeros(6))),
        ({"vector": Tensor(np.zeros(6))}, PS.replace),
    ),
    ("flatten/_flat_params.py: write ps.vector.{}", lambda: PS.mean, ({"ps": PS}, lambda mean: mean())),
    (
        "flatten/_layout.py: Write vector.astype({})",
        lambda: PS.replace(PS.vector.astype(jnp.float32)),
        ({"vector": PS.vector.astype(jnp.float32)}, PS.replace),
    ),
    (
        "flatten/_layout.py: write lux.flatten.flatten(tree)",
        lambda: lux.layout_of({"a": X}),
        ({"tree": {"a": X}}, lambda ps: lux.layout_of(ps)),
    ),
    (
        "flatten/maps/_matrices.py: write (value + value.T) / 2",
        lambda: lux.flatten.symmetric(np.array([[1.0, 2.0], [3.0, 4.0]])),
        lambda: lux.flatten.symmetric(np.array([[1.0, 2.5], [2.5, 4.0]])),
    ),
    (
        "flatten/_parameter.py: write lux.flatten.complex_value",
        lambda: lux.real(1j),
        lambda: lux.flatten.complex_value(1j),
    ),
    (
        "flatten/_ravel_entry.py: write jnp.asarray(value)",
        lambda: PS.set("bias", [1.0, 2.0]),
        ({"value": [1.0, 2.0]}, lambda value: PS.set("bias", value)),
    ),
    (
        "flatten/maps/_ravel_map.py: write type(value)",
        lambda: lux.flatten.register_ravel_map(3),
        lambda: lux.flatten.register_ravel_map(int),
    ),
    (
        "flatten/names/_tie.py: write through=Transposed()",
        lambda: lux.flatten.tie(
            setup(lux.Chain(lux.Dense(2, 3), lux.Dense(3, 2)))[0], ["layer_0.weight", "layer_1.weight"]
        ),
        lambda: lux.flatten.tie(
            setup(lux.Chain(lux.Dense(2, 3), lux.Dense(3, 2)))[0],
            ["layer_0.weight", "layer_1.weight"],
            through=lux.flatten.Transposed(),
        ),
    ),
    (
        "flatten/maps/_vectors.py: write value / value.sum",
        lambda: setup(Declares(lambda: lux.flatten.simplex(np.array([1.0, 2.0])))),
        ({"value": np.array([1.0, 2.0])}, lambda value: setup(Declares(lambda: lux.flatten.simplex(value)))),
    ),
    # Losses and data
    (
        "training/losses/_evaluate.py: write y, st = layer(x, ps, st)",
        lambda: losses.squared_error(DENSE(X, PS, ST), X),
        lambda: losses.squared_error(DENSE(X, PS, ST)[0], X),
    ),
    (
        "training/losses/_evaluate.py: write jnp.stack(rows)",
        lambda: losses.squared_error([jnp.ones(2), jnp.ones(1)], X),
        lambda: losses.squared_error(jnp.stack([jnp.ones(2)]), X[None]),
    ),
    (
        "training/losses/_evaluate.py: write targets.reshape",
        lambda: losses.squared_error(X, X[:, None]),
        lambda: [
            losses.squared_error(X, X[:, None].reshape(2)),
            losses.squared_error(X, jnp.broadcast_to(1.0, X.shape)),
        ],
    ),
    (
        "training/losses/_evaluate.py: write mask != 0",
        lambda: losses.squared_error(X, X, mask=X),
        lambda: losses.squared_error(X, X, mask=X != 0),
    ),
    (
        "training/losses/_evaluate.py: write jnp.broadcast_to({}[..., None]",
        lambda: losses.squared_error(jnp.ones((2, 3)), jnp.ones((2, 3)), weights=X),
        ({"weights": X}, lambda weights: losses.squared_error(jnp.ones((2, 3)), jnp.ones((2, 3)), weights=weights)),
    ),
    (
        "training/losses/_classification.py: write jnp.where(targets, 1.0, -1.0)",
        lambda: losses.hinge(X, X > 0),
        ({"targets": X > 0}, lambda targets: losses.hinge(X, targets)),
    ),
    (
        "training/strategies/_checks.py: write order = np.argsort(ts)",
        lambda: strategies.series(TS[[1, 0, 2, 3, 4]], YS),
        lambda: strategies.series(*((ts := TS[[1, 0, 2, 3, 4]])[order := np.argsort(ts)], YS[order])),
    ),
    (
        "training/strategies/_checks.py: write np.stack([ys.real, ys.imag]",
        lambda: strategies.series(TS, YS * 1j),
        ({"ys": YS * 1j}, lambda ys: strategies.series(TS, ys)),
    ),
    (
        "training/strategies/_checks.py: write NaN",
        lambda: strategies.series(TS, YS * [1.0, np.inf]),
        lambda: strategies.series(TS, np.array([[1.0, np.nan]] * 5), y0=X),
    ),
    (
        "training/strategies/_series.py: write series(ts, ys)",
        lambda: strategies.windows((TS, YS), 3),
        ({"series": strategies.series, "ts": TS, "ys": YS}, lambda whole: strategies.windows(whole, 3)),
    ),
    (
        "training/strategies/_series.py: write inf",
        lambda: strategies.series(TS, YS, doses=([np.nan], YS[:1])),
        lambda: strategies.series(TS, YS, doses=([np.inf], YS[:1])),
    ),
    (
        "training/_optimizers.py: write optax.contrib.sam(..., opaque_mode=True)",
        lambda: lux.fit(
            lambda ps, st, batch: (jnp.sum(ps.vector**2), st),
            PS,
            ST,
            optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
            steps=1,
        ),
        lambda: optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=True),
    ),
    # Fits and data
    (
        "training/_loss.py: write\n\n    def loss",
        lambda: fit(DENSE),
        lambda: lux.fit(mean_square, PS, ST, SGD, steps=1, data=(jnp.ones((3, 2)), jnp.ones((3, 2)))),
    ),
    ("training/_loss.py: write def loss(ps, st, batch)", lambda: fit(lambda ps, st: 0.0), lambda: fit(squares)),
    ("training/_loss.py: write `return value, st`", lambda: fit(lambda ps, st, batch: None), lambda: fit(squares)),
    (
        "training/_loss.py: write jnp.mean(...) or jnp.sum(...)",
        lambda: fit(lambda ps, st, batch: (ps.vector, st)),
        lambda: fit(squares),
    ),
    (
        "training/_batches.py: write np.asarray(...)",
        lambda: fit(squares, data={"x": X, "name": "a"}),
        lambda: fit(squares, data={"x": np.asarray([1.0, 2.0])}),
    ),
    (
        "estimation/_curve_fit.py: write curve_fit(f, x, y, p0)",
        lambda: lux.estimation.curve_fit(3.0, TS, 2 * TS, (1.0,)),
        ({"curve_fit": lux.estimation.curve_fit, "f": lambda x, a: a * x, "x": TS, "y": 2 * TS, "p0": (1.0,)}, None),
    ),
    (
        "estimation/_curve_fit.py: write inf",
        lambda: _declare_bounds({"a": 1.0}, (0.0, np.nan)),
        lambda: _declare_bounds({"a": 1.0}, (0.0, np.inf)),
    ),
    (
        "estimation/_curve_fit.py: write one of the two",
        lambda: _declare_bounds({"a": lux.positive(1.0)}, (0.0, 5.0)),
        lambda: [_declare_bounds({"a": lux.positive(1.0)}, None), _declare_bounds({"a": 1.0}, (0.0, 5.0))],
    ),
    (
        "estimation/_evaluate.py: write `return r, st`",
        lambda: least_squares(lambda ps, st, data: ps.vector),
        lambda: least_squares(lambda ps, st, data: (ps.vector, st)),
    ),
    (
        "estimation/_evaluate.py: write `return model - data, st`",
        lambda: least_squares(lambda ps, st, data: (1.0, st)),
        lambda: least_squares(lambda ps, st, data: (ps.vector - 1.0, st)),
    ),
    (
        "estimation/_evaluate.py: write jnp.stack([r.real, r.imag])",
        lambda: least_squares(lambda ps, st, data: (jax.lax.complex(ps.vector, ps.vector), st)),
        lambda: least_squares(lambda ps, st, data: (jnp.stack([ps.vector, ps.vector]), st)),
    ),
    (
        "estimation/_least_squares.py: write ps, st = lux.setup(key, model)",
        lambda: lux.estimation.least_squares(lambda ps, st, data: (ps.vector, st), X, ST),
        lambda: lux.flatten.flatten({"rate": lux.positive(0.5)}),
    ),
    (
        "training/strategies/_ensemble.py: write lux.setup_batch(key, layer, members)",
        lambda: strategies.fit_ensemble(squares, PS, ST, SGD, steps=1),
        lambda: strategies.fit_ensemble(squares, *lux.setup_batch(KEY, DENSE, 2), SGD, steps=1),
    ),
    (
        "training/strategies/_augmented_lagrangian.py: write ShootingLoss",
        lambda: strategies.fit_augmented_lagrangian(squares, PS, ST, SGD, steps=1, data=None),
        lambda: strategies.ShootingLoss(strategies.MultipleShooting(NODE, 2, 2)),
    ),
    (
        "training/strategies/_multiple_shooting.py: write windows(series(ts, ys), length)",
        lambda: called(SHOOTING, X),
        ({**WHOLE, "length": 3}, lambda data: run(SHOOTING, data)),
    ),
    (
        "training/strategies/_multiple_shooting.py: write windows(series(ts, ys), length)",
        lambda: SHOOTING.start_from(setup(SHOOTING)[0], X),
        ({**WHOLE, "length": 3}, lambda data: SHOOTING.start_from(setup(SHOOTING)[0], data)),
    ),
    (
        "training/strategies/_multiple_shooting.py: write windows(series(ts, ys), length), without stride",
        lambda: called(SHOOTING, strategies.windows(strategies.series(TS[:4], YS[:4]), 3, stride=1)),
        ({**WHOLE, "length": 3}, lambda data: run(SHOOTING, data)),
    ),
    (
        "training/strategies/_multiple_shooting.py: write MultipleShooting(node, segments, *shape)",
        lambda: called(strategies.MultipleShooting(NODE, 2, 3), strategies.windows(strategies.series(TS, YS), 3)),
        (
            {"MultipleShooting": strategies.MultipleShooting, "node": NODE, "segments": 2, "shape": (2,)},
            lambda layer: run(layer, strategies.windows(strategies.series(TS, YS), 3)),
        ),
    ),
    # More layers
    (
        "core/_container.py: write with_children beside children",
        lambda: Hidden().with_children({"inner": DENSE}),
        lambda: Shown().with_children({"inner": DENSE}),
    ),
    (
        "core/_depth.py: write lux.Chain(*layers)",
        lambda: called(nested(300), X),
        ({"layers": [DENSE] * 300}, lambda layer: None),
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
    # More adapters
    (
        "solvers/deq/_rows.py: Write batched=False",
        lambda: run(lux.DeepEquilibrium(lux.WrappedFunction(halved), init=lambda x: (x, x[1:])), jnp.ones((3, 2))),
        lambda: run(
            lux.DeepEquilibrium(lux.WrappedFunction(halved), init=lambda x: (x, x[1:]), batched=False), jnp.ones((3, 2))
        ),
    ),
    (
        "solvers/deq/_settings.py: write solver=lux.solvers.Broyden(...)",
        lambda: lux.DeepEquilibrium(DENSE, adjoint=lux.solvers.ShineGradient()),
        lambda: lux.DeepEquilibrium(DENSE, adjoint=lux.solvers.ShineGradient(), solver=lux.solvers.Broyden()),
    ),
    (
        "solvers/deq/_multi_scale.py: write None for no exchange",
        lambda: lux.solvers.MultiScaleCell((DENSE, DENSE), ((None,),)),
        lambda: lux.solvers.MultiScaleCell((DENSE, DENSE), ((None, None), (None, None))),
    ),
    (
        "solvers/ode/_inputs.py: write jax.vmap(",
        lambda: lux.solvers.linear_input(TS, TS, length=jnp.array([2, 3])),
        ({"ts": np.stack([TS, TS]), "values": np.stack([TS, TS]), "lengths": jnp.array([2, 3])}, None),
    ),
    (
        "solvers/ode/_ode.py: write one that returns (dy, state",
        lambda: run(Unwritten(DENSE), X),
        lambda: run(Written(DENSE), X),
    ),
    (
        "solvers/ode/_settings.py: write adjoint=diffrax.RecursiveCheckpointAdjoint() or",
        lambda: lux.NeuralODE(DENSE, adjoint=diffrax.BacksolveAdjoint()),
        lambda: [
            lux.NeuralODE(DENSE, adjoint=diffrax.RecursiveCheckpointAdjoint()),
            lux.NeuralODE(DENSE, adjoint=lux.solvers.ReversibleAdjoint()),
        ],
    ),
    (
        "solvers/ode/_settings.py: write adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=100)",
        lambda: lux.NeuralODE(DENSE, adjoint=diffrax.DirectAdjoint(), max_steps=None),
        lambda: run(
            lux.NeuralODE(DENSE, adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=100), max_steps=None), X
        ),
    ),
    (
        "solvers/ode/_settings.py: write adjoint=diffrax.RecursiveCheckpointAdjoint()",
        lambda: lux.NeuralODE(DENSE, stiff=True, adjoint=lux.solvers.ReversibleAdjoint()),
        lambda: lux.NeuralODE(DENSE, stiff=True, adjoint=diffrax.RecursiveCheckpointAdjoint()),
    ),
    (
        "solvers/ode/_jump_ode.py: write condition= and jump=",
        lambda: lux.JumpODE(DENSE, event=diffrax.Event(lambda t, y, args, **kw: y[0])),
        lambda: [
            lux.JumpODE(DENSE, condition=lambda t, y, ps: y[0], jump=lambda t, y, ps: -y),
            lux.NeuralODE(DENSE, event=diffrax.Event(lambda t, y, args, **kw: y[0])),
        ],
    ),
    (
        "solvers/ode/_jump_ode.py: write ts=...",
        lambda: DRUG.solve(X, *setup(DRUG), saveat=diffrax.SaveAt(ts=TS)),
        lambda: jax.eval_shape(lambda: DRUG.solve(X, *setup(DRUG), ts=TS)[0].ys),
    ),
    (
        "solvers/ode/_jump_ode.py: write inf",
        lambda: run(DRUG, X, doses=(np.array([np.nan]), np.ones((1, 2)))),
        lambda: run(DRUG, X, doses=(np.array([np.inf]), np.ones((1, 2)))),
    ),
    (
        "solvers/ode/_jump_ode.py: write resume=True",
        lambda: DRUG.solve(X, *setup(DRUG), t0=0.5, doses=(np.array([0.1]), np.ones((1, 2)))),
        lambda: jax.eval_shape(
            lambda: DRUG.solve(X, *setup(DRUG), t0=0.5, doses=(np.array([0.1]), np.ones((1, 2))), resume=True)[0].ys
        ),
    ),
    (
        "solvers/ode/_jump_ode.py: write dose=lambda t, y, amount, ps",
        lambda: run(DRUG, X, doses=(np.array([0.1]), np.ones(1))),
        lambda: run(
            lux.JumpODE(DENSE, dose=lambda t, y, amount, ps: y + amount), X, doses=(np.array([0.1]), np.ones(1))
        ),
    ),
    (
        "training/strategies/_solve_series.py: write solve=functools.partial",
        lambda: strategies.TrajectoryLoss(DRUG, solve=lambda y0, ps, st, ts, t0: None)(
            *setup(DRUG), strategies.series(TS, YS)
        ),
        lambda: jax.eval_shape(
            lambda: strategies.TrajectoryLoss(
                DRUG, solve=functools.partial(DRUG.solve, doses=(np.array([0.1]), np.ones((1, 2))))
            )(*setup(DRUG), strategies.series(TS, YS))[0]
        ),
    ),
    # More parameters
    (
        "flatten/_flat_params.py: write jnp.array_equal(ps.vector, other.vector)",
        lambda: PS.replace(PS.vector) == PS,
        ({"ps": PS, "other": PS}, None),
    ),
    (
        "flatten/_flat_params.py: write ps.set({}, value)",
        lambda: setattr(PS, "bias", X),
        ({"ps": PS, "value": X}, None),
    ),
    (
        "flatten/_named_tree.py: write {}.set({}, value)",
        lambda: setattr(setup(lux.BatchNorm(2))[1], "running_mean", X),
        ({"st": setup(lux.BatchNorm(2))[1], "value": X}, None),
    ),
    (
        "flatten/_named_tree.py: write jax.tree.all",
        lambda: PS.params == PS.replace(PS.vector + 1).params,
        ({"tree": PS.params, "other": PS.params}, None),
    ),
    ("flatten/files/_file.py: write lux.save(path, ps)", lambda: lux.save("never", ST), lambda: lux.setup(KEY, DENSE)),
    (
        "flatten/files/_file.py: write lux.save(path, lux.flatten.flatten(params))",
        lambda: lux.save("never", PS.params),
        lambda: lux.flatten.flatten(PS.params),
    ),
    (
        "flatten/_kept.py: write value.real",
        lambda: PS.set("bias", np.ones(2) * 1j),
        ({"value": np.ones(2) * 1j}, lambda value: PS.set("bias", value)),
    ),
    # Derivatives
    (
        "solvers/runge_kutta/_replay.py: write adjoint=diffrax.DirectAdjoint()",
        lambda: lower(slope_in_times(BENT_NODE, jax.jacfwd), TS),
        lambda: jax.eval_shape(slope_in_times(DIRECT, jax.jacfwd), TS),
    ),
    (
        "solvers/ode/_integrate.py: write adjoint=diffrax.DirectAdjoint()",
        lambda: lower(slope(BENT_NODE), X),
        lambda: jax.eval_shape(slope(DIRECT), X),
    ),
    (
        "solvers/ode/_integrate.py: write adjoint=diffrax.DirectAdjoint(), or adjoint=diffrax.ForwardMode()",
        lambda: lower(slope(CHECKPOINTED), X),
        lambda: [
            jax.eval_shape(slope(DIRECT), X),
            jax.eval_shape(slope(lux.NeuralODE(BENT, adjoint=diffrax.ForwardMode(), max_steps=8), jax.jacfwd), X),
        ],
    ),
    (
        "solvers/adjoints/_reversible.py: write adjoint={}",
        lambda: lower(slope(lux.NeuralODE(BENT, adjoint=lux.solvers.ReversibleAdjoint())), X),
        lambda: run(lux.NeuralODE(DENSE, adjoint=diffrax.RecursiveCheckpointAdjoint()), X),
    ),
    (
        "solvers/adjoints/_reversible.py: write adjoint={}",
        lambda: run(lux.NeuralODE(DENSE, adjoint=lux.solvers.ReversibleAdjoint(), max_steps=None), X),
        lambda: run(lux.NeuralODE(DENSE, adjoint=diffrax.RecursiveCheckpointAdjoint()), X),
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
    (
        "solvers/deq/_multi_scale.py: write init=function of x",
        lambda: run(lux.solvers.MultiScaleDEQ(lux.WrappedFunction(halved), shapes=((2,),)), jnp.arange(2)),
        lambda: run(
            lux.solvers.MultiScaleDEQ(lux.WrappedFunction(halved), shapes=((2,),), init=lambda x: (jnp.zeros((1, 2)),)),
            jnp.arange(2),
        ),
    ),
    ("flatten/_named_tree.py: write {}", lambda: PS.params.mean, ({"tree": {"path": X}}, None)),
    # Solvers of fixed points
    *(
        (
            f"solvers/fixed_point/{file}: Write {text}",
            lambda name=name, kind=kind, wrong=wrong: getattr(lux.solvers, kind)(**{name: wrong}),
            lambda name=name, kind=kind, value=value: getattr(lux.solvers, kind)(**{name: value}),
        )
        for file, kind, name, wrong, value, text in [
            ("_anderson.py", "Anderson", "memory", -1, 5, "memory=5"),
            ("_anderson.py", "Anderson", "mixing", 0, 1.0, "mixing=1.0"),
            ("_anderson.py", "Anderson", "safeguard", -1, 10.0, "safeguard=10.0"),
            ("_broyden.py", "Broyden", "memory", -1, 20, "memory=20"),
            ("_broyden.py", "Broyden", "scale", 0, 1.0, "scale=1.0"),
            ("_broyden.py", "Broyden", "growth", -1, 4.0, "growth=4.0"),
            ("_damped.py", "Damped", "mixing", -1, 1.0, "mixing=1.0"),
            ("_newton_krylov.py", "NewtonKrylov", "krylov", -1, 30, "krylov=30"),
            ("_newton_krylov.py", "NewtonKrylov", "forcing", -1, 0.5, "forcing=0.5"),
            ("_fixed_point.py", "Damped", "rtol", -1, 1e-4, "{}=1e-4"),
        ]
    ),
]


def pattern(template):
    """A text of the source, with {} for what is filled in, as a regular expression."""
    return ".*?".join(re.escape(part) for part in template.split("{}"))


# Derivatives of derivatives take seconds to trace.
SLOW = ("solvers/runge_kutta/_replay.py", "solvers/ode/_integrate.py", "solvers/adjoints/_reversible.py")


def marked(case):
    return pytest.param(*case, id=case[0], marks=[pytest.mark.slow] if case[0].startswith(SLOW) else [])


@pytest.mark.parametrize(("where", "wrong", "right"), [marked(case) for case in CASES])
def test_what_a_message_says_to_write_works(where, wrong, right):
    template = where.partition(": ")[2]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        wrong()
    text = message_of(caught.value)
    found = re.search(pattern(template), text, re.DOTALL)
    assert found, text
    if callable(right):
        right()
        return
    names, use = right
    value = evaluated(re.split(r"(?i)\bwrite ", text[found.start() :], maxsplit=1)[1], **names)
    if use is not None:
        use(value)


# Advice that other tests follow.
ELSEWHERE = {
    "core/_call.py: write jax.shard_map(..., check_vma=False)": "test_sharding.py::test_the_advice_where_a_solver_does_not_say_what_varies_works",  # noqa: E501
    "core/_traced.py: write": "test_estimation.py::test_a_curve_that_needs_numbers_is_told_where_and_what_to_write",
    "flatten/files/_file.py: write lux.save(path, fitted.ps)": "test_not_arrays.py::test_what_is_saved_is_parameters_in_a_folder_that_there_is",  # noqa: E501
    "flatten/files/_file.py: write os.makedirs({}, exist_ok=True)": "test_not_arrays.py::test_what_is_saved_is_parameters_in_a_folder_that_there_is",  # noqa: E501
    "flatten/files/_file.py: write ps, report = lux.flatten.transplant": "test_other_parameters.py::test_a_file_is_that_of_the_model",
    "flatten/_no_array.py: write {}": "test_not_arrays.py::test_an_operation_says_what_to_write",
    "tools/foreign/_flax.py: write from_flax(module)": "test_foreign.py::test_an_nnx_module",
    "tools/foreign/_flax.py: write from_flax(module, module.init": "test_foreign.py::test_a_linen_module",
    "tools/porting/_recurrent.py: write GRUCell(..., reset_before=False)": "test_torch_oracle.py::test_it_is_what_pytorch_computes",
    "flatten/_check.py: write coordinates(value)": "test_check_ravel_map.py::test_a_right_map_passes",
    "training/strategies/_solve_series.py: write lux.NeuralODE(model)": "test_strategies_exact.py::test_hidden_states_are_fitted_in_windows_as_the_message_says",  # noqa: E501
    "training/_outcome.py: write jacobian_penalty=": "test_deq_stability.py::test_the_penalty_is_differentiated_through_the_equilibrium",
    "solvers/deq/_attach.py: write coupled=True": "test_deq_gradients.py::test_samples_that_depend_on_each_other_are_not_mistaken_for_others",  # noqa: E501
    "training/_optimizers.py: write masks and labels as functions": "test_fit_optimizers.py::test_optimizers_that_cannot_run_say_what_to_write",  # noqa: E501
}

# Advice that a test cannot follow, and why.
_INSTALLS = "it installs a package"
_PRECISION = "tests compute in float64 already"
NOT_FOLLOWED = {
    "estimation/_warnings.py: write jax.config.update": _PRECISION,
    "flatten/_declare.py: write jax.config.update": _PRECISION,
    "flatten/files/_file.py: write it; read its tensors": "the word says that lux.save did not make the file",
    "flatten/files/_file.py: write `pip install": _INSTALLS,
    "flatten/files/_decode.py: write `pip install": _INSTALLS,
    "flatten/_kept.py: write it in other units": _PRECISION,
    "layers/containers/_precision.py: write jax.config.update": _PRECISION,
    "tools/foreign/_flax.py: write `pip install": _INSTALLS,
    "solvers/ode/_one.py: write stiff=True": "one of several things to try, which need not be what the problem lacks",
    "solvers/ode/_one.py: write adjoint=diffrax.DirectAdjoint() for another loop": "it speaks of a fault of the solver, of which none is known",  # noqa: E501
    "training/_batches.py: write jax.config.update": _PRECISION,
    "training/_progress.py: write pip install": _INSTALLS,
}


def texts_of(tree):
    """The texts of a module that are no documentation, with {} for what is filled in."""
    inner = {value for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    documentation = {body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if node in documentation or node in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(value.value if isinstance(value, ast.Constant) else "{}" for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def advice_in_the_sources():
    for path in sorted(SOURCES.rglob("*.py")):
        for text in texts_of(ast.parse(path.read_text())):
            for found in re.finditer(r"\b[Ww]rite\b", text):
                yield f"{path.relative_to(SOURCES).as_posix()}: {text[found.start() :]}"


def test_every_advice_is_followed_by_a_test():
    followed = [where for where, *_ in CASES] + list(ELSEWHERE) + list(NOT_FOLLOWED)
    advice = list(advice_in_the_sources())
    assert len(advice) > 150
    missing = [text[:120] for text in advice if not any(text.startswith(where) for where in followed)]
    assert not missing, "\n".join(["follow each in CASES:", *missing])
    unused = [where for where in followed if not any(text.startswith(where) for text in advice)]
    assert not unused, unused


def test_what_is_followed_elsewhere_is():
    for where, test in ELSEWHERE.items():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (TESTS / file).read_text(), (where, test)
