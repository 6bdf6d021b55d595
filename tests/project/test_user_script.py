"""The script that type checkers read runs, and says what it should."""

import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np

SCRIPT = pathlib.Path(__file__).parents[1] / "user_script.py"


def test_a_users_script_runs():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found = runpy.run_path(str(SCRIPT))
    assert found["fitted"].losses[-1] < found["fitted"].losses[0]
    np.testing.assert_allclose(found["solution"].ys[-1], found["y1"], rtol=1e-4)
    np.testing.assert_allclose(found["halved"].vector, 0.5 * found["ps"].vector)
    assert jnp.all(found["moved"]["layer_1.bias"] == 1)
    np.testing.assert_allclose(found["alpha"], 0.5)
