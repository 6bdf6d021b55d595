"""What to write where a layer is made, set up or called wrongly."""

import jax
import jax.numpy as jnp
from helpers import setup

import sciml_lux as lux

from .specimens import DENSE, KEY, PS, ST, Declares, Tensor, X, called, run


class Named(lux.AbstractLayer):
    """A layer whose call returns what a function makes."""

    result: object

    def initial_states(self, key):
        return {"count": jnp.zeros(())}

    def __call__(self, x, ps, st):
        return self.result(x, st)


class Holds(lux.AbstractContainer):
    field: object


class Hidden(lux.AbstractContainer):
    """Makes its layers itself."""

    def children(self):
        return {"inner": DENSE}


class Shown(Hidden):
    def with_children(self, children):
        return lux.Chain(**children)


def nested(depth):
    layer = DENSE
    for _ in range(depth):
        layer = lux.Chain(layer)
    return layer


CASES = [
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
]
