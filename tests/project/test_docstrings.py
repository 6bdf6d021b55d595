"""The code in docstrings: what it names exists, and what stands alone runs."""

import ast
import builtins
import functools
import inspect
import pathlib
import textwrap
from collections.abc import Iterator

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml_lux as lux

ROOT = pathlib.Path(lux.__file__).parent
KNOWN = {"lux": lux, "jax": jax, "jnp": jnp, "np": np, "optax": optax, "diffrax": diffrax, "eqx": eqx, "init": lux.init}


def blocks(docstring: str) -> Iterator[str]:
    """The indented paragraphs that speak of `lux`; those that follow each other without prose are one."""
    block: list[str] = []
    for line in [*docstring.splitlines(), "end"]:
        if line.startswith("    ") or (not line and block):
            block.append(line)
        else:
            text = textwrap.dedent("\n".join(block)).strip()
            if "lux." in text:
                yield text
            block = []


def found() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = getattr(node, "name", "module")
                for number, block in enumerate(blocks(inspect.cleandoc(ast.get_docstring(node) or ""))):
                    yield f"{path.relative_to(ROOT)}:{name}:{number}", block


FOUND = dict(found())


def chain_of(node: ast.AST) -> list[str] | None:
    """`["lux", "tools", "summary"]` for `lux.tools.summary`."""
    if isinstance(node, ast.Attribute):
        above = chain_of(node.value)
        return [*above, node.attr] if above else None
    return [node.id] if isinstance(node, ast.Name) else None


def stands_alone(tree: ast.Module) -> bool:
    """Whether every statement finds what it uses, in `KNOWN` or in those before it, and none leaves something out by `...`."""
    made = {*KNOWN, *dir(builtins)}
    for statement in tree.body:
        nodes = list(ast.walk(statement))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        within = {node.arg for node in nodes if isinstance(node, ast.arg)}
        stored = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        inner = within | (stored if isinstance(statement, ast.FunctionDef | ast.ClassDef) else set())
        if {name.id for name in names if isinstance(name.ctx, ast.Load)} - made - inner:
            return False
        if any(isinstance(node, ast.Constant) and node.value is ... for node in nodes):
            return False
        made |= stored | {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return True


def test_there_are_some():
    assert len(FOUND) > 40
    assert sum(stands_alone(ast.parse(block)) for block in FOUND.values()) > 10


@pytest.mark.parametrize("place", FOUND)
def test_what_it_names_exists_and_what_stands_alone_runs(place):
    tree = ast.parse(FOUND[place])
    for node in ast.walk(tree):
        chain = chain_of(node)
        if chain and chain[0] in KNOWN:
            functools.reduce(getattr, chain[1:], KNOWN[chain[0]])
    if stands_alone(tree):
        exec(compile(tree, place, "exec"), dict(KNOWN))
