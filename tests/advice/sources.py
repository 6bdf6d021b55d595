"""What the messages in the sources say to write."""

import ast
import pathlib
import re

import sciml_lux as lux

SOURCES = pathlib.Path(lux.__file__).parent


def texts_of(tree):
    """The texts of a module that are no documentation, with {} for what is filled in."""
    inner = {value for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    documentation = {body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if node in documentation or node in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(value.value if isinstance(value, ast.Constant) else "{}" for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def advice_in_the_sources():
    for path in sorted(SOURCES.rglob("*.py")):
        for text in texts_of(ast.parse(path.read_text())):
            for found in re.finditer(r"\b[Ww]rite\b", text):
                yield f"{path.relative_to(SOURCES).as_posix()}: {text[found.start() :]}"
