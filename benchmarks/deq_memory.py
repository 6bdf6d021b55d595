"""What a training step of a deep equilibrium allocates, beside one application of its model; nothing is timed.

python benchmarks/deq_memory.py
"""

from typing import Any

import jax
import jax.numpy as jnp
from deq_problem import ARRAYS, BATCH, MODERATE, MOST, RELATIVE, SIZE, Cell, loss_of, model_of
from harness import record, table

import sciml_lux as lux
from sciml_lux import solvers


def temporaries(function: Any, *arguments: Any) -> int:
    """Bytes that the compiled program allocates beside arguments and results."""
    analysis: Any = jax.jit(function).lower(*arguments).compile().memory_analysis()
    return analysis.temp_size_in_bytes


def deep(layers: int, activation: Any = jnp.tanh) -> Any:
    """A cell with that many hidden layers, four times as wide as `z`."""
    inner = [lux.Dense(4 * SIZE, 4 * SIZE, activation) for _ in range(layers - 1)]
    first, last = lux.Dense(SIZE, 4 * SIZE, activation), lux.Dense(4 * SIZE, SIZE, activation)
    return lux.Chain(lambda z_and_u: z_and_u[0] + z_and_u[1], first, *inner, last)


def main() -> None:
    """What a training step allocates, relative to one application of the model with its gradient."""
    hidden = f"hidden layers of {4 * SIZE}"
    cells = {
        "the tanh layer": Cell(MODERATE),
        f"2 {hidden}, tanh": deep(2),
        f"8 {hidden}, tanh": deep(8),
        f"8 {hidden}, relu": deep(8, jax.nn.relu),
    }
    ways: dict[str, dict[str, Any]] = {
        f"Anderson, max_steps={MOST // 10}": {"max_steps": MOST // 10},
        f"Anderson, max_steps={MOST}": {},
        f"Anderson, max_steps={MOST * 10}": {"max_steps": MOST * 10},
        "Anderson, memory 2": {"solver": solvers.Anderson(**RELATIVE, memory=2)},
        "Damped": {"solver": solvers.Damped(**RELATIVE)},
        "Anderson, GMRES backward": {"adjoint": solvers.ImplicitGradient("gmres")},
        "30 unrolled steps": {"adjoint": solvers.UnrolledGradient(steps=30)},
    }
    ratios: dict[str, dict[str, float]] = {name: {} for name in ways}
    once = {}
    for place, cell in cells.items():
        inner, own = lux.setup(jax.random.key(0), cell)

        def loss(ps: Any, z: Any, u: Any, y: Any, cell: Any = cell, own: Any = own) -> Any:
            return jnp.mean((cell((z, u), ps, own)[0] - y) ** 2)

        once[place] = temporaries(jax.value_and_grad(loss), inner, ARRAYS[1], *ARRAYS)
        for name, settings in ways.items():
            model, ps, st = model_of(cell=cell, **settings)
            ratios[name][place] = temporaries(loss_of(model), ps, st, *ARRAYS) / once[place]
    rows = [[name, *(f"{ratio:.2f}" for ratio in row.values())] for name, row in ratios.items()]
    of_z = [
        f"one application, x z ({BATCH * SIZE * 4 // 1024} KiB)",
        *(f"{size / (BATCH * SIZE * 4):.1f}" for size in once.values()),
    ]
    text = (
        "What the compiled training step allocates beside arguments and results, relative to one application of the model with its "
        "gradient.\n\n"
        + table(["", *cells], [of_z, *rows])
        + "\n\nTarget: <= 1.2 at any number of steps. The steps take none. Anderson keeps two copies of `z` for each difference it "
        "remembers and Bi-CGSTAB some six, which count where the model itself keeps little; and of each tanh, two arrays live "
        "through the loop of the backward solve, where one application alone computes the second from the first."
    )
    record("deq_memory", "Deep equilibrium, memory", text, {"memory": ratios, "once": once})


if __name__ == "__main__":
    main()
