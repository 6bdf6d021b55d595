"""A deep equilibrium of one tanh layer, against torchdeq and plain optimistix in the same run.

`z = tanh(z W + x U + b)`, 128 numbers a sample, 128 samples, float32, the same weights for all; `x U + b` is computed once.

    python benchmarks/deq.py
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optax
import optimistix as optx
import torch
import torchdeq
from harness import alternate, block, compile_ratio, record, shown, table

import sciml_lux as lux
from sciml_lux import solvers

SIZE = BATCH = 128
TOLERANCE, MEMORY, MOST = 1e-4, 5, 100
MODERATE, STIFF = 0.9, 2.0  # spectral norms of W
TRAINED = 600
RELATIVE: dict[str, Any] = {"rtol": TOLERANCE, "atol": 0.0, "criterion": "relative"}
ANDERSON = solvers.Anderson(**RELATIVE, memory=MEMORY)


def weight(norm: float, seed: int) -> np.ndarray:
    """A random matrix of that spectral norm."""
    matrix = np.random.default_rng(seed).normal(size=(SIZE, SIZE))
    return (matrix * norm / np.linalg.norm(matrix, 2)).astype(np.float32)


DRAW = np.random.default_rng(0)
INPUT = (DRAW.normal(size=(SIZE, SIZE)) / SIZE**0.5).astype(np.float32)
X, OTHERS = (DRAW.normal(size=(BATCH, SIZE)).astype(np.float32) for _ in range(2))
Y = np.tanh(DRAW.normal(size=(BATCH, SIZE))).astype(np.float32)


class Cell(lux.AbstractLayer):
    """`tanh(z W + u)` of the pair `(z, u)`."""

    norm: float

    def initial_parameters(self, key: Any) -> dict[str, Any]:
        return {"weight": jnp.asarray(weight(self.norm, 1))}

    def __call__(self, z_and_u: Any, ps: Any, st: Any) -> Any:
        z, u = z_and_u
        return jnp.tanh(z @ ps["weight"] + u), st


def model_of(norm: float = MODERATE, *, solver: Any = ANDERSON, cell: Any = None, **settings: Any) -> Any:
    """Our model, its parameters and its state."""
    deq = lux.DeepEquilibrium(cell or Cell(norm), solver=solver, max_steps=settings.pop("max_steps", MOST), **settings)
    model = lux.Chain(lux.Dense(SIZE, SIZE, init_weight=lambda *_: jnp.asarray(INPUT)), deq)
    ps, st = lux.setup(jax.random.key(0), model)
    return model, ps, st


def loss_of(model: Any) -> Any:
    def loss(ps: Any, st: Any, x: Any, y: Any) -> Any:
        z, st = model(x, ps, st)
        return jnp.mean((z - y) ** 2), (z, st)

    return jax.value_and_grad(loss, has_aux=True)


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
ARRAYS = (jnp.asarray(X), jnp.asarray(Y))


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


def temporaries(function: Any, *arguments: Any) -> int:
    """Bytes that the compiled program allocates beside arguments and results."""
    analysis: Any = jax.jit(function).lower(*arguments).compile().memory_analysis()
    return analysis.temp_size_in_bytes


def deep(layers: int, activation: Any = jnp.tanh) -> Any:
    """A cell with that many hidden layers, four times as wide as `z`."""
    inner = [lux.Dense(4 * SIZE, 4 * SIZE, activation) for _ in range(layers - 1)]
    first, last = lux.Dense(SIZE, 4 * SIZE, activation), lux.Dense(4 * SIZE, SIZE, activation)
    return lux.Chain(lambda z_and_u: z_and_u[0] + z_and_u[1], first, *inner, last)


def memory() -> tuple[str, Any]:
    """What a training step allocates, relative to one application of the model with its gradient."""
    hidden = f"hidden layers of {4 * SIZE}"
    cells = {
        "the layer above": Cell(MODERATE),
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
    return text, {"memory": ratios, "once": once}


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


def starts() -> tuple[str, Any]:
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
    return text, {"starts": {str(norm): of for norm, of in figures.items()}}


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
    parts = [training_steps(), backward_passes(), memory(), starts(), compile_times()]
    figures = {name: value for _, part in parts for name, value in part.items()}
    text = "\n\n".join(part for part, _ in parts)
    record("deq", "Deep equilibrium", text, figures, "torch", "torchdeq")


if __name__ == "__main__":
    main()
