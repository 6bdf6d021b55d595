"""A deep equilibrium of one tanh layer, against torchdeq and plain optimistix in the same run.

The same weights for all (`deq_problem.py`); `x U + b` is computed once.

    python benchmarks/deq.py
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import torch
import torchdeq
from deq_problem import (
    ANDERSON,
    ARRAYS,
    INPUT,
    MEMORY,
    MODERATE,
    MOST,
    RELATIVE,
    SIZE,
    STIFF,
    TOLERANCE,
    X,
    Y,
    loss_of,
    model_of,
    weight,
)
from harness import alternate, block, compile_ratio, record, shown, table

from sciml_lux import solvers


def by_hand(solver: Any, params: Any, x: Any, y: Any) -> Any:
    """The loss of the same equilibrium by optimistix alone."""
    u = x @ params["input"] + params["bias"]
    solution = optx.fixed_point(
        lambda z, args: jnp.tanh(z @ args[0] + args[1]),
        solver,
        jnp.zeros_like(u),
        (params["weight"], u),
        max_steps=MOST,
        adjoint=optx.ImplicitAdjoint(linear_solver=lx.GMRES(rtol=TOLERANCE, atol=TOLERANCE)),
    )
    return jnp.mean((solution.value - y) ** 2), (solution.value, solution.stats["num_steps"])


PLAIN = optx.FixedPointIteration(rtol=TOLERANCE, atol=TOLERANCE)
HAND = {"input": jnp.asarray(INPUT), "bias": jnp.zeros((SIZE,)), "weight": jnp.asarray(weight(MODERATE, 1))}


class Torch:
    """The same equilibrium by torchdeq. `kept`: its name for how many iterates Anderson remembers, one more than differences."""

    def __init__(self, kept: int, threads: int) -> None:
        modes = {"f_solver": "anderson", "b_solver": "anderson", "f_stop_mode": "rel", "b_stop_mode": "rel"}
        limits = {"f_max_iter": MOST, "b_max_iter": MOST, "f_tol": TOLERANCE, "b_tol": TOLERANCE}
        self.deq, self.kept, self.threads = torchdeq.get_deq(**modes, **limits, ift=True), kept, threads
        self.parameters = [torch.from_numpy(np.array(HAND[name])).requires_grad_() for name in HAND]
        self.x, self.y = torch.from_numpy(X), torch.from_numpy(Y)
        self.forward, self.backward = 0, 0

    def __call__(self) -> Any:
        """One training step; returns the equilibrium."""
        torch.set_num_threads(self.threads)
        for parameter in self.parameters:
            parameter.grad = None
        matrix, bias, inner = self.parameters
        u = self.x @ matrix + bias
        outs, info = self.deq(
            lambda z: torch.tanh(z @ inner + u),
            torch.zeros_like(u),
            solver_kwargs={"m": self.kept},
            backward_writer=lambda info: setattr(self, "backward", int(info["nstep"].max())),
        )
        torch.mean((outs[-1] - self.y) ** 2).backward()
        self.forward = int(info["nstep"].max())
        return outs[-1].detach()


@functools.cache
def exact(norm: float) -> tuple[np.ndarray, np.ndarray]:
    """The equilibria and the gradient of the loss in all parameters, by dense algebra in float64."""
    w, u = weight(norm, 1).astype(float), X.astype(float) @ INPUT.astype(float)
    z = np.zeros_like(u)
    slopes = 1 - z**2
    for _ in range(50):  # Newton's steps
        f = np.tanh(z @ w + u)
        slopes = 1 - f**2
        z = z + np.stack(
            [np.linalg.solve(np.eye(SIZE) - s[:, None] * w.T, r) for s, r in zip(slopes, f - z, strict=True)]
        )
    assert np.max(np.abs(np.tanh(z @ w + u) - z)) < 1e-13
    g = 2 * (z - Y) / z.size
    adjoint = np.stack([np.linalg.solve(np.eye(SIZE) - w * s[None], r) for s, r in zip(slopes, g, strict=True)])
    inner = adjoint * slopes
    return z, np.concatenate([(X.T @ inner).ravel(), inner.sum(axis=0), (z.T @ inner).ravel()])


def flattened(gradient: Any) -> np.ndarray:
    """Ours, by hand, or torch's, in one order."""
    names = ("layer_0.weight", "layer_0.bias", "layer_1.model.weight")
    if isinstance(gradient, list):
        return np.concatenate([parameter.grad.numpy().ravel() for parameter in gradient])
    if isinstance(gradient, dict):
        names = tuple(HAND)
    return np.concatenate([np.asarray(gradient[name]).ravel() for name in names])


def largest_residual(z: Any, norm: float = MODERATE) -> float:
    """The largest of all samples, relative, by one more application in float64."""
    z = np.asarray(z, float)
    image = np.tanh(z @ weight(norm, 1).astype(float) + X.astype(float) @ INPUT.astype(float))
    return float(np.max(np.linalg.norm(image - z, axis=1) / np.linalg.norm(image, axis=1)))


