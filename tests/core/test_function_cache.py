"""What compiled programs are kept for: functions of which nothing has changed, in their code and in all that they read."""

import collections
import dataclasses
import functools
import random
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest

import sciml_lux as lux
from sciml_lux.core import cached_function
from sciml_lux.estimation import curve_fit, least_squares

MODULE = types.ModuleType("a_module_of_the_user")
exec(
    "import numpy as np\nscale = 1.0\nlimits = [1.0]\ndef helper(x):\n    return scale * limits[0] * x\n",
    MODULE.__dict__,
)
SCALE = 1.0
TABLE = {"a": [1.0, {"b": 1.0}]}
ARRAY = np.ones(3)


@dataclasses.dataclass
class Machine:
    """An object whose methods read its attributes."""

    gain: float = 1.0
    offset = 0.0

    def curve(self, x):
        return self.inner(x) + self.offset

    def inner(self, x):
        return self.gain * x

    def unrelated(self):
        return time.time()

    def __call__(self, x):
        return self.inner(x)

    @property
    def double(self):
        return 2 * self.gain


class Slotted:
    __slots__ = ("gain",)

    def __init__(self):
        self.gain = 1.0

    def __call__(self, x):
        return self.gain * x


class Scaled(lux.AbstractLayer):
    """A layer that reads a global."""

    def __call__(self, x, ps, st):
        return SCALE * x, st


def set_global():
    global SCALE
    SCALE += 1.0


def of_cell():
    scale = 1.0

    def function(x):
        return scale * x

    def change():
        nonlocal scale
        scale = 2.0

    return function, change


def of_object(function, thing, name="gain", value=2.0):
    return function, lambda: setattr(thing, name, value)


def of_machine(make):
    machine = Machine()
    return of_object(make(machine), machine)


def of_default():
    function = lambda x, scale=1.0: scale * x  # noqa: E731
    return function, lambda: setattr(function, "__defaults__", (2.0,))


def of_keyword_default():
    def function(x, *, scale=1.0):
        return scale * x

    return function, lambda: function.__kwdefaults__.update(scale=2.0)


def of_code():
    function = lambda x: x  # noqa: E731
    return function, lambda: setattr(function, "__code__", (lambda x: 2 * x).__code__)


def of_attribute():
    def function(x):
        return function.scale * x

    function.scale = 1.0
    return function, lambda: setattr(function, "scale", 2.0)


def of_container(container, read, change):
    return (lambda x: read(container) * x), (lambda: change(container))


def of_class():
    cls = type("Local", (Machine,), {})
    machine = cls()
    return (lambda x: machine.curve(x)), lambda: setattr(cls, "inner", lambda self, x: 5 * x)


def of_nested():
    helper = lambda x: (lambda z: SCALE * z)(x)  # noqa: E731
    return (lambda x: helper(x)), set_global


def of_imported():
    def function(x):
        import a_module_of_the_user

        return a_module_of_the_user.scale * x

    return of_object(function, MODULE, "scale", MODULE.scale + 1.0)


def of_jit():
    inner = jax.jit(lambda x: SCALE * x)
    return (lambda x: inner(x)), set_global


def of_view():
    base = np.ones(6)
    view = base[::2]
    return (lambda x: jnp.asarray(view).sum() * x), lambda: base.__setitem__(2, 7.0)


