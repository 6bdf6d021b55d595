"""Names that say what code is taken as it is, and what in it says nothing."""

# Packages whose functions are as they are: their globals are not looked into. What they close over or are given is.
_TRUSTED = frozenset(
    [
        "jax",
        "jaxlib",
        "numpy",
        "scipy",
        "sciml_lux",
        "equinox",
        "diffrax",
        "optimistix",
        "optax",
        "lineax",
        "jaxtyping",
        "beartype",
        "chex",
        "quax",
        "abc",
        "_abc",
        "builtins",
        "cmath",
        "collections",
        "_collections",
        "contextlib",
        "copy",
        "dataclasses",
        "enum",
        "functools",
        "_functools",
        "inspect",
        "itertools",
        "math",
        "numbers",
        "operator",
        "_operator",
        "statistics",
        "types",
        "typing",
        "warnings",
    ]
)
# Builtins by which code reaches what it does not name.
UNBOUNDED = frozenset(
    ["__import__", "breakpoint", "compile", "eval", "exec", "globals", "input", "locals", "open", "vars"]
)
# What the machinery of classes leaves in them, which says nothing of what their instances do.
BOOKKEEPING = frozenset(
    [
        "__abstractmethods__",
        "__annotations__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__match_args__",
        "__module__",
        "__orig_bases__",
        "__parameters__",
        "__qualname__",
        "__slots__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__classdictcell__",
    ]
)


def is_trusted(module: str) -> bool:
    """Whether functions of the module of this name are taken as they are."""
    return module.partition(".")[0] in _TRUSTED and not module.startswith("numpy.random")
