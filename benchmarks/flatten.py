"""What a flat parameter vector costs and saves, against separate arrays in the same run.

python benchmarks/flatten.py
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from harness import alternate, compile_ratio, record, shown, table
from jax import lax

import sciml_lux as lux

BATCH, LOOP = 16, 10
NOTE = (
    "Targets: <= 1.1 at 50 layers for the first release, <= 1.0 everywhere after it. What flat costs is one copy of the vector into "
    "segments and one copy of the gradient back; what it saves is one kernel and one buffer for each array. In a loop, as training "
    "runs, buffers are reused. A single call that returns a large vector gets fresh memory from the operating system each time, where "
    "many small arrays reuse the allocator's (at 200 x 256 that is about half of the difference: compare with "
    "`MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=4000000000` in the environment)."
)
COMPILE_DEPTHS = (50, 200)


def model_of(depth: int, width: int) -> lux.Chain:
    return lux.Chain(*[lux.Dense(width, width, jnp.tanh) for _ in range(depth)])


def separate_loss(params: Any, x: Any) -> Any:
    """The same network by hand, on a list of dicts."""
    for layer in params:
        x = jnp.tanh(x @ layer["weight"] + layer["bias"])
    return jnp.mean(x**2)


def problem(depth: int, width: int) -> tuple[Any, Any, Any, Any]:
    """The flat loss, its parameters, the separate parameters, and an input."""
    model = model_of(depth, width)
    ps, st = lux.setup(jax.random.key(0), model)
    separate = [dict(ps.params[f"layer_{i}"]) for i in range(depth)]
    x = jax.random.normal(jax.random.key(1), (BATCH, width))
    return (lambda ps, x: jnp.mean(model(x, ps, st)[0] ** 2)), ps, separate, x


def descend(loss: Any) -> Any:
    """Ten steps of gradient descent in one compiled loop, as training runs them."""

    @jax.jit
    def run(params: Any, x: Any) -> Any:
        def step(_: Any, params: Any) -> Any:
            return jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.grad(loss)(params, x))

        return lax.fori_loop(0, LOOP, step, params)

    return run


def gradients() -> tuple[str, Any]:
    rows, figures = [], {}
    for depth in (4, 50, 200):
        for width in (32, 64, 256):
            flat_loss, ps, separate, x = problem(depth, width)
            contenders = {
                "flat": functools.partial(jax.jit(jax.grad(flat_loss)), ps, x),
                "separate": functools.partial(jax.jit(jax.grad(separate_loss)), separate, x),
                "flat loop": functools.partial(descend(flat_loss), ps, x),
                "separate loop": functools.partial(descend(separate_loss), separate, x),
            }
            taken = alternate(contenders, seconds=0.05)
            call, loop = taken["flat"] / taken["separate"], taken["flat loop"] / taken["separate loop"]
            figures[f"{depth}x{width}"] = {**taken, "ratio_call": call, "ratio_loop": loop}
            cells = [shown(taken["flat loop"] / LOOP), shown(taken["separate loop"] / LOOP), f"{loop:.2f}"]
            cells += [shown(taken["flat"]), shown(taken["separate"]), f"{call:.2f}"]
            rows.append([f"{depth} layers of {width}", *cells])
            jax.clear_caches()
    head = ["gradient", "flat, a step in a loop", "separate", "ratio", "flat, a single call", "separate", "ratio"]
    return table(head, rows) + "\n\n" + NOTE, figures


def adam() -> tuple[str, Any]:
    rows, figures = [], {}
    for depth, width in ((4, 32), (50, 32)):
        _, ps, separate, _ = problem(depth, width)
        optimizer = optax.adam(1e-3)

        @jax.jit
        def step(params: Any, state: Any, gradient: Any, optimizer: Any = optimizer) -> Any:
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        flat_state, separate_state = optimizer.init(ps), optimizer.init(separate)
        taken = alternate(
            {
                "flat": functools.partial(step, ps, flat_state, ps),
                "separate": functools.partial(step, separate, separate_state, separate),
            },
            seconds=0.05,
        )
        ratio = taken["flat"] / taken["separate"]
        figures[f"{depth}x{width}"] = {**taken, "ratio": ratio}
        rows.append(
            [
                f"{depth} layers of {width}",
                shown(taken["flat"]),
                shown(taken["separate"]),
                f"{ratio:.2f}",
                "<= 0.6 at 50",
            ]
        )
    return table(["Adam step", "flat", "separate arrays", "ratio", "target"], rows), figures


def many_tensors() -> tuple[str, Any]:
    """An Adam step on 3000 tensors of 3500 numbers, against the dict and against the memory's own speed."""
    tensors, length = 3000, 3500
    ps = lux.flatten.flatten({f"p{i}": jnp.zeros(length) for i in range(tensors)})
    optimizer = optax.adam(1e-3)

    def update(params: Any, state: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(update, donate_argnums=(0, 1))
    flat = Donated(step, ps.replace(jnp.copy(ps.vector)), optimizer.init(ps), ps)
    tree = {name: jnp.zeros(length) for name in ps}
    separate = Donated(step, jax.tree.map(jnp.copy, tree), optimizer.init(tree), tree)
    b, c = jnp.ones(ps.layout.size), jnp.ones(ps.layout.size)
    triad = Donated(
        jax.jit(lambda a, _, b, c: (b + 3.0 * c, None), donate_argnums=0, keep_unused=True),
        jnp.ones(ps.layout.size),
        None,
        b,
        c,
    )
    taken = alternate({"flat": flat, "separate": separate, "triad": triad}, turns=7, seconds=0.2)
    numbers = ps.layout.size * 4
    # Adam reads parameters, gradient and two moments and writes three of them; the triad reads two vectors and writes one.
    bandwidth = {"flat": 7 * numbers / taken["flat"], "triad": 3 * numbers / taken["triad"]}
    share, faster = bandwidth["flat"] / bandwidth["triad"], taken["separate"] / taken["flat"]
    rows = [
        [
            shown(taken["flat"]),
            shown(taken["separate"]),
            f"{faster:.1f} (>= 3)",
            f"{bandwidth['flat'] / 1e9:.1f} GB/s",
            f"{bandwidth['triad'] / 1e9:.1f} GB/s",
            f"{share:.0%} (>= 90 %)",
        ]
    ]
    head = ["Adam step, 3000 x 3500: flat", "dict", "dict / flat", "flat moves", "triad moves", "share"]
    return table(head, rows), {**taken, "bandwidth": bandwidth, "faster": faster, "share": share}


class Donated:
    """A step that gives its buffers up to the next, as training does."""

    def __init__(self, step: Any, params: Any, state: Any, *rest: Any) -> None:
        self.step, self.params, self.state, self.rest = step, params, state, rest

    def __call__(self) -> Any:
        self.params, self.state = self.step(self.params, self.state, *self.rest)
        return self.params


def repeated() -> tuple[str, Any]:
    """Compile time of the gradient of equal layers in a row."""
    rows, figures = [], {}

    def maker(number: int) -> Any:
        model = lux.Repeated(lux.Dense(32, 32, jnp.tanh), number)
        ps, st = lux.setup(jax.random.key(0), model)
        x = jnp.ones((BATCH, 32))
        return jax.grad(lambda ps, x: jnp.mean(model(x, ps, st)[0] ** 2)), (ps, x)

    taken = compile_ratio({str(number): functools.partial(maker, number) for number in (5, 50, 200)})
    for number, seconds in taken.items():
        figures[number] = seconds
        rows.append([number, shown(seconds), f"{seconds / taken['5']:.2f}"])
    return table(["Repeated: number of layers", "compile the gradient", "x that of 5 (does not grow)"], rows), figures


def compiling() -> tuple[str, Any]:
    rows, figures = [], {}
    for depth in COMPILE_DEPTHS:
        flat_loss, ps, separate, x = problem(depth, 32)

        def flat_maker(flat_loss: Any = flat_loss, ps: Any = ps, x: Any = x) -> Any:
            return jax.grad(lambda *arguments: flat_loss(*arguments)), (ps, x)

        def separate_maker(separate: Any = separate, x: Any = x) -> Any:
            return jax.grad(lambda *arguments: separate_loss(*arguments)), (separate, x)

        taken = compile_ratio({"flat": flat_maker, "separate": separate_maker})
        ratio = taken["flat"] / taken["separate"]
        figures[str(depth)] = {**taken, "ratio": ratio}
        rows.append([f"{depth} layers of 32", shown(taken["flat"]), shown(taken["separate"]), f"{ratio:.2f}", "<= 2"])
    return table(["compile the gradient", "flat", "separate arrays", "ratio", "target"], rows), figures


def halve(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf * 0.5, params)


def dispatch() -> tuple[str, Any]:
    """A jitted function that takes and returns all parameters and does next to nothing with them."""
    rows, figures = [], {}
    for entries in (20, 200, 600):
        ps = lux.flatten.flatten({f"p{i}": jnp.ones(4) for i in range(entries)})
        tree = dict(ps.params)
        taken = alternate(
            {
                "flat": functools.partial(jax.jit(halve), ps),
                "bare": functools.partial(jax.jit(halve), ps.vector),
                "jax.jit": functools.partial(jax.jit(halve), tree),
                "eqx.filter_jit": functools.partial(eqx.filter_jit(halve), tree),
            }
        )
        figures[str(entries)] = taken
        rows.append(
            [
                f"{entries} entries",
                *[shown(taken[name]) for name in ("flat", "bare", "jax.jit", "eqx.filter_jit")],
                f"{taken['flat'] / taken['bare']:.2f}",
                f"{taken['eqx.filter_jit'] / taken['flat']:.0f}",
            ]
        )
    few, many = figures["20"]["flat"], figures["600"]["flat"]
    slope = (many - few) / 580 * 1e6
    figures["slope_us_per_entry"] = slope
    head = [
        "dispatch",
        "flat",
        "one bare array",
        "jax.jit on a dict",
        "eqx.filter_jit on a dict",
        "flat / bare",
        "filter_jit / flat",
    ]
    targets = f"Targets at 600 entries: flat / bare <= 1.1, filter_jit / flat >= 20; slope < 0.02 µs an entry, got {slope:.4f}."
    return table(head, rows) + "\n\n" + targets, figures


def main() -> None:
    parts = {
        "gradient": gradients(),
        "adam": adam(),
        "many tensors": many_tensors(),
        "compile": compiling(),
        "repeated": repeated(),
        "dispatch": dispatch(),
    }
    text = "\n\n".join(text for text, _ in parts.values())
    record("flatten", "Flat vector", text, {name: figures for name, (_, figures) in parts.items()})


if __name__ == "__main__":
    main()
