"""Who says the vowels? An LSTM over sequences of unequal lengths, padded and masked.

Nine men said the Japanese vowels /ae/ several times: 270 utterances to learn from, 370 to be judged on, each a series of 7 to 29 frames of
12 cepstrum coefficients. Prints the model and its accuracy, and draws how it grows with the number of frames heard.

    python examples/vowels.py                   writes vowels.png
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
SPEAKERS, LONGEST = 9, 29


def load():
    """`(x, mask), speakers` of both parts: frames scaled by those to learn from, padded with zeros to a common length."""
    with np.load(HERE / "data" / "japanese_vowels.npz") as stored:
        mean, spread = stored["train_frames"].mean(0), stored["train_frames"].std(0)
        parts = []
        for part in ("train", "test"):
            lengths = stored[f"{part}_lengths"].astype(int)
            mask = np.arange(LONGEST) < lengths[:, None]
            x = np.zeros((len(lengths), LONGEST, 12), np.float32)
            x[mask] = (stored[f"{part}_frames"] - mean) / spread
            parts.append(((jnp.asarray(x), jnp.asarray(mask)), jnp.asarray(stored[f"{part}_speakers"], jnp.int32)))
    return parts


def network():
    both_ways = lux.Bidirectional(lux.LSTMCell(12, 32), return_sequence=False)
    return lux.Chain(both_ways, lux.Dropout(0.5), lux.Dense(64, SPEAKERS))


def nearest_mean(learned, judged):
    """The accuracy of the simplest rule: the speaker whose utterances have the nearest average frame."""

    def averages(x, mask):
        return np.asarray(x).sum(1) / np.asarray(mask).sum(1, keepdims=True)

    (inputs, speakers), (others, truth) = learned, judged
    of_utterances = averages(*inputs)
    of_speakers = np.stack([of_utterances[np.asarray(speakers) == i].mean(0) for i in range(SPEAKERS)])
    distances = np.linalg.norm(averages(*others)[:, None] - of_speakers, axis=-1)
    return np.mean(distances.argmin(1) == np.asarray(truth))


def draw(losses, heard, hits, confusion, path):
    """The loss over the steps, the accuracy after so many frames, and the table of confusions."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained")
    axes[0].semilogy(losses)
    axes[0].set(xlabel="step", ylabel="cross-entropy", title="training")
    axes[1].plot(heard, 100 * hits, "o-")
    axes[1].axhline(100 / SPEAKERS, color="0.6", linestyle="--")
    axes[1].text(heard[-1], 100 / SPEAKERS + 2, "guessing", color="0.4", ha="right")
    axes[1].set(xlabel="frames heard", ylabel="recognized (%)", title="utterances held back", ylim=(0, 102))
    axes[2].imshow(np.log1p(confusion), cmap="Blues")
    for (i, j), count in np.ndenumerate(confusion):
        if count:
            axes[2].text(j, i, count, ha="center", va="center", color="white" if count > 15 else "black", fontsize=8)
    ticks = {"xticks": range(SPEAKERS), "yticks": range(SPEAKERS)}
    axes[2].set(xlabel="taken for speaker", ylabel="is speaker", title="whole utterances", **ticks)
    figure.savefig(path, dpi=110)


def main():
    begin = time.perf_counter()
    learned, judged = load()
    model = network()
    print(model)
    ps, st = lux.setup(jax.random.key(0), model)

    def loss(ps, st, data):
        inputs, speakers = data
        logits, st = model(inputs, ps, st)
        return lux.losses.cross_entropy(logits, speakers, label_smoothing=0.1), st

    optimizer = optax.adamw(optax.cosine_decay_schedule(1e-2, 300), weight_decay=1e-2)
    fitted = lux.fit(loss, ps, st, optimizer, steps=300, data=learned, progress=True)
    print(fitted)

    (x, mask), speakers = judged
    recognize = jax.jit(lambda mask, ps, st: jnp.argmax(model((x, mask), ps, st)[0], axis=-1))
    st = lux.test_mode(fitted.st)
    heard = np.arange(1, 21)
    hits = np.array(
        [jnp.mean(recognize(mask & (jnp.arange(LONGEST) < frames), fitted.ps, st) == speakers) for frames in heard]
    )
    predicted = np.asarray(recognize(mask, fitted.ps, st))
    confusion = np.zeros((SPEAKERS, SPEAKERS), int)
    np.add.at(confusion, (np.asarray(speakers), predicted), 1)

    print(f"\nrecognized of {len(speakers)} utterances held back")
    print(f"  LSTM, whole utterance      {np.trace(confusion) / len(speakers):6.1%}")
    print(f"  LSTM, the first 7 frames   {hits[6]:6.1%}")
    print(f"  nearest average frame      {nearest_mean(learned, judged):6.1%}")
    draw(np.asarray(fitted.losses), heard, hits, confusion, "vowels.png")
    print(f"wrote vowels.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
