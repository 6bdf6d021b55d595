"""Handwritten digits by a convolutional deep equilibrium, trained in four ways that differ in what a solve costs.

The middle of the network is one cell of two convolutions, applied until it comes to rest. Trained from zeros (vanilla), from what a
small network predicts (Skip), from what one application of the cell gives (SkipReg), and from zeros with a penalty on the cell's
Jacobian, on 1437 of scikit-learn's digits; judged on 360 others. Prints a table and draws residuals, steps and costs of all four.

    python examples/deq_digits.py               writes deq_digits.png
"""

import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax

import sciml_lux as lux

jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".cache"))
matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = pathlib.Path(__file__).parent
TESTED, BATCH, EPOCHS, CHANNELS = 360, 128, 24, 24
TOLERANCE, TRACED = 1e-2, 30
COLORS = {"vanilla": "tab:gray", "Skip": "tab:blue", "SkipReg": "tab:orange", "Jacobian penalty": "tab:green"}


class Cell(lux.AbstractContainer):
    """`z <- norm(relu(x + conv(relu(norm(conv(z))))))`: the last norm keeps z bounded, a small second kernel makes the cell contract."""

    first: lux.Conv
    first_norm: lux.GroupNorm
    second: lux.Conv
    second_norm: lux.GroupNorm

    def __call__(self, z_and_x, ps, st):
        z, x = z_and_x
        y, _ = self.first(z, ps.first, st.first)
        y, _ = self.first_norm(y, ps.first_norm, st.first_norm)
        y, _ = self.second(y, ps.second, st.second)
        y, _ = self.second_norm(jax.nn.relu(x + y), ps.second_norm, st.second_norm)
        return y, st


def convolution(inputs, outputs, **options):
    return lux.Conv(inputs, outputs, (3, 3), padding="SAME", use_bias=False, **options)


def norm(activation=None):
    return lux.GroupNorm(CHANNELS, 4, 2, activation)


def network(init="zeros", penalty=None):
    """A stem, the equilibrium and a head. Images for which no equilibrium is found get NaN, and are counted as not recognized."""
    cell = Cell(
        first=convolution(CHANNELS, CHANNELS),
        first_norm=norm(jax.nn.relu),
        second=convolution(CHANNELS, CHANNELS, init_weight=lux.init.normal(0.02)),
        second_norm=norm(),
    )
    solver = lux.solvers.Anderson(rtol=TOLERANCE, atol=TOLERANCE, memory=5)
    return lux.Chain(
        stem=lux.Chain(convolution(1, CHANNELS), norm()),
        deq=lux.DeepEquilibrium(cell, solver=solver, init=init, jacobian_penalty=penalty, max_steps=50, throw=False),
        head=lux.Chain(lux.MaxPool((2, 2)), lux.Flatten(3), lux.Dropout(0.3), lux.Dense(16 * CHANNELS, 10)),
    )


def ways():
    """Of each way of training: its network, and what is added to the loss, a function of `st.deq.solution`."""
    predictor = lux.Chain(convolution(CHANNELS, CHANNELS), norm(jax.nn.relu), convolution(CHANNELS, CHANNELS), norm())
    near_start = lambda solution: 0.3 * jnp.mean(solution.init_distance)  # noqa: E731
    return {
        "vanilla": (network(), lambda solution: 0.0),
        "Skip": (network(predictor), near_start),
        "SkipReg": (network("skip_reg"), near_start),
        "Jacobian penalty": (
            network(penalty=lux.solvers.JacobianPenalty(mode="jvp")),
            lambda solution: 0.5 * jnp.mean(solution.jacobian_penalty),
        ),
    }


def load():
    """Images with one channel, from 0 to 1, and labels: those to learn from and those held back, in a fixed random order."""
    with np.load(HERE / "data" / "digits.npz") as stored:
        images, labels = stored["images"][..., None] / np.float32(16.0), stored["labels"].astype(np.int32)
    order = np.random.default_rng(0).permutation(len(labels))
    tested, learned = order[:TESTED], order[TESTED:]
    return (images[learned], labels[learned]), (images[tested], labels[tested])


