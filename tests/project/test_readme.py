"""The code blocks of the README run one after the other, in single precision as users do, and the last prints what is shown."""

import contextlib
import io
import pathlib
import re

import jax

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_code_blocks_run_and_print_what_is_shown():
    names, printed = {}, ""
    with (
        jax.enable_x64(False),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(block, names)
    assert names["fitted"].losses[-1] < 1e-4
    assert abs(names["result"].values["a"] - 0.78) < 0.01
    [shown] = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    assert printed.getvalue() == shown
