"""One vector, many views: a tour of what a flat parameter vector can do.

python examples/flat_vector.py            prints each step and writes flat_vector.png, the memory map
"""

import pathlib
import tempfile
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax

import sciml_lux as lux
from sciml_lux import flatten

jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".cache"))
matplotlib.use("Agg")
import matplotlib.pyplot as plt

MODEL = lux.Chain(
    encoder=lux.Dense(4, 3, jnp.tanh),
    middle=lux.Dense(3, 3, jnp.tanh),
    decoder=lux.Dense(3, 4),
)


def heading(text):
    print(f"\n== {text}\n")


def names_and_blocks(ps, st, x):
    heading("Names: select by path, glob, layer type or predicate")
    biases = flatten.select(ps, "*.bias")
    print(biases)
    print("mask:", biases.mask().astype(int))
    print("labels:", ", ".join(biases.labels[:4]), "...")
    print("decoder.weight[2,1] is number", flatten.label_index(ps, "decoder.weight[2,1]"))
    print("all Dense layers:", lux.layer_paths(MODEL, lux.Dense))
    hessian = jax.hessian(lambda ps: jnp.mean((MODEL(x, ps, st)[0] - x) ** 2))(ps)
    print("Hessian block, encoder by decoder:", flatten.block(hessian, "encoder", "decoder").shape)


def train_a_part(ps, st, x):
    heading("Freezing: train the decoder alone; the optimiser never sees the rest")
    theta, frozen = flatten.partition(ps, trainable="decoder.*")

    def loss(theta, st, x):
        y, st = MODEL(x, flatten.combine(theta, frozen), st)
        return jnp.mean((y - x) ** 2), st

    fitted = lux.fit(loss, theta, st, optax.adam(1e-2), steps=300, data=x)
    whole = flatten.combine(fitted.ps, frozen)
    print(fitted)
    print("encoder unchanged, bit for bit:", bool(jnp.all(whole["encoder.weight"] == ps["encoder.weight"])))
    return whole


def tie_weights(ps):
    heading("Ties: the decoder shows the encoder's weight, transposed; stored once, gradients add up")
    tied = flatten.tie(ps, ["encoder.weight", "decoder.weight"], through=flatten.Transposed())
    print(tied.layout)
    return tied


def constraints():
    heading("Constraints: what the vector stores is unconstrained, what you read obeys")
    ps = flatten.flatten(
        {
            "rate": lux.positive(0.5, unit="1/s"),
            "share": lux.bounded(0.2, 0.0, 1.0),
            "mixture": flatten.simplex(jnp.array([0.2, 0.3, 0.5])),
            "covariance": flatten.positive_definite(jnp.array([[2.0, 0.5], [0.5, 1.0]])),
            "capacity": lux.fixed(10.0),
        }
    )
    print(ps.layout)
    moved = ps.replace(ps.vector + 0.7)
    print("after adding 0.7 to every stored number:", moved, sep="\n")


def optimisers(ps, st, x):
    heading("Groups: learning rates and weight decay as vectors; matrices for Muon by per_leaf")
    rates = flatten.per_group(ps, {"*": 1e-2, "encoder": 1e-3})
    decay = flatten.per_group(ps, {"*.weight": 1e-3, "*.bias": 0.0})

    def loss(ps, st, x):
        y, st = MODEL(x, ps, st)
        return jnp.mean((y - x) ** 2), st

    grouped = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(decay), optax.scale_by_learning_rate(rates))
    print("AdamW by group:", lux.fit(loss, ps, st, grouped, steps=300, data=x))
    print("Muon:          ", lux.fit(loss, ps, st, lux.training.per_leaf(optax.contrib.muon(1e-2)), steps=300, data=x))


def batches(x):
    heading("Batches: eight starts in one program, their average in one line")
    ps, st = lux.setup_batch(jax.random.key(7), MODEL, 8)
    losses = jax.jit(jax.vmap(lambda ps, st: jnp.mean((MODEL(x, ps, st)[0] - x) ** 2)))(ps, st)
    print("losses of eight starts:", np.round(losses, 3))
    best = flatten.pick(ps, jnp.argmin(losses))
    soup = best.replace(ps.vector.mean(axis=0))
    average = best.replace(0.9 * best.vector + 0.1 * soup.vector)  # one step of a moving average
    print("best start, mean of all, moving average:", [float(jnp.linalg.norm(p.vector)) for p in (best, soup, average)])


