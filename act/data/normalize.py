"""Normalizer: converts physical units to numbers near 1 and back.

It is fitted on the training episodes and saved with the policy.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from act.types import PolicySpec

STD_FLOOR = 1e-2  # so that noise on an axis that hardly moves (scripted left waist: std 0.0037 rad) is not amplified


class Normalizer(nn.Module):
    """One affine map per key ("qpos", "action", "env_state", "features"): (x - mean) / max(std, 0.01).

    The statistics are buffers, so they are saved in the policy's state_dict. Before `fit`, the map is the identity.
    """

    def __init__(self, dims: Mapping[str, int]):
        super().__init__()
        for key, dim in dims.items():
            self.add(key, dim)

    @classmethod
    def of(cls, spec: PolicySpec) -> "Normalizer":
        """An unfitted normalizer of the sizes of `spec`."""
        dims = {"qpos": spec.qpos_dim, "action": spec.action_dim}
        return cls(dims | ({"env_state": spec.env_state_dim} if spec.env_state_dim else {}))

    def add(self, key: str, dim: int) -> None:
        """Adds buffers for `key` with `dim` numbers; does nothing if they exist."""
        if key in self:
            return
        self.register_buffer(f"{key}_shift", torch.zeros(dim))
        self.register_buffer(f"{key}_scale", torch.ones(dim))

    def __contains__(self, key: str) -> bool:
        return f"{key}_shift" in self._buffers

    def fit(self, key: str, values: Tensor) -> None:
        """Fits the map of `key` to training values (..., dim). Raises ValueError when some are not finite."""
        values = values.reshape(-1, values.shape[-1]).double()
        if not bool(torch.isfinite(values).all()):
            raise ValueError(
                f"the training values of {key!r} are not all finite; find them with python -m act episodes validate"
            )
        self._get(key, "shift").copy_(values.mean(0))
        self._get(key, "scale").copy_(values.std(0, correction=0).clamp_min(STD_FLOOR))

    def encode(self, key: str, x: Tensor) -> Tensor:
        """Normalised values of physical ones (..., dim)."""
        return (x - self._get(key, "shift")) / self._get(key, "scale")

    def decode(self, key: str, x: Tensor) -> Tensor:
        """Physical values of normalised ones (..., dim)."""
        return x * self._get(key, "scale") + self._get(key, "shift")

    def _get(self, key: str, part: str) -> Tensor:
        buffer = self._buffers.get(f"{key}_{part}")
        if buffer is None:
            known = ", ".join(sorted(name.removesuffix("_shift") for name in self._buffers if name.endswith("_shift")))
            raise KeyError(f"the normalizer does not know {key!r}; it knows {known}")
        return buffer
