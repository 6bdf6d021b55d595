"""Writes `layers.md` out of the docstrings and of the models in the examples: `python docs/layers.py`."""

import importlib
import inspect
import pathlib
import re
import runpy
from typing import Any

import sciml_lux as lux

HERE = pathlib.Path(__file__).parent
FAMILIES = {
    "linear": "On the last axis",
    "convolution": "Convolution, pooling, resampling",
    "normalization": "Normalization",
    "noise": "Noise",
    "recurrent": "Recurrence",
    "attention": "Attention",
    "structure": "Structure",
    "containers": "Containers, and layers without parameters",
    "custom": "Layers of your own",
    "foreign": "Models of other libraries",
    "porting": "To and from PyTorch",
    "editing": "Walking and editing",
    "display": "Looking at a model",
    "debugging": "Finding the layer that goes wrong",
}
INTRODUCTION = """# Layers

What there is, by subject: the first line of each docstring (`help(lux.Conv)` shows the rest, with every parameter and state and its shape).
Written by `docs/layers.py`. Initializers are in `lux.init`, activations and their gains in `lux.activations`, losses in `lux.losses`.

Batch axes lead, any number of them; features or channels come last. Every layer is a pure function, `y, st = layer(x, ps, st)`. Those that
behave differently while training have a flag in the state: `lux.train_mode(st)`, `lux.test_mode(st)`. Random keys are in the state, too.

## How a layer starts

| | weights | biases |
| --- | --- | --- |
| `Dense`, `MLP`, `Bilinear`, `TensorProductLayer`, the two in `TransformerEncoderBlock` | uniform within `1 / sqrt(inputs)` | the same |
| `Conv`, `ConvTranspose`, `PatchEmbedding` | uniform within `1 / sqrt(inputs)`, a window's elements times channels | the same |
| `MultiHeadAttention` | Glorot uniform | zeros |
| `RNNCell`, `LSTMCell`, `GRUCell`, gate by gate | Glorot uniform of the input's, orthogonal of the hidden state's | zeros |
| `Scale`, normalizations | ones | zeros |

The first two rows are PyTorch's and Equinox's start. The first fitted nine problems, four of them Neural ODEs, better than Glorot's
weights with zeros and than Lux.jl's start: "How a dense layer starts" in [benchmarks/RESULTS.md](../benchmarks/RESULTS.md). The second was
the best of five libraries' on the average of three problems, by what it gained on a differential equation; on digits, Lux.jl's and Flax's
were better. For cells and attention three seeds show none better than these: "How convolutions,
gated cells and attention start". `init_weight` and `init_bias` take another one; a field that is to start near zero needs
both: `init_weight=lux.init.normal(0.1), init_bias=lux.init.zeros()`.
"""


def first_line(value: Any) -> str:
    text = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(re.split(r"\*\*[A-Z]", text)[0].split()).replace("|", "\\|")


def listing() -> str:
    """The introduction and the tables."""
    parts = [INTRODUCTION]
    for family, title in FAMILIES.items():
        above = lux.tools if hasattr(lux.tools, family) else lux.layers
        module = importlib.import_module(f"{above.__name__}.{family}")
        names = [
            name
            for name, value in vars(module).items()
            if (above is lux.tools or name in vars(above)) and not name.startswith("_") and not inspect.ismodule(value)
        ]
        rows = [f"| `{name}` | {first_line(getattr(module, name))} |" for name in sorted(names, key=str.lower)]
        parts.append("\n".join([f"## {title}\n", "| | |", "| --- | --- |", *rows, ""]))
    return "\n".join(parts)


def models() -> str:
    """The models of the examples, as they print."""
    parts = ["## Models of the examples\n"]
    for example, title in (
        ("digits", "A convolutional network"),
        ("vowels", "An LSTM over sequences of unequal lengths"),
    ):
        model = runpy.run_path(str(HERE.parent / "examples" / f"{example}.py"))["network"]()
        parts.append(f"{title}, [examples/{example}.py](../examples/{example}.py):\n\n```text\n{model}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (HERE / "layers.md").write_text(f"{listing()}\n{models()}")