# Each makes a function of one number and a way to change what it returns, without touching the function itself.
CHANGES = {
    "global": lambda: ((lambda x: SCALE * x), set_global),
    "closure cell": of_cell,
    "nested function's global": of_nested,
    "attribute of a bound self": lambda: of_machine(lambda machine: machine.curve),
    "attribute of a closed-over object": lambda: of_machine(lambda machine: lambda x: machine.gain * x),
    "property": lambda: of_machine(lambda machine: lambda x: machine.double * x),
    "computed attribute": lambda: (lambda thing: of_object(lambda x: getattr(thing, "ga" + "in") * x, thing))(
        Slotted()
    ),
    "callable object": lambda: of_machine(lambda machine: machine),
    "slots": lambda: (lambda thing: of_object(thing, thing))(Slotted()),
    "class attribute": lambda: (lambda cls: of_object(lambda x: cls.offset + x, cls, "offset", cls.offset + 1.0))(
        Machine
    ),
    "method of a class": of_class,
    "partial": lambda: (
        lambda held: (functools.partial(lambda k, x: k[0] * x, held), lambda: held.append(held.pop() + 1))
    )([1.0]),
    "default": of_default,
    "keyword default": of_keyword_default,
    "code": of_code,
    "function attribute": of_attribute,
    "array in place": lambda: of_container(np.ones(3), lambda a: a[1], lambda a: a.__setitem__(1, 5.0)),
    "array of a global in place": lambda: ((lambda x: ARRAY[2] * x), lambda: ARRAY.__setitem__(2, ARRAY[2] + 1)),
    "view of an array": of_view,
    "sign of a zero": lambda: of_container(
        np.zeros(1), lambda a: np.copysign(1.0, a[0]), lambda a: a.__setitem__(0, -0.0)
    ),
    "array of objects": lambda: of_container(
        np.array([[1.0], None], dtype=object), lambda a: a[0][0], lambda a: a[0].append(a[0].pop(0) + 1)
    ),
    "list": lambda: of_container([1.0], lambda a: a[0], lambda a: a.__setitem__(0, 5.0)),
    "dict": lambda: of_container({"a": 1.0}, lambda a: a["a"], lambda a: a.update(a=5.0)),
    "nested containers": lambda: (
        (lambda x: TABLE["a"][1]["b"] * x),
        lambda: TABLE["a"][1].update(b=TABLE["a"][1]["b"] + 1),
    ),
    "set": lambda: of_container({1.0}, lambda a: max(a), lambda a: a.add(5.0)),
    "deque": lambda: of_container(collections.deque([1.0]), lambda a: a[0], lambda a: a.appendleft(5.0)),
    "namespace": lambda: of_object(*(lambda space: (lambda x: space.gain * x, space))(types.SimpleNamespace(gain=1.0))),
    "another module": lambda: of_object(lambda x: MODULE.scale * x, MODULE, "scale", MODULE.scale + 1.0),
    "a function of another module": lambda: of_object(lambda x: MODULE.helper(x), MODULE, "scale", MODULE.scale + 1.0),
    "a list of another module": lambda: (
        (lambda x: MODULE.helper(x)),
        lambda: MODULE.limits.append(MODULE.limits.pop() + 1.0),
    ),
    "a module by a computed name": lambda: of_object(
        lambda x: getattr(MODULE, "sc" + "ale") * x, MODULE, "scale", MODULE.scale + 1.0
    ),
    "import inside": of_imported,
    "vmap": lambda: (jax.vmap(lambda x: SCALE * x), set_global),
    "grad": lambda: (jax.grad(lambda x: SCALE * x**2), set_global),
    "checkpoint": lambda: (jax.checkpoint(lambda x: SCALE * x), set_global),
    "jit inside": of_jit,
    "layer": lambda: ((lambda x: Scaled()(x, {}, {})[0]), set_global),
    "activation of a layer": lambda: (
        (lambda layer: lambda x: layer(x, {}, {})[0])(lux.WrappedFunction(lambda x: SCALE * x)),
        set_global,
    ),
    "globals()": lambda: ((lambda x: globals()["SCALE"] * x), set_global),
    "eval": lambda: ((lambda x: eval("SCALE") * x), set_global),
    "iterator": lambda: (lambda numbers: ((lambda x: next(numbers) * x), lambda: None))(
        iter(np.arange(1.0, 9.0).tolist())
    ),
    "random numbers of NumPy": lambda: (lambda rng: ((lambda x: rng.normal() * x), lambda: None))(
        np.random.default_rng(0)
    ),
    "global random numbers": lambda: ((lambda x: np.random.normal() * random.random() * x), lambda: None),
    "clock": lambda: ((lambda x: time.perf_counter() * x), lambda: None),
}


@pytest.fixture(autouse=True)
def user_module(monkeypatch):
    monkeypatch.setitem(sys.modules, MODULE.__name__, MODULE)
    machine = Machine.offset
    yield
    Machine.offset = machine


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_function_reads_is_seen_to_change(name):
    """Where what a function returns has changed, it is another one; where nothing has, it is the same one, if that can be known."""
    x = jnp.ones(2) if name == "vmap" else 1.0
    function, change = CHANGES[name]()
    first, before = cached_function(function), np.asarray(function(x))
    again = cached_function(function)
    unbounded = again is not first
    change()
    after = cached_function(function)
    with jax.disable_jit():
        assert not np.array_equal(np.asarray(function(x)), before)
    assert after is not first
    assert after is not again
    known = {
        "globals()",
        "eval",
        "iterator",
        "random numbers of NumPy",
        "global random numbers",
        "clock",
        "a module by a computed name",
    }
    assert unbounded == (name in known)


