"""The rules of the design, held by reading the source: who imports whom, what is public, how long things are."""

import ast
import builtins
import collections
import difflib
import graphlib
import importlib
import inspect
import pathlib
import re

import pytest
from public_names import PUBLIC

import sciml_lux
from sciml_lux import _moved

ROOT = pathlib.Path(sciml_lux.__file__).parent

# The parts of the package that each part may import; the root re-exports from all.
GROUND = {"_errors", "kernels", "flatten", "core"}
MAY_IMPORT = {
    "_errors": set(),
    "_version": set(),
    "_moved": set(),  # names the others by strings
    "kernels": {"_errors"},
    "flatten": {"_errors", "kernels"},
    "core": {"_errors", "kernels", "flatten"},
    "layers": GROUND,
    "solvers": GROUND,
    "training": GROUND,
    "estimation": GROUND | {"solvers", "training"},
    "tools": GROUND | {"layers", "solvers", "training", "estimation"},
}
# The folders of `solvers` that each of them may import: families stand on `differential`, which knows none of them. The modules beside
# them, such as `_linear_map.py`, stand below all, and import none.
DIFFERENTIAL = {"differential", "adjoints", "runge_kutta"}
SOLVERS = {
    "runge_kutta": set(),
    "steppers": set(),
    "fixed_point": set(),
    "least_squares": set(),
    "adjoints": {"runge_kutta"},
    "differential": {"adjoints", "runge_kutta"},
    "ode": DIFFERENTIAL | {"fixed_point"},
    "jump": DIFFERENTIAL | {"ode"},
    "deq": DIFFERENTIAL | {"fixed_point"},
}
# Where the libraries of solvers may be imported.
LIBRARIES = {
    "diffrax": {"solvers"},
    "optimistix": {"solvers", "training", "estimation"},
    "lineax": {"solvers", "training", "estimation"},
}
# Extras that need not be installed, so that they are imported where they are used.
OPTIONAL = {"tqdm", "matplotlib", "flax", "torch", "blackjax", "arviz", "pandas"}
# What takes long to import, and few need.
LATE = {"scipy.interpolate"}

LONGEST_FILE = 400
LONGEST_FUNCTION = 70
# How many annotated arguments of each part may be `Any`, which binds nothing. Lower a number when a part gets better; none is raised.
MOST_ANY = {
    "kernels": 72,
    "flatten": 236,
    "core": 124,
    "layers": 162,
    "solvers": 229,
    "training": 227,
    "estimation": 33,
    "tools": 102,
}


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


def no_offenders(rule, offenders):
    found = [offender for offender in offenders if offender]
    assert not found, "\n".join([rule, *found])


# Imports


def test_a_part_imports_only_what_it_may():
    def offence(name):
        part = part_of(name)
        ours = {part_of(module) for module in imports_of(name) if module.split(".")[0] == "sciml_lux"}
        more = ours - MAY_IMPORT[part] - {part} if part else set()  # the root imports all
        return more and f"{name}: {sorted(more)}"

    no_offenders("imports of parts that are not below; '' is the root", map(offence, SOURCES))


def folder_of_solvers(module: str) -> str:
    """`ode` for `sciml_lux.solvers.ode._hybrid`; what stands beside the folders is in the one of no name."""
    folder = [*module.split("."), "", ""][2]
    return "" if folder.startswith("_") else folder


def test_a_family_of_solvers_imports_only_what_it_may():
    def offence(name):
        folder = folder_of_solvers(name)
        found = {folder_of_solvers(module) for module in imports_of(name) if module.startswith("sciml_lux.solvers.")}
        more = found - SOLVERS.get(folder, set()) - {folder, ""}
        return more and f"{name}: {sorted(more)}"

    ours = [name for name in SOURCES if part_of(name) == "solvers" and name != "sciml_lux.solvers"]
    no_offenders("imports of folders of solvers that are not below", map(offence, ours))


def test_solvers_call_nothing_private_of_an_adapter():
    private = [
        f"{name}, line {node.lineno}: {node.value.id}.{node.attr}"
        for name, tree in TREES.items()
        if part_of(name) == "solvers"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in ("node", "adapter", "equation") and node.attr.startswith("_")
    ]
    no_offenders("hooks are public", private)


def test_the_libraries_of_solvers_stay_where_they_belong():
    def offence(name):
        libraries = {module.split(".")[0] for module in imports_of(name)} & set(LIBRARIES)
        misplaced = [library for library in libraries if part_of(name) not in LIBRARIES[library]]
        return misplaced and f"{name}: {misplaced}"

    no_offenders("imports of libraries", map(offence, SOURCES))


def test_how_peers_store_an_outcome_is_known_in_one_place():
    private = re.compile(r"\._(enumeration|index_to_message|name_to_item)\b|(?<!self)(?<!found)\._value\b")
    found = [str(path.relative_to(ROOT)) for path in SOURCES.values() if private.search(path.read_text())]
    assert found == ["core/_result.py"]