def off(gradient: np.ndarray, norm: float = MODERATE) -> float:
    """The relative error of a gradient."""
    true = exact(norm)[1]
    return float(np.linalg.norm(gradient - true) / np.linalg.norm(true))


def products(model: Any, ps: Any, st: Any, z: Any) -> int:
    """Products with the Jacobian that the slowest sample's gradient takes, the last one, which every gradient takes, left out."""
    (_, injection), (_, deq) = model.layers
    inner, _ = injection(ARRAYS[0], ps["layer_0"], st["layer_0"])
    accuracy = jax.jit(deq.check_adjoint)(inner, ps["layer_1"], st["layer_1"], (z - ARRAYS[1]))
    return int(jnp.max(accuracy.num_steps))


def training_steps() -> tuple[str, Any]:
    """Value and gradient in all parameters: the default, other gradients, and the peers."""
    adjoints = {
        "sciml_lux": "auto",
        "sciml_lux, GMRES": solvers.ImplicitGradient("gmres"),
        "sciml_lux, Anderson backward": solvers.ImplicitGradient(ANDERSON),
        "sciml_lux, phantom": solvers.PhantomGradient(),
        "sciml_lux, Jacobian-free": solvers.JacobianFreeGradient(),
    }
    runs, found = {}, {}
    for name, adjoint in adjoints.items():
        model, ps, st = model_of(adjoint=adjoint)
        program = jax.jit(loss_of(model)).lower(ps, st, *ARRAYS).compile()
        runs[name] = functools.partial(program, ps, st, *ARRAYS)
        (_, (z, after)), gradient = runs[name]()
        evaluations = int(jnp.max(after["layer_1"]["solution"]["num_steps"]))
        found[name] = z, evaluations, products(model, ps, st, z), flattened(gradient)
    hand = jax.jit(jax.value_and_grad(functools.partial(by_hand, PLAIN), has_aux=True))
    runs["optimistix by hand"] = functools.partial(hand, HAND, *ARRAYS)
    (_, (z, evaluations)), gradient = block(runs["optimistix by hand"]())
    found["optimistix by hand"] = z, int(evaluations), None, flattened(gradient)
    for threads in (1, 2):
        for kept in (MEMORY, MEMORY + 1):
            name = f"torchdeq, m={kept}, {threads} thread{'s' * (threads - 1)}"
            run = runs[name] = Torch(kept, threads)
            z = run().numpy()
            found[name] = z, run.forward, run.backward, flattened(run.parameters)
    seconds = alternate(runs)
    rows = [
        [
            name,
            shown(seconds[name]),
            f"{seconds[name] / seconds['sciml_lux']:.2g}",
            str(evaluations),
            "" if backward is None else str(backward),
            f"{largest_residual(z):.1e}",
            f"{off(gradient):.1e}",
        ]
        for name, (z, evaluations, backward, gradient) in found.items()
    ]
    head = ["", "training step", "x ours", "evaluations", "products", "largest residual", "gradient off by"]
    peers = [name for name in found if "torch" in name]
    ratio = min(seconds[name] for name in peers) / seconds["sciml_lux"]
    fewest = min(found[name][1] for name in peers)
    within = all(largest_residual(found[name][0]) <= TOLERANCE * 1.001 for name in adjoints)
    text = (
        f"Spectral norm of W {MODERATE:g}, Anderson with memory {MEMORY}, until every sample has a relative residual of at most "
        f"{TOLERANCE:g} (torchdeq the same, backward too; optimistix by its own criterion, plain iteration, GMRES). Evaluations: of the "
        "model on the batch in the forward solve. Products: with the Jacobian, of the slowest sample. Residuals and gradients are "
        "checked in float64; the gradient's error is relative.\n\n"
        + table(head, rows)
        + f"\n\nTargets: the faster torchdeq >= 5 x ours: {ratio:.3g}. Every sample within tolerance: {'yes' if within else 'no'}. "
        f"Evaluations <= torchdeq's {fewest}: {found['sciml_lux'][1]}. torchdeq keeps `m` iterates, that is `m - 1` differences."
    )
    figures = {name: [seconds[name], *numbers[1:3], off(numbers[3])] for name, numbers in found.items()}
    return text, {"steps": figures, "torchdeq / ours": ratio}


GRADIENTS = {
    "implicit, Bi-CGSTAB": {},
    "implicit, GMRES": {"adjoint": solvers.ImplicitGradient("gmres")},
    "implicit, Anderson": {"adjoint": solvers.ImplicitGradient(ANDERSON)},
    "implicit, LU": {"adjoint": solvers.ImplicitGradient("lu")},
    "SHINE, after Broyden": {"adjoint": solvers.ShineGradient(), "solver": solvers.Broyden(**RELATIVE)},
    "phantom, 5 steps": {"adjoint": solvers.PhantomGradient()},
    "phantom, 2 full steps": {"adjoint": solvers.PhantomGradient(steps=2, damping=1.0)},
    "phantom, 5 full steps": {"adjoint": solvers.PhantomGradient(steps=5, damping=1.0)},
    "phantom, 10 full steps": {"adjoint": solvers.PhantomGradient(steps=10, damping=1.0)},
    "Jacobian-free": {"adjoint": solvers.JacobianFreeGradient()},
    "unrolled, 10 steps": {"adjoint": solvers.UnrolledGradient(steps=10)},
}


