"""Computes what PyTorch says, in float64. `python tests/torch_oracle/record.py [family ...]` writes `tests/data/torch/*.npz`."""

import functools
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from torch_oracle import FAMILIES
from torch_oracle.case import Case, cotangent

FOLDER = pathlib.Path(__file__).parents[1] / "data" / "torch"


def recorded(case: Case, torch: Any) -> dict[str, np.ndarray]:
    """The figures of one case, by what they are."""
    module = case.module(torch)
    is_module = isinstance(module, torch.nn.Module)
    figures: dict[str, np.ndarray] = {}
    if is_module:
        module.double()
        _randomize(module, case.seed, torch)
        figures |= {f"start|{name}": value.numpy().copy() for name, value in module.state_dict().items()}
    start = {name: value.clone() for name, value in module.state_dict().items()} if is_module else {}
    for mode in case.modes:
        if is_module:
            module.load_state_dict(start)
            module.train(mode == "train")
            module.zero_grad()
        figures |= {f"{mode}|{name}": value for name, value in _one_mode(case, module, is_module, torch).items()}
    return figures


def _one_mode(case: Case, module: Any, is_module: bool, torch: Any) -> dict[str, np.ndarray]:
    inputs = [torch.from_numpy(np.array(x)) for x in case.inputs]
    for x in inputs:
        x.requires_grad_(x.is_floating_point())
    y = case.to_ours(module(*(case.to_torch(x) for x in inputs)))
    torch.sum(y * torch.from_numpy(cotangent(y.detach().numpy()))).backward()
    figures = {"y": y.detach().numpy()}
    figures |= {f"x_gradient|{i}": x.grad.numpy() for i, x in enumerate(inputs) if x.grad is not None}
    if is_module:
        gradients = {
            name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in module.named_parameters()
        }
        after = {name: gradients.get(name, value) for name, value in module.state_dict().items()}
        # By the names of the state_dict: gradients for parameters, the new values for buffers.
        figures |= {f"after|{name}": value.detach().numpy().copy() for name, value in after.items()}
    return figures


def _randomize(module: Any, seed: int, torch: Any) -> None:
    """Other numbers than the start, whose ones and zeros would hide mistakes; variances stay positive."""
    generator = np.random.default_rng(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            new = 0.5 * generator.standard_normal(tuple(value.shape))
            value.copy_(torch.from_numpy(np.asarray(np.exp(new) if name.endswith("var") else new)))


def record(family: str, torch: Any) -> dict[str, np.ndarray]:
    """All figures of a family, under `case|what`."""
    torch.set_num_threads(1)
    names = [case.name for case in FAMILIES[family]]
    assert len(set(names)) == len(names), "two cases of one name"
    return {f"{case.name}|{what}": value for case in FAMILIES[family] for what, value in recorded(case, torch).items()}


@functools.cache
def read(family: str) -> Mapping[str, np.ndarray]:
    """The stored figures of a family."""
    with np.load(FOLDER / f"{family}.npz") as stored:
        return dict(stored)


if __name__ == "__main__":
    import torch

    FOLDER.mkdir(parents=True, exist_ok=True)
    for family in sys.argv[1:] or FAMILIES:
        np.savez_compressed(FOLDER / f"{family}.npz", **record(family, torch))
        print(family, f"{(FOLDER / f'{family}.npz').stat().st_size / 1000:.0f} kB")
