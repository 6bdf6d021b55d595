"""Layers as a table for people: the tree of names, calls and shapes, with numbers of parameters and states."""

import dataclasses
import itertools
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from ..flatten import ArraySpec, Entry, Layout, NamedTree, Parameter, Real, Tied, leaf_paths
from ._declared import abstract_states, declared_layout
from ._observe import children_of
from ._source import head, is_layer

_WIDTH = 100
_CALLS_WIDTH = 52  # of names and calls, where something has to give
_SHAPES_WIDTH = 20  # of shapes, at the least
_SHAPES = 8  # arrays of one layer that are shown
_LINES = 4  # of one call that are shown
_UNBROKEN = "\xa0"  # a space at which no line ends
_NUMBERED = re.compile(r"(.*?)(0|[1-9]\d*)")


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer, or a declared parameter, within a model, with what it and its children take of the vector and of the state."""

    name: str
    layer: Any
    shapes: tuple[str, ...]
    parameters: int
    states: int
    children: tuple["Node", ...] = ()

    def call(self) -> str:
        """The layer as Python, without children and declarations, which have lines of their own."""
        if not is_layer(self.layer):
            return repr(self.layer)
        declared = [id(child.layer) for child in self.children]
        return head(self.layer, lambda value: is_layer(value) or id(value) in declared)

    def walk(self, path: str = "") -> Iterator[tuple[str, "Node"]]:
        """This node and all below it, with their paths."""
        yield path, self
        for child in self.children:
            yield from child.walk(f"{path}.{child.name}" if path else child.name)


def node_of(layer: Any) -> Node:
    """The tree of a model, from what its layers declare."""
    return _node("", layer, [(entry.path, entry) for entry in declared_layout(layer).entries], abstract_states(layer))


def _node(name: str, layer: Any, entries: Sequence[tuple[str, Entry]], state: Any) -> Node:
    """`entries`: those of the layer, with their paths from there on; `state`: what the state holds under its name."""
    below: dict[str, list[tuple[str, Entry]]] = {}
    for path, entry in entries:
        first, _, rest = path.partition(".")
        below.setdefault(first, []).append((rest, entry))
    arguments = layer.constructor_arguments()[1] if is_layer(layer) else {}
    declared = {name: value for name, value in arguments.items() if isinstance(value, Parameter) and name in below}
    inner = {**children_of(layer), **declared}
    states = dict(state.items()) if isinstance(state, NamedTree) else {}
    own = [pair for pair in entries if pair[0].partition(".")[0] not in inner]
    sources = {_tied_layer(path, entry) for path, entry in own}
    shapes = [text for pair in own for text in _shapes(*pair)]
    if len(sources) == 1 and None not in sources:
        shapes = [f"= {source}" for source in sources]
    return Node(
        name,
        layer,
        tuple(shapes),
        sum(entry.size for _, entry in entries),
        sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state)),
        tuple(_node(child, value, below.get(child, ()), states.get(child)) for child, value in inner.items()),
    )


def _tied_layer(path: str, entry: Entry) -> str | None:
    """The path of the layer whose parameter at `path` is shown by `entry`, if it is tied as it is."""
    tie = entry.ravel_map
    plain = isinstance(tie, Tied) and tie.through is None and tie.source.endswith(f".{path}")
    return tie.source.removesuffix(f".{path}") if isinstance(tie, Tied) and plain else None


def _shapes(path: str, entry: Entry) -> list[str]:
    """The arrays of an entry as the layer sees them, and what is special in how they are stored."""
    specs = (
        {path: entry.spec} if isinstance(entry.spec, ArraySpec) else {p: entry.spec[p] for p in leaf_paths(entry.spec)}
    )
    arrays = [name + (f"[{','.join(map(str, spec.shape))}]" if spec.shape else "") for name, spec in specs.items()]
    special = [] if isinstance(entry.ravel_map, Real) or not path else [entry.ravel_map.name]
    arrays[-1] = " ".join([arrays[-1], *special, *([entry.unit] if entry.unit and path else [])])
    return [text for text in arrays if text]


def printed(layer: Any) -> str:
    """What `print(layer)` shows."""
    root = node_of(layer)
    rows = [("layer", "shapes", "parameters", "states"), *(_row(*line) for line in _lines(root, "", 1, 0))]
    widths = [max(len(line) for row in rows for line in row[column].split("\n")) for column in (0, 2, 3)]
    room = max(_WIDTH - sum(widths) - 6, _SHAPES_WIDTH)
    rows = [
        (call, "\n".join(textwrap.wrap(shapes, room)).replace(_UNBROKEN, " "), *numbers)
        for call, shapes, *numbers in rows
    ]
    used = [column for column in range(4) if column == 0 or any(row[column] for row in rows[1:])]
    lines = align([[row[column] for column in used] for row in rows], [column >= 2 for column in used])
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:], rule, totals(declared_layout(layer), abstract_states(layer))])


def totals(whole: Layout, state: Any) -> str:
    """The numbers of parameters and states, and the bytes that they take."""
    leaves = jax.tree.leaves(state)
    counts = [(whole.size, "parameter"), (sum(math.prod(leaf.shape) for leaf in leaves), "state")]
    parameters, states = (f"{number:,} {noun}{'' if number == 1 else 's'}" for number, noun in counts)
    state_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    return f"{parameters}: {bytes_text(whole.size * whole.dtype.itemsize)} of {whole.dtype}; {states}: {bytes_text(state_bytes)}"


def bytes_text(number: int) -> str:
    """A number of bytes with three digits and a decimal unit; below 10,000 the number itself."""
    if number < 10_000:
        return f"{number:,} byte{'' if number == 1 else 's'}"
    power = min(int(math.log10(number) / 3), 6)
    return f"{number / 1000**power:.3g} {'kMGTPE'[power - 1]}B"


def align(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """The lines of a table whose cells may have several lines; `right` says which columns are flush right."""
    cells = [[cell.split("\n") for cell in row] for row in rows]
    widths = [max(len(line) for row in cells for line in row[column]) for column in range(len(right))]
    lines = []
    for row in cells:
        for parts in itertools.zip_longest(*row, fillvalue=""):
            columns = zip(parts, widths, right, strict=True)
            lines.append("  ".join(text.rjust(w) if flush else text.ljust(w) for text, w, flush in columns).rstrip())
    return lines


def _lines(node: Node, label: str, times: int, depth: int) -> Iterator[tuple[Node, str, int, int]]:
    """A node and all below it, with labels, how often each is there, and depth. Equal neighbours with consecutive numbers are one."""
    yield node, label, times, depth
    runs: list[list[Node]] = []
    for child in node.children:
        if runs and _follows(runs[-1][-1], child):
            runs[-1].append(child)
        else:
            runs.append([child])
    for first, *others in runs:
        label = first.name
        if others:
            stem, number = _NUMBERED.fullmatch(first.name).groups()  # type: ignore[union-attr]
            label = f"{stem}{{{number}..{int(number) + len(others)}}}"
        yield from _lines(first, label, 1 + len(others), depth + 1)


def _follows(one: Node, other: Node) -> bool:
    """Whether the two differ in nothing but a number at the end of the name, which is the next."""
    names = _NUMBERED.fullmatch(one.name), _NUMBERED.fullmatch(other.name)
    if not (names[0] and names[1] and names[0][1] == names[1][1] and int(names[0][2]) + 1 == int(names[1][2])):
        return False
    return dataclasses.replace(one, name="") == dataclasses.replace(other, name="")


def _row(node: Node, label: str, times: int, depth: int) -> tuple[str, str, str, str]:
    indent = "    " * depth
    prefix = indent + (f"{label}: " if label else "")
    room = max(_CALLS_WIDTH, len(prefix) + _SHAPES_WIDTH)
    call = textwrap.wrap(
        prefix + node.call(), room, subsequent_indent=f"{indent}    ", max_lines=_LINES, placeholder=" ..."
    )
    shapes = [text.replace("= ", f"={_UNBROKEN}") for text in node.shapes[:_SHAPES]]
    if len(node.shapes) > _SHAPES:
        shapes.append(f"... ({len(node.shapes)} arrays)")
    repeated = f"{times} x " if times > 1 else ""
    return (
        "\n".join(call),
        ", ".join(shapes),
        f"{repeated}{node.parameters:,}" if node.parameters else "0" if node.shapes else "",
        f"{repeated}{node.states:,}" if node.states else "",
    )