def shuffled(images, labels, generator):
    """Batches for all epochs, each epoch in another order and each image moved by up to a pixel; what is left over is dropped."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for _ in range(EPOCHS):
        rows, columns = generator.integers(0, 3, (2, len(images)))
        moved = np.stack([image[i : i + 8, j : j + 8] for image, i, j in zip(padded, rows, columns, strict=True)])
        order = generator.permutation(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            yield moved[batch], labels[batch]


def train(model, extra, images, labels):
    """The fit, and its seconds without those of compiling."""
    ps, st = lux.setup(jax.random.key(0), model)
    # A state that a call returned has an axis of samples where one from setup has none.
    _, st = jax.jit(model)(jnp.asarray(images[:BATCH]), ps, st)

    def loss(ps, st, batch):
        logits, st = model(batch[0], ps, st)
        return lux.losses.cross_entropy(logits, batch[1], label_smoothing=0.05) + extra(st.deq.solution), st

    steps = EPOCHS * (len(images) // BATCH)
    schedule = optax.cosine_onecycle_schedule(steps, 6e-3)
    # Gradients are huge where a cell has almost lost its equilibrium.
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(schedule, weight_decay=1e-3))
    batches = lambda: shuffled(images, labels, np.random.default_rng(1))  # noqa: E731
    lux.fit(loss, ps, st, optimizer, steps=2, data=batches())  # compiles
    begin = time.perf_counter()
    fitted = lux.fit(loss, ps, st, optimizer, steps=steps, data=batches(), progress=True)
    return fitted, time.perf_counter() - begin


def judge(model, fitted, images, labels):
    """What is right, the evaluations of each image forward and backward, and the residuals of a solve that goes on to 1e-5."""
    ps, st = fitted.ps.params, lux.test_mode(fitted.st)
    logits, after = jax.jit(model)(images, ps, st)
    solution = after.deq.solution
    right = np.asarray(solution.converged) & (np.asarray(logits).argmax(1) == labels)
    x, _ = model["stem"](images, ps.stem, st.stem)
    deq = model["deq"]
    longer = lux.DeepEquilibrium(
        deq.model,
        solver=lux.solvers.Anderson(rtol=0.0, atol=1e-5, memory=5, trace=TRACED),
        init=deq.init,
        jacobian_penalty=deq.jacobian_penalty,
        max_steps=TRACED,
        throw=False,
    )
    traced, _ = jax.jit(longer.solve)(x, ps.deq, st.deq)
    return {
        "right": right,
        # The start of SkipReg is an application of the cell, too.
        "forward": np.asarray(solution.num_steps) + (deq.init == "skip_reg"),
        "backward": np.asarray(jax.jit(deq.check_adjoint)(x, ps.deq, st.deq).num_steps),
        "unsolved": int(np.sum(~np.asarray(solution.converged))),
        "radius": np.asarray(jax.jit(lambda: deq.spectral_radius(x, ps.deq, st.deq, key=jax.random.key(1)))()),
        "residuals": np.asarray(traced.stats["residuals"]),
    }


def report(rows):
    """One line for each way of training."""
    print(f"\n{TESTED} images held back; tolerance {TOLERANCE:g}; evaluations of the cell for one image\n")
    head = (
        "accuracy",
        "wrong",
        "unsolved",
        "forward",
        "most",
        "backward",
        "radius",
        "train (s)",
        "not taken",
        "parameters",
    )
    print(f"{'':17s}" + "".join(f"{name:>11s}" for name in head))
    for name, row in rows.items():
        wrong = int(np.sum(~row["right"]))
        cells = (
            f"{1 - wrong / TESTED:.1%}",
            wrong,
            row["unsolved"],
            f"{row['forward'].mean():.1f}",
            row["forward"].max(),
            f"{row['backward'].mean():.1f}",
            f"{np.median(row['radius']):.2f}",
            f"{row['seconds']:.1f}",
            row["fitted"].num_rejected,
            row["fitted"].ps.layout.size,
        )
        print(f"{name:17s}" + "".join(f"{cell!s:>11s}" for cell in cells))
    print(
        "\nforward: of the cell until the residual is within the tolerance (Skip: its predictor is not counted); backward: products with"
        "\nthe cell's Jacobian for the gradient; radius: its spectral radius, the median; not taken: training steps left out, since an"
        "\nimage of the batch had no equilibrium within 50 steps. One image is 0.3 %: differences of a few images mean nothing, the more"
        "\nso as learning rate, tolerance and weights of the penalties were chosen while looking at these images."
    )


def draw(rows, path):
    """Residuals and steps above, what it costs and brings below."""
    figure = plt.figure(figsize=(13, 7.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.25, 1])
    left, right = above.subplots(1, 2, width_ratios=[1.2, 1])
    most = max(int(row["forward"].max()) for row in rows.values())
    bins = np.arange(0.5, min(most, TRACED) + 1.5)
    for name, row in rows.items():
        # A sample that is done stays where it is.
        residuals = row["residuals"]
        residuals = np.where(np.isnan(residuals), 1e-5, residuals)
        low, middle, high = np.quantile(residuals, [0.1, 0.5, 0.9], axis=1)
        steps = np.arange(1, len(middle) + 1) + (name == "SkipReg")
        left.semilogy(steps, middle, color=COLORS[name], label=name)
        left.fill_between(steps, low, high, color=COLORS[name], alpha=0.15, linewidth=0)
        right.hist(
            np.minimum(row["forward"], TRACED), bins, histtype="step", color=COLORS[name], label=name, linewidth=1.6
        )
    left.axhline(TOLERANCE, color="0.5", linestyle="--", linewidth=1)
    left.text(TRACED, TOLERANCE * 1.15, "tolerance in training", color="0.4", ha="right", va="bottom")
    left.set(xlabel="evaluations of the cell", ylabel="residual", ylim=(8e-6, None))
    left.set_title("residual of each step: median, and 10 to 90 % of the images held back")
    left.legend()
    right.set(xlabel="evaluations of the cell", ylabel="images", title="evaluations until within the tolerance")
    right.legend()
    places = np.arange(len(rows))
    forward, backward = ([row[way].mean() for row in rows.values()] for way in ("forward", "backward"))
    panels = {
        "evaluations an image: forward (full), backward (pale)": [(forward, -0.2, 1.0), (backward, 0.2, 0.4)],
        "training (s)": [([row["seconds"] for row in rows.values()], 0.0, 1.0)],
        f"not recognized, of {TESTED}, and accuracy": [
            ([int(np.sum(~row["right"])) for row in rows.values()], 0.0, 1.0)
        ],
    }
    for axis, (title, groups) in zip(below.subplots(1, 3, sharey=True), panels.items(), strict=True):
        for values, shift, alpha in groups:
            height = 0.8 / len(groups)
            bars = axis.barh(places + shift, values, height, color=[COLORS[name] for name in rows], alpha=alpha)
            texts = [f"{v:.1f}" if isinstance(v, float) else f"{v}: {1 - v / TESTED:.1%}" for v in values]
            axis.bar_label(bars, texts, padding=3)
        axis.set_title(title, fontsize=10)
        axis.margins(x=0.22)
        axis.set_yticks(places, list(rows))
    axis.invert_yaxis()
    figure.savefig(path, dpi=110)


def main():
    begin = time.perf_counter()
    (images, labels), (test_images, test_labels) = load()
    rows = {}
    for name, (model, extra) in ways().items():
        if not rows:
            print(model)
        fitted, seconds = train(model, extra, images, labels)
        print(f"{name}: {fitted}")
        judged = judge(model, fitted, jnp.asarray(test_images), test_labels)
        rows[name] = {"fitted": fitted, "seconds": seconds, **judged}
    report(rows)
    draw(rows, "deq_digits.png")
    print(f"\nwrote deq_digits.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
