"""`docs/layers.md` is what `docs/layers.py` writes, and leaves no layer out; the code of other pages runs."""

import contextlib
import io
import pathlib
import re
import runpy

import jax
import pytest

import sciml_lux as lux

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(DOCS / "layers.py"))


def test_the_listing_is_that_of_the_docstrings(script):
    assert (DOCS / "layers.md").read_text().startswith(script["listing"]())


def test_every_layer_is_in_the_listing(script):
    text = script["listing"]()
    layers = [name for name, value in vars(lux.layers).items() if isinstance(value, type)]
    assert [name for name in layers if f"`{name}`" not in text] == []


@pytest.mark.slow
def test_the_models_are_those_of_the_examples(script):
    with jax.enable_x64(False):
        assert (DOCS / "layers.md").read_text().endswith(script["models"]())


def test_the_code_of_the_page_on_estimation_runs():
    text = (DOCS / "estimation.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names, printed = {}, io.StringIO()
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"), contextlib.redirect_stdout(printed):
        exec(block, names)
    assert names["fit"].outcome == "converged"
    assert names["fit"].num_data == 6
    assert "half-life" in printed.getvalue()
