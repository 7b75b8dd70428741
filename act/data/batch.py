"""Batch: the tensors of a training step, or of a query, in physical units.

Letters: B batch, T history, K chunk, A action, N cameras, H W image, E object poses, F features of one camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from act.data.images import resize_image
from act.types import Observation


@dataclass(frozen=True)
class Batch:
    """The inputs of a policy (qpos, and where used env_state and images or their features) and its targets."""

    qpos: Tensor  # (B, T, Q) float32
    env_state: Tensor | None = None  # (B, T, E) float32
    images: Tensor | None = None  # (B, T, N, H, W, 3) uint8
    features: Tensor | None = None  # of a visual backbone: (B, T, N, F), or maps (B, T, N, C, h, w)
    action: Tensor | None = None  # (B, K, A) float32, the chunk that begins at the newest observation
    is_pad: Tensor | None = None  # (B, K) bool, True where the chunk is past the end of the episode
    past_action: Tensor | None = None  # (B, T - 1, K, A): the chunks that begin at the earlier observations
    past_is_pad: Tensor | None = None  # (B, T - 1, K), all True at observations before the episode's beginning

    def __post_init__(self) -> None:
        lead = tuple(self.qpos.shape[:2])
        for name, axes in (("qpos", (3,)), ("env_state", (3,)), ("images", (6,)), ("features", (4, 6))):
            value: Tensor | None = getattr(self, name)
            if value is not None and (value.ndim not in axes or tuple(value.shape[:2]) != lead):
                wanted = " or ".join(map(str, axes))
                raise ValueError(f"Batch.{name} has shape {tuple(value.shape)}, expected {wanted} axes from {lead} on")
        if self.images is not None and (self.images.dtype != torch.uint8 or self.images.shape[-1] != 3):
            raise ValueError(f"Batch.images must be (..., 3) uint8, not {tuple(self.images.shape)} {self.images.dtype}")
        if (self.action is None) != (self.is_pad is None):
            raise ValueError("Batch.action and Batch.is_pad come together")
        if self.action is not None and self.is_pad is not None and self.action.shape[:2] != self.is_pad.shape:
            raise ValueError(f"Batch.action {tuple(self.action.shape)} and is_pad {tuple(self.is_pad.shape)} disagree")
        if (self.past_action is None) != (self.past_is_pad is None):
            raise ValueError("Batch.past_action and Batch.past_is_pad come together")

    @property
    def batch_size(self) -> int:
        return self.qpos.shape[0]

    def chunks(self) -> tuple[Tensor, Tensor]:
        """The chunks (B, T, K, A) that begin at the T observations, oldest first, and their padding (B, T, K).

        Raises ValueError when actions are missing: queries have none, and a history needs those of its past.
        """
        if self.action is None or self.is_pad is None:
            raise ValueError("the batch has no actions: it is a query, not a sample")
        action, is_pad = self.action[:, None], self.is_pad[:, None]
        if self.past_action is not None and self.past_is_pad is not None:
            action, is_pad = torch.cat([self.past_action, action], 1), torch.cat([self.past_is_pad, is_pad], 1)
        if action.shape[1] != self.qpos.shape[1]:
            raise ValueError(
                f"the batch has {self.qpos.shape[1]} observations per sample, but {action.shape[1]} chunks"
            )
        return action, is_pad

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on `device`; the copy does not block if the tensors are pinned."""
        return self._map(lambda value: value.to(device, non_blocking=True))

    def __getitem__(self, index: slice) -> "Batch":
        """The samples of `index`: batch[2:3] is a batch of one."""
        return self._map(lambda value: value[index])

    def _map(self, function) -> "Batch":
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(value) for name, value in given.items() if value is not None})

    @classmethod
    def from_histories(
        cls,
        histories: Sequence[Sequence[Observation]],
        cameras: Sequence[str] = (),
        image_size: tuple[int, int] = (480, 640),
        use_env_state: bool = False,
    ) -> "Batch":
        """A batch of B histories of T observations, oldest first. Images that are not (H, W) are resized by area.

        If the observations have `features`, because an agent has encoded their images, those replace the images.
        """
        stack = {"qpos": _stack(histories, "qpos")}
        if use_env_state:
            stack["env_state"] = _stack(histories, "env_state")
        if cameras and "features" in histories[0][0]:
            stack["features"] = _stack(histories, "features")
        elif cameras:
            images = [[[_image(obs, camera, image_size) for camera in cameras] for obs in obss] for obss in histories]
            stack["images"] = torch.from_numpy(np.asarray(images))
        return cls(**stack)


@dataclass(frozen=True)
class SceneBatch:
    """Random scenes in which a policy locates keypoints. Letters: B scenes, N cameras, P keypoints."""

    seen: Batch  # qpos (B, 1, Q), and images or features
    points: Tensor  # (B, N, P, 2) float32, x and y in [-1, 1] across the image
    visible: Tensor  # (B, N, P) bool

    def to(self, device: torch.device | str) -> "SceneBatch":
        return SceneBatch(self.seen.to(device), self.points.to(device), self.visible.to(device))


def _stack(histories: Sequence[Sequence[Observation]], key: str) -> Tensor:
    return torch.from_numpy(np.asarray([[obs[key] for obs in obss] for obss in histories], dtype=np.float32))


def _image(obs: Observation, camera: str, image_size: tuple[int, int]) -> np.ndarray:
    images = obs.get("images", {})
    if camera not in images:
        have = ", ".join(images) or "no images"
        raise ValueError(f"the policy needs camera {camera!r}, but the observation has {have}")
    return resize_image(images[camera], image_size)
