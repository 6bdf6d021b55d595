"""The rules of the design, held by reading the source: who imports whom, what is public, how long things are."""

import ast
import difflib
import graphlib
import importlib
import inspect
import pathlib

import pytest
from public_names import PUBLIC

import sciml_lux

ROOT = pathlib.Path(sciml_lux.__file__).parent

# The parts of the package that each part may import; the root re-exports from all.
MAY_IMPORT = {
    "flatten": set(),
    "core": {"flatten"},
    "layers": {"core", "flatten"},
    "solvers": {"core", "flatten"},
    "training": {"core", "flatten"},
    "estimation": {"core", "flatten", "solvers", "training"},
}
# Where the libraries of solvers may be imported.
LIBRARIES = {
    "diffrax": {"solvers"},
    "optimistix": {"solvers", "training", "estimation"},
    "lineax": {"solvers", "training", "estimation"},
}
# Extras that need not be installed, so that they are imported where they are used.
OPTIONAL = {"tqdm", "matplotlib", "flax", "torch"}

LONGEST_FILE = 400
LONGEST_FUNCTION = 70


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def imported(name: str, node: ast.AST) -> list[str]:
    """The modules that an import statement in the module `name` imports; submodules by their own name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    source = node.module or ""
    if node.level:
        package = name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0]
        base = package.split(".")[: len(package.split(".")) - (node.level - 1)]
        source = ".".join([*base, source] if source else base)
    return [f"{source}.{alias.name}" if f"{source}.{alias.name}" in SOURCES else source for alias in node.names]


def imports_of(name: str) -> set[str]:
    return {module for node in ast.walk(TREES[name]) for module in imported(name, node)}


def part_of(module: str) -> str:
    """`solvers` for `sciml_lux.solvers._fixed_point`; the root is the part of no name."""
    return [*module.split("."), ""][1]


every_module = pytest.mark.parametrize("name", SOURCES)


# Imports


@every_module
def test_a_part_imports_only_what_it_may(name):
    part = part_of(name)
    if not part:
        return  # the root
    ours = {part_of(module) for module in imports_of(name) if module.split(".")[0] == "sciml_lux"}
    assert "" not in ours, f"{name} imports the root of the package; import from the part that has the name"
    assert ours <= MAY_IMPORT[part] | {part}, f"{part} may import {sorted(MAY_IMPORT[part])}"


@every_module
def test_the_libraries_of_solvers_stay_where_they_belong(name):
    libraries = {module.split(".")[0] for module in imports_of(name)} & set(LIBRARIES)
    misplaced = [library for library in libraries if part_of(name) not in LIBRARIES[library]]
    assert not misplaced, f"{name} imports {misplaced}"


@every_module
def test_imports_stand_at_the_top(name):
    late = [
        f"line {node.lineno}: {module}"
        for function in ast.walk(TREES[name])
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        for module in imported(name, node)
        if module.split(".")[0] not in OPTIONAL
    ]
    assert not late


def test_no_module_imports_itself_in_a_circle():
    graph = {name: {module for module in imports_of(name) if module in SOURCES} for name in SOURCES}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which shows the circle


# What is public


def public_names(name: str) -> list[str]:
    """What a module offers: what a package re-exports as `X as X`, what a plain module defines without an underscore."""
    body = TREES[name].body
    if SOURCES[name].name == "__init__.py":
        found = {alias.asname for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    else:
        found = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return sorted(name for name in found if name and not name.startswith("_"))


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_surface_is_the_declared_one(name):
    changes = difflib.unified_diff(PUBLIC[name], public_names(name), "public_names.py", name, lineterm="", n=0)
    assert PUBLIC[name] == public_names(name), "\n".join(changes)


@pytest.mark.parametrize("name", [name for name in SOURCES if SOURCES[name].name == "__init__.py"])
def test_a_package_holds_a_docstring_and_re_exports_and_nothing_else(name):
    docstring, *rest = TREES[name].body
    assert isinstance(docstring, ast.Expr)
    for node in rest:
        assert isinstance(node, ast.ImportFrom), f"line {node.lineno}"
        assert all(alias.asname == alias.name for alias in node.names), f"line {node.lineno}: write X as X"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    undocumented = []
    for public in PUBLIC[name]:
        value = getattr(module, public)
        if inspect.isclass(value):
            undocumented += [f"{public}{method}" for method in undocumented_in(value)]
        elif inspect.ismodule(value) or callable(value):
            undocumented += [] if inspect.getdoc(value) or public in DOCUMENTED_VALUES else [public]
        else:
            undocumented += [] if public in DOCUMENTED_VALUES else [public]
    assert not undocumented


def undocumented_in(cls: type) -> list[str]:
    """The class itself, as the empty name, and its public methods without a docstring, inherited ones included."""
    # A dataclass without a docstring is given its signature for one.
    missing = [] if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(") else [""]
    for method, value in vars(cls).items():
        documentable = inspect.isroutine(value) or isinstance(value, property | staticmethod | classmethod)
        if documentable and not method.startswith("_") and not inspect.getdoc(getattr(cls, method)):
            missing.append(f".{method}")
    return missing


def documented_values() -> set[str]:
    """Names that are given a value on one line and a docstring on the next."""
    return {
        target.id
        for tree in TREES.values()
        for node, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


DOCUMENTED_VALUES = documented_values()


# Small enough to see at once


@every_module
def test_files_and_functions_are_short(name):
    assert len(SOURCES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    }
    assert not long