def files_and_surgery(ps):
    heading("Files and surgery: save, insert a layer, load what still fits")
    deeper = lux.Chain(
        encoder=lux.Dense(4, 3, jnp.tanh), extra=lux.Dense(3, 3), middle=lux.Dense(3, 3, jnp.tanh), head=lux.Dense(3, 4)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.safetensors"
        lux.save(path, ps)
        loaded = lux.load(path)  # the model's code is not needed
        print(f"{path.stat().st_size} bytes; equal: {bool(jnp.all(loaded.vector == ps.vector))}")
    fresh, _ = lux.setup(jax.random.key(1), deeper)
    _, report = flatten.transplant(loaded, fresh, rename={"decoder": "head"})
    print(report)


class Planar(lux.AbstractLayer):
    """A rotation of the plane, shown as a matrix."""

    def initial_parameters(self, key):
        return {"matrix": jnp.eye(2)}

    def __call__(self, x, ps, st):
        return x @ ps.matrix, st


@lux.register_ravel_map(Planar)
@dataclass(frozen=True)
class AngleMap(flatten.AbstractRavelMap):
    """Stores the rotation as its angle, in ten lines."""

    def size(self, spec):
        return 1

    def ravel(self, value, spec):
        return jnp.arctan2(value.matrix[1, 0], value.matrix[0, 0])[None]

    def unravel(self, segment, spec):
        cosine, sine = jnp.cos(segment[0]), jnp.sin(segment[0])
        return lux.Params(matrix=jnp.stack([jnp.stack([cosine, -sine]), jnp.stack([sine, cosine])]))


def own_maps():
    heading("Registry: a map of your own, checked")
    ps, _ = lux.setup(jax.random.key(0), lux.Chain(turn=Planar(), out=lux.Dense(2, 1)))
    print(ps.layout)
    flatten.check_ravel_map(AngleMap(), ps.params.turn)
    print(
        "check_ravel_map finds nothing wrong with it; 30 degrees:",
        ps.set("turn.matrix", rotation(jnp.pi / 6))["turn.matrix"].round(3).tolist(),
    )


def rotation(angle):
    return jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])


def wrappers_and_foreign_models(x):
    heading("Sharing and freezing inside a model; an Equinox model as a layer")
    block = [lux.Dense(4, 4, jnp.tanh) for _ in range(3)]
    print("three layers, two of them one:", lux.parameter_length(lux.Share(lux.Chain(*block), "layer_0", "layer_2")))
    print("with the first frozen:", lux.parameter_length(lux.Chain(lux.Frozen(block[0]), *block[1:])))
    module = eqx.nn.MLP(4, 4, 8, 1, key=jax.random.key(0))
    layer, ps, st = lux.tools.from_equinox(module)
    print(ps.layout, "equal results:", bool(jnp.all(layer(x[0], ps, st)[0] == module(x[0]))), sep="\n")


def storage(ps):
    heading("Storage: a float32 vector, products in bfloat16, gradients in float32")
    half = flatten.compute_dtype(ps, {"*.weight": jnp.bfloat16})
    print({path: str(half[path].dtype) for path in ("encoder.weight", "encoder.bias")}, "vector:", half.vector.dtype)


def draw(layouts, path):
    """Each layout as a strip: one block for each entry, as wide as what it stores."""
    figure, axes = plt.subplots(len(layouts), 1, figsize=(12, 1.5 * len(layouts)), layout="constrained", sharex=True)
    colors = dict(zip(MODEL.children(), ("tab:blue", "tab:orange", "tab:green"), strict=True))
    for axis, (title, layout) in zip(axes, layouts.items(), strict=True):
        for entry in layout.entries:
            top, _, rest = entry.path.partition(".")
            shade = 0.85 if rest == "weight" else 0.4
            if entry.size:
                axis.barh(0, entry.size, left=entry.offset, color=colors[top], alpha=shade, edgecolor="black", height=1)
                middle = entry.offset + entry.size / 2
                axis.text(
                    middle,
                    0,
                    f"{entry.path}\n{entry.shape}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    rotation=0 if entry.size > 6 else 90,
                )
        axis.set(
            title=f"{title}: {layout.size} numbers", yticks=[], xlim=(0, max(each.size for each in layouts.values()))
        )
    axes[-1].set_xlabel("position in the vector")
    figure.savefig(path, dpi=110)


def main():
    x = jax.random.normal(jax.random.key(0), (64, 4))
    ps, st = lux.setup(jax.random.key(1), MODEL)
    heading("One vector, its memory map, and its values")
    print(ps.layout, ps, sep="\n\n")
    names_and_blocks(ps, st, x)
    trained = train_a_part(ps, st, x)
    tied = tie_weights(ps)
    constraints()
    optimisers(ps, st, x)
    batches(x)
    files_and_surgery(trained)
    storage(ps)
    own_maps()
    wrappers_and_foreign_models(x)
    theta, _ = flatten.partition(ps, trainable="decoder.*")
    draw(
        {
            "the model": ps.layout,
            "decoder.weight tied to encoder.weight": tied.layout,
            "the trainable part": theta.layout,
        },
        "flat_vector.png",
    )
    print("\nwrote flat_vector.png")


if __name__ == "__main__":
    main()
