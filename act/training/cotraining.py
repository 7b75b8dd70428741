"""Co-training: a policy also learns to locate keypoints in random scenes, in the same steps as it learns to act.

Fifty demonstrations show fifty positions of an object. A policy that reads 160,000 numbers of feature maps can fit them
without learning where the object is: from frozen maps alone, 48 of 100 transfers succeeded (validation seeds, one
training seed, measured with a prototype at commit 0f3633c). Random scenes show thousands of positions. They have no
actions, so only the policy's encoder learns from them. Their labels come from the simulator, as those of the
pretraining do, and are not used when the policy acts.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from act.data.batch import Batch, SceneBatch
from act.data.images import resize_image
from act.data.kept_features import keep_features, kept_features
from act.policies.base.policy import Policy
from act.training.scenes import SceneLabels, read_images, read_labels
from act.types import known_camera

SCENES_AT_ONCE = 16


class CoTraining:
    """Batches of random scenes for a policy: images, or the cached features of a frozen backbone."""

    def __init__(self, path: Path, policy: Policy, key: str | None):
        """`key` names the features of a frozen backbone (`Frames.features_key`); None if the backbone is trained.

        Raises ValueError for scenes without a camera of the policy.
        """
        self.labels = read_labels(path)
        cameras = policy.spec.cameras
        order = [self.labels.cameras.index(known_camera(name, self.labels.cameras, path)) for name in cameras]
        height, width = self.labels.image_size
        self.points = (self.labels.points[:, order] + 0.5) * (2 / torch.tensor([width, height])) - 1
        self.visible = self.labels.visible[:, order]
        self.cameras, self.image_size = cameras, policy.spec.image_size
        self.features: Tensor | None = None
        if key is not None:
            self.features = _features(self.labels, policy, path.parent / ".features" / key / _feature_name(path))

    def draw(self, seed: int, step: int, batch_size: int) -> SceneBatch:
        """The scenes of optimizer step `step`; a pure function of (seed, step)."""
        rows = torch.from_numpy(np.random.default_rng((seed, step, 0x5CE)).integers(len(self.labels), size=batch_size))
        qpos = self.labels.qpos[rows, None]
        if self.features is not None:
            seen = Batch(qpos=qpos, features=self.features[rows, None])
        else:
            parts = [read_sized(self.labels, self.cameras, row, row + 1, self.image_size) for row in rows.tolist()]
            seen = Batch(qpos=qpos, images=torch.from_numpy(np.stack(parts)))
        return SceneBatch(seen, self.points[rows], self.visible[rows])


def _feature_name(path: Path) -> str:
    """The name of the file of features, which changes when the scenes do."""
    stat = path.stat()
    return f"{path.stem}-{stat.st_size}-{stat.st_mtime_ns}.safetensors"


def _features(labels: SceneLabels, policy: Policy, file: Path) -> Tensor:
    """(S, N, C, h, w) bf16, mapped from `file`, which is made when it is missing or broken."""
    if (kept := kept_features(file, (len(labels), len(policy.spec.cameras)))) is not None:
        return kept
    parts: list[Tensor] = []
    with torch.no_grad(), tqdm(total=len(labels), desc="features of scenes", unit="scene") as bar:
        for start in range(0, len(labels), SCENES_AT_ONCE):
            stop = min(start + SCENES_AT_ONCE, len(labels))
            images = read_sized(labels, policy.spec.cameras, start, stop, policy.spec.image_size)
            seen = policy.encode_images(torch.from_numpy(images)[:, None].to(policy.device))[:, 0]
            parts.append(seen.bfloat16().cpu())
            bar.update(stop - start)
    return keep_features(file, torch.cat(parts))


def read_sized(labels: SceneLabels, cameras: Sequence[str], start: int, stop: int, size: tuple[int, int]) -> np.ndarray:
    """(stop - start, N, H, W, 3) uint8 of these scenes at the policy's size (H, W)."""
    images = read_images(labels, cameras, start, stop)
    if images.shape[2:4] == size:
        return images
    return np.stack([[resize_image(image, size) for image in scene] for scene in images])
