"""Where networks run and in which arithmetic: choosing a device, and whether it multiplies bf16 in hardware."""

import torch


def choose_device(name: str) -> torch.device:
    """The device `name`. Raises ValueError for a GPU that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {name} is not known here; use auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"--device {name}: this machine has {torch.cuda.device_count()} GPUs; use auto or cpu")
    return device


def bf16_is_fast(device: torch.device) -> bool:
    """Whether this device multiplies bf16 in hardware: any recent GPU, or a CPU with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
