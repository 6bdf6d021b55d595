"""Every layer on four devices against the same on one: run by `test_sharding.py` in a process of its own, which has the devices.

Prints a line for each layer and way of placing it: "equal", or the error by which it was refused, or how far it is off.
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from members import LAYERS, Layer, array

import sciml_lux as lux

NUMBER = 4
# Beside the members, which are small: sizes at which operations of our own would take the place of JAX's.
LARGER = [
    Layer("Dense, narrowing", lambda: lux.Dense(64, 2), array(512, 64)),
    Layer("MLP, narrowing", lambda: lux.MLP(8, (16,), 2), array(8, 8)),
    Layer("Chain of many samples", lambda: lux.Chain(lux.Dense(3, 8, jnp.tanh), lux.Dense(8, 2)), array(256, 3)),
    Layer("Recurrence of many samples", lambda: lux.Recurrence(lux.LSTMCell(3, 2)), array(8, 4, 3)),
    Layer("ConvTranspose in groups", lambda: lux.ConvTranspose(4, 4, (3,), groups=2, stride=2), array(2, 6, 4)),
]


def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def four(leaf):
    """An input for each device."""
    return jnp.stack(
        [leaf, 0.9 * leaf, 1.1 * leaf, 0.95 * leaf] if is_float(leaf) else [leaf, jnp.flip(leaf), leaf, jnp.flip(leaf)]
    )


def total(y):
    parts = [
        part for leaf in jax.tree.leaves(y) for part in ([leaf.real, leaf.imag] if jnp.iscomplexobj(leaf) else [leaf])
    ]
    return sum((jnp.sum(jnp.sin(part + 0.3)) for part in parts), jnp.zeros(()))


class Case:
    """A member with four inputs, and its results and gradients on one device."""

    def __init__(self, member):
        layer = member.make()
        ps, st = lux.setup(jax.random.key(0), layer)
        if not all(jnp.size(leaf) for leaf in jax.tree.leaves(st)):
            _, st = layer(member.x, ps, st)
        self.vector = ps.vector + 0.1 * array(ps.layout.size)
        # What is not to be mapped over is not to be scaled either, as times within a span.
        self.xs = jax.tree.map(four if member.mapped else lambda leaf: jnp.stack([leaf] * NUMBER), member.x)
        self.differentiable = bool(jax.tree.leaves(member.x)) and all(map(is_float, jax.tree.leaves(member.x)))
        self.call = lambda vector, x: layer(x, ps.replace(vector), st)[0]

    def one_by_one(self):
        of_one = jax.jit(self.derived)
        each = [of_one(self.vector, jax.tree.map(lambda leaf: leaf[i], self.xs)) for i in range(NUMBER)]  # noqa: B023
        ys, in_vector, in_x = (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts) for parts in zip(*each, strict=True)
        )
        return ys, jnp.sum(in_vector, 0), in_x

    def derived(self, vector, x):
        """Results, and gradients of their `total` in the vector and, where that can be, in the input."""

        def loss(vector, x):
            y = self.call(vector, x)
            return total(y), y

        gradient = jax.grad(loss, argnums=(0, 1) if self.differentiable else (0,), has_aux=True)
        (in_vector, *in_x), y = gradient(vector, x)
        return y, in_vector, in_x

    def mapped(self, mesh, *, check, summed=True):
        """`derived` on each device of a mesh by itself."""

        def on_one(vector, x):
            y, in_vector, in_x = self.derived(
                lax.pcast(vector, "d", to="varying"), jax.tree.map(lambda leaf: leaf[0], x)
            )
            in_vector = lax.psum(in_vector, "d") if summed else in_vector
            return jax.tree.map(lambda leaf: leaf[None], y), in_vector, jax.tree.map(lambda leaf: leaf[None], in_x)

        specs = P("d"), P(), P("d")
        return jax.shard_map(on_one, mesh=mesh, in_specs=(P(), P("d")), out_specs=specs, check_vma=check)

    def explicit(self, mesh):
        """`derived` of all inputs at once, which lie along a mesh of explicit axes, as the results do."""
        with jax.set_mesh(mesh):
            derived = jax.jit(functools.partial(Case.derived, _Together(self)))
            together = derived(jax.device_put(self.vector, P()), jax.device_put(self.xs, P("d")))
            assert {jax.typeof(leaf).sharding.spec[0] for leaf in jax.tree.leaves(together[0])} <= {"d"}
        return together


class _Together:
    def __init__(self, case):
        self.differentiable = case.differentiable
        self.call = lambda vector, xs: jax.vmap(lambda x: case.call(vector, x))(xs)


def mesh_of(number, kind):
    return jax.make_mesh((number,), ("d",), axis_types=(kind,), devices=jax.devices()[:number])


def difference(got, expected):
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    return max((float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0.0)) for a, b in pairs), default=0.0)


def outcome(run, expected):
    try:
        off = difference(run(), expected)
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return "equal" if off < 1e-9 else f"off by {off}"


def main(names):
    auto, explicit = mesh_of(NUMBER, AxisType.Auto), mesh_of(NUMBER, AxisType.Explicit)
    for member in [*LARGER, *LAYERS]:
        if names and member.name not in names:
            continue
        case = Case(member)
        expected = case.one_by_one()
        checked, unchecked = (jax.jit(case.mapped(auto, check=check)) for check in (True, False))
        found = {"shard_map": outcome(lambda: checked(case.vector, case.xs), expected)}  # noqa: B023
        if found["shard_map"] != "equal":
            found["unchecked"] = outcome(lambda: unchecked(case.vector, case.xs), expected)  # noqa: B023
        found["explicit"] = outcome(lambda: case.explicit(explicit), expected)  # noqa: B023
        for way, what in found.items():
            print(f"{member.name}|{way}|{what}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