def backward_passes() -> tuple[str, Any]:
    """Each gradient alone, after its forward solve: seconds, and how near the true one it is."""
    measured: dict[str, dict[float, Any]] = {name: {} for name in GRADIENTS}
    for norm in (MODERATE, STIFF):
        runs = {}
        for name, settings in GRADIENTS.items():
            model, ps, st = model_of(norm, **settings)
            forward = jax.jit(lambda ps, st, x, model=model: jax.vjp(lambda ps: model(x, ps, st)[0], ps))
            z, pull = forward(ps, st, ARRAYS[0])
            runs[name] = functools.partial(jax.jit(lambda pull, g: pull(g)[0]), pull, 2 * (z - ARRAYS[1]) / z.size)
            gradient, true = flattened(runs[name]()), exact(norm)[1]
            cosine = float(gradient @ true / np.linalg.norm(gradient) / np.linalg.norm(true))
            steps = None if "unrolled" in name else products(model, ps, st, z)
            measured[name][norm] = [steps, off(gradient, norm), cosine]
        for name, taken in alternate(runs).items():
            measured[name][norm].insert(0, taken)
    base = "implicit, Bi-CGSTAB"
    rows = [
        [
            name,
            *(
                text
                for norm, (taken, steps, error, cosine) in of_norm.items()
                for text in (
                    shown(taken),
                    f"{taken / measured[base][norm][0]:.2f}",
                    "" if steps is None else str(steps),
                    f"{error:.1e}",
                    f"{cosine:.3f}",
                )
            ),
        ]
        for name, of_norm in measured.items()
    ]
    head = [""] + [
        f"{title}, norm {norm:g}" if i == 0 else title
        for norm in (MODERATE, STIFF)
        for i, title in enumerate(("backward", "x implicit", "products", "off by", "cosine"))
    ]
    phantom = measured["phantom, 5 steps"]
    ratios = {
        (exact_one, norm): phantom[norm][0] / measured[exact_one][norm][0]
        for exact_one in (base, "implicit, GMRES")
        for norm in (MODERATE, STIFF)
    }
    shares = "; ".join(f"{ratio:.2f} of {name} at norm {norm:g}" for (name, norm), ratio in ratios.items())
    cheapest = measured["phantom, 2 full steps"]
    shares += "; with 2 full steps " + " and ".join(f"{cheapest[n][0] / measured[base][n][0]:.2f}" for n in cheapest)
    text = (
        f"The backward pass alone, for W of spectral norm {MODERATE:g} (the map contracts well) and {STIFF:g} (hardly): relative error of "
        "the gradient in all parameters, and its cosine with the true one.\n\n"
        + table(head, rows)
        + f"\n\nTarget: phantom, 5 steps, <= 0.25 x implicit: {shares}. Products decide, the last one counted, which all take: "
        + "; ".join(
            f"{phantom[norm][1] + 1} of {measured[base][norm][1] + 1} at norm {norm:g}" for norm in (MODERATE, STIFF)
        )
        + "."
    )
    return text, {"gradients": {name: {str(k): v for k, v in of.items()} for name, of in measured.items()}}


def compile_times() -> tuple[str, Any]:
    """To trace, lower and compile a training step: ours and the same loop by hand."""

    def ours(solver: Any) -> Any:
        def make() -> Any:
            model, ps, st = model_of(solver=solver)
            return loss_of(model), (ps, st, *ARRAYS)

        return make

    def hand(solver: Any) -> Any:
        return lambda: (jax.value_and_grad(functools.partial(by_hand, solver), has_aux=True), (HAND, *ARRAYS))

    batched = solvers.Anderson(**RELATIVE, memory=MEMORY, batched=True)
    makers = {
        ("plain iteration", "ours"): ours(PLAIN),
        ("plain iteration", "by hand"): hand(PLAIN),
        ("Anderson", "ours"): ours(ANDERSON),
        ("Anderson", "by hand"): hand(batched),
    }
    seconds = compile_ratio({" ".join(key): make for key, make in makers.items()}, turns=5)
    rows = []
    for loop in ("plain iteration", "Anderson"):
        own, other = (seconds[f"{loop} {side}"] for side in ("ours", "by hand"))
        rows.append([loop, shown(own), shown(other), f"{own / other:.2f}"])
    text = (
        "To compile a training step: `DeepEquilibrium` with that solver, and by hand `optimistix.fixed_point` with the same one and an "
        "implicit adjoint by GMRES.\n\n" + table(["loop", "ours", "by hand", "ratio (<= 1)"], rows)
    )
    return text, {"compile": seconds}


def main() -> None:
    parts = [training_steps(), backward_passes(), compile_times()]
    figures = {name: value for _, part in parts for name, value in part.items()}
    text = "\n\n".join(part for part, _ in parts)
    record("deq", "Deep equilibrium", text, figures, "torch", "torchdeq")


if __name__ == "__main__":
    main()
