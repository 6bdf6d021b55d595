"""Evaluations of a deep equilibrium at equal loss, by where its search starts; nothing is timed.

python benchmarks/deq_starts.py
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from deq_problem import ARRAYS, MODERATE, OTHERS, SIZE, STIFF, X, model_of, weight
from harness import record, table

import sciml_lux as lux

TRAINED = 600


def training(norm: float, kind: str, settings: dict[str, Any]) -> dict[str, float]:
    """Fits another equilibrium's output, always on the same inputs."""
    model, ps, st = model_of(norm, **settings)
    goal = teacher(norm)
    st = jax.jit(model)(ARRAYS[0], ps, st)[1]
    optimizer = optax.adam(1e-3)
    state = optimizer.init(ps)

    def loss(ps: Any, st: Any) -> Any:
        z, st = model(ARRAYS[0], ps, st)
        solution = st["layer_1"]["solution"]
        error = jnp.mean((z - goal) ** 2)
        start = jnp.mean(solution["init_distance"]) if "layer" in kind else 0.0
        return error + start, (st, error, jnp.mean(solution["num_steps"].astype(float)))

    def step(carry: Any, _: Any) -> Any:
        ps, st, state = carry
        (_, (st, error, evaluations)), gradient = jax.value_and_grad(loss, has_aux=True)(ps, st)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(ps, updates), st, state), (error, evaluations)

    (ps, _, _), (errors, evaluations) = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=TRAINED))(
        (ps, st, state)
    )
    run = jax.jit(model)
    last = TRAINED // 6
    on_others = run(jnp.asarray(OTHERS), ps, model_of(norm, **settings)[2])[1]["layer_1"]["solution"]["num_steps"]
    return {
        "loss": float(errors[-1]),
        "all": float(jnp.mean(evaluations)),
        "last": float(jnp.mean(evaluations[-last:])),
        "other inputs": float(jnp.mean(on_others)),
        "frames": frames(run, ps, model_of(norm, **settings)[2]),
    }


def teacher(norm: float) -> jax.Array:
    """What the trained model shall give: the equilibria of other weights."""
    inner, u = weight(norm, 2), X @ weight(2.0, 3)
    z = np.zeros_like(X)
    for _ in range(500):
        z = np.tanh(z @ inner + u)
    return jnp.asarray(z)


def frames(run: Any, ps: Any, st: Any, number: int = 30) -> float:
    """Evaluations a frame for inputs that turn by a degree from one to the next; the first is not counted."""
    taken = []
    for i in range(number):
        angle = np.pi / 180 * i
        _, st = run(jnp.asarray(np.cos(angle) * X + np.sin(angle) * OTHERS), ps, st)
        taken.append(float(jnp.mean(st["layer_1"]["solution"]["num_steps"])))
    return float(np.mean(taken[1:]))


def main() -> None:
    """Evaluations at equal loss, by where the search starts."""
    hidden = lux.Chain(lux.Dense(SIZE, 2 * SIZE, jnp.tanh), lux.Dense(2 * SIZE, SIZE))
    kinds: dict[str, dict[str, Any]] = {
        "zeros": {},
        '`"skip_reg"`': {"init": "skip_reg"},
        "a layer (SkipDEQ)": {"init": hidden},
        "warm": {"warm_start": True},
    }
    figures = {
        norm: {kind: training(norm, kind, settings) for kind, settings in kinds.items()} for norm in (MODERATE, STIFF)
    }
    rows = [
        [
            f"{norm:g}",
            kind,
            f"{of['loss']:.2e}",
            *(f"{of[column]:.1f}" for column in ("all", "last", "other inputs", "frames")),
        ]
        for norm, of_kind in figures.items()
        for kind, of in of_kind.items()
    ]
    head = [
        "norm",
        "start",
        "last loss",
        "evaluations a step",
        f"in the last {TRAINED // 6}",
        "on other inputs",
        "on frames",
    ]
    ratios = [of["zeros"]["all"] / of["warm"]["all"] for of in figures.values()]
    text = (
        f"{TRAINED} steps of Adam on one batch, towards the equilibria of other weights; then, with the trained weights, inputs never "
        "seen, and 30 frames that turn by a degree each.\n\n"
        + table(head, rows)
        + f"\n\nTarget: warm or skip >= 2 x fewer than zeros at equal loss: {ratios[0]:.2g} and {ratios[1]:.2g} (warm, all steps)."
    )
    record("deq_starts", "Deep equilibrium, starts", text, {str(norm): of for norm, of in figures.items()})


if __name__ == "__main__":
    main()
