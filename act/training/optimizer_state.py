"""Converts the state of an optimizer to named tensors and back, for safetensors files."""

import torch
from torch import Tensor

from act.nn.tensors import check_finite, check_form

PREFIX = "optimizer."


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments and step counters by name: optimizer.0.exp_avg, ..."""
    state = optimizer.state_dict()["state"]
    return {f"{PREFIX}{index}.{key}": value for index, values in state.items() for key, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Loads what `optimizer_tensors` returned; other names in `tensors` are ignored.

    Raises ValueError unless every parameter has its moments, finite and of its shape: a parameter without them would
    continue as if it were new.
    """
    found = {name: value for name, value in tensors.items() if name.startswith(PREFIX)}
    _check_complete(optimizer, found)
    state = optimizer.state_dict()
    for name, value in found.items():
        _, index, key = name.split(".")
        state["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():  # fused steps need the memory layout of the weights
        for key, value in moments.items():
            if value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)


def _check_complete(optimizer: torch.optim.Optimizer, found: dict[str, Tensor]) -> None:
    """Raises ValueError for missing, unknown or wrong tensors of AdamW: two moments and a counter per parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    expected: dict[str, Tensor] = {}
    for index, parameter in enumerate(parameters):
        moment = torch.empty_like(parameter, device="meta")
        expected |= {f"{PREFIX}{index}.{key}": moment for key in ("exp_avg", "exp_avg_sq")}
        expected[f"{PREFIX}{index}.step"] = torch.empty((), device="meta")
    try:
        check_form(found, expected)
        check_finite(found)
    except ValueError as error:
        raise ValueError(f"the state of the optimizer is not complete: {error}") from None
