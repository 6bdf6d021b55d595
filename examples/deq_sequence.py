"""Which capital came last? A deep equilibrium of a two-tap convolution sees as far back as it has to.

Strings of capitals, which are to be kept, and small letters, which distract: after every letter, name the last capital. One gated cell,
after TrellisNet, sees a place and the one before it. Its equilibrium is compared with 1, 4 and 8 applications of the same cell, of the same
number of parameters, at the length of training and at a larger one. Prints a table and draws accuracy by distance.

    python examples/deq_sequence.py             writes deq_sequence.png
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

LETTERS, CHANNELS, LENGTH, LONGER, BATCH, STEPS = 8, 24, 24, 72, 64, 400
FAR = 24  # distances are drawn up to here


class Cell(lux.AbstractContainer):
    """`z_t <- g z_{t-1} + (1 - g) c`, gate and candidate from `(z_{t-1}, x_t)`, all places at once: a fixed point always exists."""

    mix: lux.Dense

    def __call__(self, z_and_x, ps, st):
        z, x = z_and_x
        before = jnp.pad(z, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        y, mix = self.mix(jnp.concatenate([before, x], axis=-1), ps.mix, st.mix)
        gate, candidate = jnp.split(y, 2, axis=-1)
        gate = jax.nn.sigmoid(gate)
        return gate * before + (1 - gate) * jnp.tanh(candidate), {"mix": mix}


def network(applications=None, max_steps=100):
    """The equilibrium of the cell, or so many applications of it, and a readout; parameters and state are alike."""
    # Plain steps: no place depends on later ones, so that these arrive after as many steps as there are places. So do the adjoint's.
    solver = lux.solvers.Damped(rtol=1e-3, atol=1e-3, adaptive=False)
    deq = lux.DeepEquilibrium(
        Cell(mix=lux.Dense(CHANNELS + 2 * LETTERS, 2 * CHANNELS)),
        solver=solver,
        adjoint=lux.solvers.ImplicitGradient(lux.solvers.Damped(rtol=1e-4, atol=0.0, adaptive=False)),
        init=lambda x: jnp.zeros((*x.shape[:-1], CHANNELS), x.dtype),
        max_steps=max_steps,
        throw=False,
    )
    return lux.Chain(
        deq=deq if applications is None else deq.unrolled(steps=applications), head=lux.Dense(CHANNELS, LETTERS)
    )


def strings(generator, number, length):
    """One-hot strings, the last capital at each place, and how far back it is. Every string begins with a capital."""
    letters = generator.integers(0, LETTERS, (number, length))
    capital = generator.random((number, length)) < 0.12
    capital[:, 0] = True
    last = np.maximum.accumulate(np.where(capital, np.arange(length), 0), axis=1)
    x = np.eye(2 * LETTERS, dtype=np.float32)[letters + LETTERS * capital]
    return x, np.take_along_axis(letters, last, 1).astype(np.int32), np.arange(length) - last


def batches():
    generator = np.random.default_rng(1)
    while True:
        yield strings(generator, BATCH, LENGTH)[:2]


def train(model):
    ps, st = lux.setup(jax.random.key(0), model)
    _, st = jax.jit(model)(jnp.asarray(next(batches())[0]), ps, st)

    def loss(ps, st, batch):
        logits, st = model(batch[0], ps, st)
        return lux.losses.cross_entropy(logits, batch[1]), st

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_onecycle_schedule(STEPS, 2e-2)))
    lux.fit(loss, ps, st, optimizer, steps=2, data=batches())  # compiles
    begin = time.perf_counter()
    fitted = lux.fit(loss, ps, st, optimizer, steps=STEPS, data=batches(), progress=True)
    return fitted, time.perf_counter() - begin


def judge(applications, fitted):
    """For both lengths: what is right, how far back it was, the evaluations of each string. A string without equilibrium is all wrong."""
    results = []
    for length in (LENGTH, LONGER):
        x, last, distance = strings(np.random.default_rng(2), 256, length)
        model = network(applications, max_steps=4 * length)
        logits, st = jax.jit(model)(jnp.asarray(x), fitted.ps, lux.test_mode(fitted.st))
        solved = np.asarray(jnp.all(jnp.isfinite(logits), axis=(1, 2)))
        right = (np.asarray(logits).argmax(-1) == last) & solved[:, None]
        results.append((right, distance, np.asarray(st.deq.solution.num_steps), int(np.sum(~solved))))
    return results


def draw(results, path):
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, (_, (right, distance, _, _)) in results.items():
        axes[0].plot(range(FAR + 1), [100 * right[distance == i].mean() for i in range(FAR + 1)], ".-", label=name)
    axes[0].axhline(100 / LETTERS, color="0.6", linestyle="--")
    axes[0].text(FAR, 1, "dashed: guessing", color="0.4", ha="right", va="bottom")
    axes[0].set(xlabel="places since the last capital", ylabel="right (%)", ylim=(0, 103))
    axes[0].set_title(f"strings of {LONGER} letters")
    axes[0].legend(loc="center right", fontsize=8)
    for (_, distance, steps, _), length in zip(results["equilibrium"], (LENGTH, LONGER), strict=True):
        axes[1].plot(distance.max(1), steps, ".", alpha=0.5, label=f"{length} letters")
    axes[1].set(xlabel="longest way back in a string", ylabel="evaluations", ylim=(0, None))
    axes[1].set_title("what the equilibrium of a string takes")
    axes[1].legend()
    figure.savefig(path, dpi=110)


def main():
    begin = time.perf_counter()
    results, lines = {}, []
    for name, applications in {
        "1 application": 1,
        "4 applications": 4,
        "8 applications": 8,
        "equilibrium": None,
    }.items():
        fitted, seconds = train(network(applications))
        print(f"{name}: {fitted}")
        results[name] = judge(applications, fitted)
        line = f"{name:16s}{fitted.ps.layout.size:11d}{seconds:11.1f}"
        for right, _, steps, unsolved in results[name]:
            line += f"{right.mean():11.1%}{steps.mean():13.1f}{unsolved:10d}"
        lines.append(line)
    columns = f"{'accuracy':>11s}{'evaluations':>13s}{'unsolved':>10s}"
    print(f"\n{'':38s}{f'{LENGTH} letters, as in training':>34s}{f'{LONGER} letters':>34s}")
    print(f"{'':16s}{'parameters':>11s}{'train (s)':>11s}{columns}{columns}", *lines, sep="\n")
    print(
        "\nA loop over the places, as of a GRU, computes the same at the cost of one evaluation, but one place after the other."
    )
    draw(results, "deq_sequence.png")
    print(f"\nwrote deq_sequence.png; {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
