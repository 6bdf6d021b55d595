"""Parameters of PyTorch's own models and back, where PyTorch is installed; what needs no PyTorch is in test_porting.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from members import array

import sciml_lux as lux


def model_of(torch):
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 2, bias=False)
    )


OURS = lux.Chain(lux.Dense(3, 4), lux.BatchNorm(4, jnp.tanh), lux.Dense(4, 2, use_bias=False))


@pytest.mark.slow
def test_a_model_of_pytorch_and_ours_agree_after_training():
    torch = pytest.importorskip("torch", reason="python -m pip install 'sciml-lux[oracle]'")
    model, x = model_of(torch), np.asarray(array(5, 3), np.float32)
    model(torch.from_numpy(x))  # moves the running statistics
    ps, st = lux.tools.from_torch(model.state_dict(), OURS, jnp.float32)
    model.eval()
    expected = model(torch.from_numpy(x)).detach().numpy()
    y, _ = OURS(jnp.asarray(x), ps, lux.test_mode(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), st)))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    other = model_of(torch)
    arrays = lux.tools.to_torch(ps, st, OURS, other.state_dict())
    other.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.slow
def test_a_convolutional_model_of_pytorch_and_ours_agree():
    torch = pytest.importorskip("torch", reason="python -m pip install 'sciml-lux[oracle]'")
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 2 * 3, 5),
    ).double()
    ours = lux.Chain(
        lux.Conv(2, 4, (3, 3)),
        lux.BatchNorm(4, jax.nn.relu),
        lambda x: jnp.moveaxis(x, -1, -3),  # PyTorch flattens channels first
        lux.Flatten(3),
        lux.Dense(4 * 2 * 3, 5),
    )
    x = array(3, 4, 5, 2)
    expected = theirs(torch.from_numpy(np.array(jnp.moveaxis(x, -1, 1))))
    ps, st = lux.tools.from_torch(theirs.state_dict(), ours)
    np.testing.assert_allclose(ours(x, ps, st)[0], expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    again = lux.tools.to_torch(ps, st, ours, theirs.state_dict())
    assert all(np.array_equal(again[name], tensor.numpy()) for name, tensor in theirs.state_dict().items())


@pytest.mark.slow
def test_bfloat16_and_tensors_that_require_gradients_are_read():
    torch = pytest.importorskip("torch", reason="python -m pip install 'sciml-lux[oracle]'")
    model = torch.nn.Linear(3, 2).to(torch.bfloat16)
    ps, _ = lux.tools.from_torch(dict(model.named_parameters()), lux.Dense(3, 2), jnp.bfloat16)
    np.testing.assert_array_equal(ps.weight.astype(float), model.weight.detach().double().numpy().T)
    arrays = lux.tools.to_torch(ps, {}, lux.Dense(3, 2), model.state_dict())
    other = torch.nn.Linear(3, 2).to(torch.bfloat16)
    other.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    assert torch.equal(other.weight, model.weight)