def test_functions_made_anew_are_the_same_while_what_they_read_is():
    def make(scale, array):
        return lambda x: scale * x + array

    first = cached_function(make(1.0, np.ones(3)))
    assert cached_function(make(1.0, np.ones(3))) is first
    assert cached_function(make(2.0, np.ones(3))) is not first
    assert cached_function(make(1.0, np.zeros(3))) is not first
    assert (
        cached_function(optax.adam(1e-2)) is cached_function(optax.adam(1e-2)) is not cached_function(optax.adam(2e-2))
    )
    assert (
        cached_function(optimistix.BFGS(1e-3, 1e-3))
        is cached_function(optimistix.BFGS(1e-3, 1e-3))
        is not cached_function(optimistix.BFGS(1e-4, 1e-3))
    )


def test_what_a_kept_function_traces_is_what_was_passed_last():
    make = lambda scale: lambda x: scale * x  # noqa: E731
    first, second = make(1.0), make(1.0)
    kept = cached_function(first)
    assert cached_function(second) is kept
    assert kept.use() is second


def test_what_a_function_changes_itself_is_no_change():
    seen = []

    def function(x):
        seen.append(x)
        return x

    with cached_function(function) as kept:
        kept.use()(1.0)
    assert cached_function(function) is kept
    seen.append(2.0)
    assert cached_function(function) is not kept


# Through what is called

X = np.linspace(0.0, 1.0, 20)
SOLVER = optimistix.GaussNewton(1e-8, 1e-8)


def test_a_curve_that_reads_a_global_is_fitted_anew(monkeypatch):
    for scale in (1.0, 2.0):
        monkeypatch.setitem(globals(), "SCALE", scale)
        result = curve_fit(lambda x, a: SCALE * a * x, X, 2 * X, (1.5,), solver=SOLVER)
        np.testing.assert_allclose(result.values.a, 2 / scale)


@pytest.mark.slow
def test_a_curve_whose_jit_reads_a_global_is_fitted_anew(monkeypatch):
    curve = jax.jit(lambda x, a: SCALE * a * x)
    for scale in (1.0, 2.0):
        monkeypatch.setitem(globals(), "SCALE", scale)
        np.testing.assert_allclose(curve_fit(curve, X, 2 * X, (1.5,), solver=SOLVER).values.a, 2 / scale)


def test_a_residual_that_reads_an_array_is_solved_anew():
    target = np.zeros(4)

    def residual(ps, st, data):
        return ps["a"] - target, st

    for value in (1.0, 3.0):
        target[:] = value
        result = least_squares(residual, lux.flatten.flatten({"a": 0.5}), solver=SOLVER)
        np.testing.assert_allclose(result.values.a, value)


@pytest.mark.slow
def test_a_map_that_reads_a_global_is_solved_anew(monkeypatch):
    class Shifted(lux.flatten.AbstractConstraint):
        def forward(self, unconstrained):
            return unconstrained + SCALE

        def inverse(self, value):
            return value - SCALE

        def log_abs_det_jacobian(self, unconstrained):
            return 0.0

    shifted = Shifted()
    residual = lambda ps, st, data: (ps["a"] * jnp.ones(3) - 7.0, st)  # noqa: E731
    for scale in (1.0, 2.0):
        monkeypatch.setitem(globals(), "SCALE", scale)
        result = least_squares(residual, lux.flatten.flatten({"a": lux.Parameter(0.5, shifted)}), solver=SOLVER)
        np.testing.assert_allclose(result.values.a, 7.0)


def test_a_loss_and_a_schedule_that_read_globals_are_fitted_anew(monkeypatch):
    loss = lambda ps, st, batch: (jnp.sum((ps["a"] - SCALE) ** 2), st)  # noqa: E731
    optimizer = optax.sgd(lambda step: 0.25 * SCALE)
    ps = lux.flatten.flatten({"a": 0.0})
    for scale in (1.0, 0.5):
        monkeypatch.setitem(globals(), "SCALE", scale)
        fitted = lux.fit(loss, ps, {}, optimizer, steps=1)
        np.testing.assert_allclose(fitted.ps["a"], 0.5 * scale * scale)
