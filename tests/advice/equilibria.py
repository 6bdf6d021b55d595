"""What to write where an adapter or a solver of fixed points is made or called wrongly."""

import jax
import jax.numpy as jnp

import sciml_lux as lux

from .specimens import DENSE, PAIR, X, function_of_two, run


def halved(pair):
    return jax.tree.map(lambda leaf: 0.5 * leaf, pair[0])


CASES = [
    (
        "solvers/deq/_settings.py: write {}(lux.WrappedFunction({}))",
        lambda: lux.DeepEquilibrium(function_of_two),
        ({"DeepEquilibrium": lux.DeepEquilibrium, "f": lambda z, x: 0.5 * z + x}, lambda deq: run(deq, X)),
    ),
    (
        "solvers/deq/_start.py: write init=lambda x",
        lambda: run(lux.DeepEquilibrium(lux.WrappedFunction(lambda zx: 0.5 * zx[0])), PAIR),
        lambda: run(
            lux.DeepEquilibrium(lux.WrappedFunction(lambda zx: 0.5 * zx[0]), init=lambda x: jnp.zeros(2)), PAIR
        ),
    ),
    (
        "solvers/deq/_rows.py: Write batched=False",
        lambda: run(lux.DeepEquilibrium(lux.WrappedFunction(halved), init=lambda x: (x, x[1:])), jnp.ones((3, 2))),
        lambda: run(
            lux.DeepEquilibrium(lux.WrappedFunction(halved), init=lambda x: (x, x[1:]), batched=False), jnp.ones((3, 2))
        ),
    ),
    (
        "solvers/deq/_settings.py: write solver=lux.solvers.Broyden(...)",
        lambda: lux.DeepEquilibrium(DENSE, adjoint=lux.solvers.ShineGradient()),
        lambda: lux.DeepEquilibrium(DENSE, adjoint=lux.solvers.ShineGradient(), solver=lux.solvers.Broyden()),
    ),
    (
        "solvers/deq/_multi_scale.py: write None for no exchange",
        lambda: lux.solvers.MultiScaleCell((DENSE, DENSE), ((None,),)),
        lambda: lux.solvers.MultiScaleCell((DENSE, DENSE), ((None, None), (None, None))),
    ),
    (
        "solvers/deq/_multi_scale.py: write init=function of x",
        lambda: run(lux.solvers.MultiScaleDEQ(lux.WrappedFunction(halved), shapes=((2,),)), jnp.arange(2)),
        lambda: run(
            lux.solvers.MultiScaleDEQ(lux.WrappedFunction(halved), shapes=((2,),), init=lambda x: (jnp.zeros((1, 2)),)),
            jnp.arange(2),
        ),
    ),
    *(
        (
            f"solvers/fixed_point/{file}: Write {text}",
            lambda name=name, kind=kind, wrong=wrong: getattr(lux.solvers, kind)(**{name: wrong}),
            lambda name=name, kind=kind, value=value: getattr(lux.solvers, kind)(**{name: value}),
        )
        for file, kind, name, wrong, value, text in [
            ("_anderson.py", "Anderson", "memory", -1, 5, "memory=5"),
            ("_anderson.py", "Anderson", "mixing", 0, 1.0, "mixing=1.0"),
            ("_anderson.py", "Anderson", "safeguard", -1, 10.0, "safeguard=10.0"),
            ("_broyden.py", "Broyden", "memory", -1, 20, "memory=20"),
            ("_broyden.py", "Broyden", "scale", 0, 1.0, "scale=1.0"),
            ("_broyden.py", "Broyden", "growth", -1, 4.0, "growth=4.0"),
            ("_damped.py", "Damped", "mixing", -1, 1.0, "mixing=1.0"),
            ("_newton_krylov.py", "NewtonKrylov", "krylov", -1, 30, "krylov=30"),
            ("_newton_krylov.py", "NewtonKrylov", "forcing", -1, 0.5, "forcing=0.5"),
            ("_fixed_point.py", "Damped", "rtol", -1, 1e-4, "{}=1e-4"),
        ]
    ),
]