def test_imports_stand_at_the_top():
    late = [
        f"{name}, line {node.lineno}: {module}"
        for name, tree in TREES.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        for module in imported(name, node)
        if module.split(".")[0] not in OPTIONAL and module not in LATE
    ]
    no_offenders("imports within functions", late)
    early = [
        f"{name}: {module}" for name, tree in TREES.items() for node in tree.body for module in imported(name, node)
        if module in LATE
    ]  # fmt: skip
    no_offenders("late imports at the top", early)


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


def test_the_public_surface_is_the_declared_one():
    def changes(name):
        return "\n".join(
            difflib.unified_diff(PUBLIC[name], public_names(name), "public_names.py", name, lineterm="", n=0)
        )

    no_offenders("names that joined or left", map(changes, PUBLIC))


def test_a_package_holds_a_docstring_and_re_exports_and_nothing_else():
    def offence(name):
        docstring, *rest = TREES[name].body
        fine = isinstance(docstring, ast.Expr) and all(
            isinstance(node, ast.ImportFrom) and all(alias.asname == alias.name for alias in node.names)
            for node in rest
        )
        return not fine and name

    no_offenders("write X as X", [offence(name) for name in SOURCES if SOURCES[name].name == "__init__.py"])


# Densities are read with what they are of, `est.noise.Normal` and `est.priors.Normal`; `est.fit` fits a problem, `lux.fit` a loss.
READ_WITH_THEIR_MODULE = {"sciml_lux.estimation.noise", "sciml_lux.estimation.priors"}
VERBS = {"fit"}


def test_no_public_name_means_two_things():
    meanings = {}
    for module in PUBLIC.keys() - READ_WITH_THEIR_MODULE:
        for name in PUBLIC[module]:
            value = getattr(importlib.import_module(module), name)
            if not inspect.ismodule(value) and name not in VERBS:  # a package may have the name of its first verb
                meanings.setdefault(name, {})[id(value)] = module
    no_offenders("two things", [f"{name}: {found}" for name, found in meanings.items() if len(found) > 1])


def test_every_public_name_exists_and_is_documented():
    def undocumented(name):
        module = importlib.import_module(name)
        for public in PUBLIC[name]:
            value = getattr(module, public)
            if inspect.isclass(value):
                yield from (f"{name}.{public}{method}" for method in undocumented_in(value))
            elif not (
                public in DOCUMENTED_VALUES or (inspect.getdoc(value) and callable(value)) or inspect.ismodule(value)
            ):
                yield f"{name}.{public}"
        if not module.__doc__:
            yield name

    no_offenders("without a docstring", [one for name in PUBLIC for one in undocumented(name)])


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


# Names that have moved, and errors


def test_names_that_have_moved_answer_with_a_warning_that_says_where_they_are():
    for package, names in _moved.MOVED.items():
        module = importlib.import_module(package)
        for old, new in names.items():
            assert old not in vars(module), f"{package}.{old} is still there"
            place, _, own = new.rpartition(".")
            with pytest.warns(DeprecationWarning, match=re.escape(f"write {new.replace('sciml_lux', 'lux')}") + "$"):
                found = getattr(module, old)
            assert found is getattr(importlib.import_module(place), own)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sciml_lux.nonsense  # noqa: B018


def test_the_tree_of_errors_is_the_one_that_is_drawn():
    drawn, parents = {}, {}
    for line in sciml_lux._errors.__doc__.splitlines():
        if match := re.match(r"( *(?:│   |    )*)[├└]── (\w+) *(?:\((\w+)\))?", line):
            depth, name, base = len(match[1]), match[2], match[3]
            parents = {**{d: n for d, n in parents.items() if d < depth}, depth: name}
            above = [parents[d] for d in sorted(parents) if d < depth]
            drawn[name] = [above[-1] if above else "Exception", *([base] if base else [])]
    errors = {
        name: [base.__name__ for base in value.__bases__]
        for name, value in vars(sciml_lux._errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert drawn == errors
    assert all(getattr(sciml_lux, name) is getattr(sciml_lux._errors, name) for name in errors)
    elsewhere = [
        f"{name}.{node.name}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and name != "sciml_lux._errors" and not node.name.startswith("_")
        if any(isinstance(base, ast.Name) and (base.id in errors or is_error(base.id)) for base in node.bases)
    ]
    no_offenders("errors outside of the tree", elsewhere)


def is_error(name):
    found = getattr(builtins, name, None)
    return inspect.isclass(found) and issubclass(found, Exception)


# Small enough to see at once


def test_files_and_functions_are_short():
    def offence(name):
        if len(SOURCES[name].read_text(encoding="utf-8").splitlines()) > LONGEST_FILE:
            yield f"{name}: more than {LONGEST_FILE} lines"
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    yield f"{name}.{node.name}: {length} lines"

    no_offenders("too long", [one for name in SOURCES for one in offence(name)])


def test_arguments_of_any_kind_become_fewer():
    found = collections.Counter(
        part_of(name)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any"
    )
    assert {part: found[part] for part, most in MOST_ANY.items() if found[part] > most} == {}


def test_the_version_is_one():
    citation = (ROOT.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {sciml_lux.__version__}\n" in citation
