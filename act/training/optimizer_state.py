"""Converts the state of an optimizer to named tensors and back, for safetensors files."""

import torch
from torch import Tensor

PREFIX = "optimizer."


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments and step counters by name: optimizer.0.exp_avg, ..."""
    state = optimizer.state_dict()["state"]
    return {f"{PREFIX}{index}.{key}": value for index, values in state.items() for key, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Loads what `optimizer_tensors` returned; other names in `tensors` are ignored."""
    state = optimizer.state_dict()
    for name, value in tensors.items():
        if name.startswith(PREFIX):
            _, index, key = name.split(".")
            state["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():  # fused steps need the memory layout of the weights
        for key, value in moments.items():
            if value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)
