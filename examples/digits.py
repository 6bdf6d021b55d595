"""Handwritten digits: a small convolutional network, from the picture of the model to its mistakes.

1437 of scikit-learn's digits to learn from, 360 to be judged on. Prints the model with its cost and its accuracy, and draws its mistakes.

    python examples/digits.py                   writes digits.png
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
TESTED, BATCH, EPOCHS = 360, 64, 25


def load():
    """Images with one channel, from 0 to 1, and labels: those to learn from and those held back, in a fixed random order."""
    with np.load(HERE / "data" / "digits.npz") as stored:
        images, labels = stored["images"][..., None] / np.float32(16.0), stored["labels"].astype(np.int32)
    order = np.random.default_rng(0).permutation(len(labels))
    tested, learned = order[:TESTED], order[TESTED:]
    return (images[learned], labels[learned]), (images[tested], labels[tested])


def network():
    def block(inputs, outputs):
        convolution = lux.Conv(inputs, outputs, (3, 3), padding="SAME", use_bias=False)
        return convolution, lux.BatchNorm(outputs, activation=jax.nn.relu)

    return lux.Chain(
        *block(1, 16),
        *block(16, 32),
        lux.MaxPool((2, 2)),
        *block(32, 32),
        lux.MaxPool((2, 2)),
        lux.Flatten(3),
        lux.Dropout(0.3),
        lux.Dense(128, 10),
    )


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


def draw(losses, probabilities, images, labels, path):
    """The loss over the steps, the table of confusions, and the images that were taken for another digit."""
    predicted = probabilities.argmax(1)
    figure = plt.figure(figsize=(13, 3.9), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=[1, 1, 1.3])
    axis = left.subplots()
    axis.semilogy(losses, color="0.8", label="a step")
    epoch = np.convolve(losses, np.ones(22) / 22, "valid")
    axis.semilogy(11 + np.arange(len(epoch)), epoch, color="tab:blue", label="mean of an epoch")
    axis.set(xlabel="step", ylabel="cross-entropy", title="training")
    axis.legend()
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, predicted), 1)
    axis = middle.subplots()
    axis.imshow(np.log1p(confusion), cmap="Blues")
    for (i, j), count in np.ndenumerate(confusion):
        if count:
            axis.text(j, i, count, ha="center", va="center", color="white" if count > 15 else "black", fontsize=8)
    axis.set(xlabel="taken for", ylabel="is", title="images held back", xticks=range(10), yticks=range(10))
    wrong = np.flatnonzero(predicted != labels)
    # The mistakes, or the least certain ones if there are fewer than six.
    certainty = probabilities[np.arange(len(labels)), labels]
    shown = np.argsort(certainty)[: max(6, len(wrong))][:6]
    for axis, i in zip(right.subplots(2, 3).flat, shown, strict=True):
        axis.imshow(images[i, ..., 0], cmap="gray_r")
        axis.set_title(
            f"{labels[i]}: {certainty[i]:.0%}" + (f", taken for {predicted[i]}" if predicted[i] != labels[i] else ""),
            fontsize=9,
        )
        axis.axis("off")
    right.suptitle("least certain of the right digit")
    figure.savefig(path, dpi=110)


def main():
    begin = time.perf_counter()
    (images, labels), (test_images, test_labels) = load()
    model = network()
    print(model)
    print(lux.tools.summary(model, (BATCH, 8, 8, 1)))
    ps, st = lux.setup(jax.random.key(0), model)

    def loss(ps, st, batch):
        logits, st = model(batch[0], ps, st)
        return lux.losses.cross_entropy(logits, batch[1], label_smoothing=0.05), st

    steps = EPOCHS * (len(images) // BATCH)
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(steps, 1e-2), weight_decay=1e-3)
    batches = shuffled(images, labels, np.random.default_rng(1))
    fitted = lux.fit(loss, ps, st, optimizer, steps=steps, data=batches, progress=True)
    print(fitted)

    predict = jax.jit(lambda x, ps, st: jax.nn.softmax(model(x, ps, st)[0]))
    probabilities = np.asarray(predict(jnp.asarray(test_images), fitted.ps, lux.test_mode(fitted.st)))
    wrong = int(np.sum(probabilities.argmax(1) != test_labels))
    accuracy = 1 - wrong / len(test_labels)
    print(f"\n{accuracy:.1%} of {len(test_labels)} images held back are recognized, {wrong} are not")
    draw(np.asarray(fitted.losses), probabilities, test_images, test_labels, "digits.png")
    print(f"wrote digits.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
