"""Teaches a keypoint trunk to see, from random scenes:   python -m act pretrain data/cube/scenes.hdf5 --out runs/eyes

A heat map per keypoint and camera, learned by cross-entropy: a visible keypoint is split bilinearly between its four
nearest cells, a hidden one belongs in one more cell that means "nowhere". Augmentation is photometric only: the cameras
never move, so a shifted image would be a wrong label. Labels are privileged and come from the simulator; demonstrations
and episodes are never touched.
"""

import copy
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from act.data.images import decode_image
from act.files import whole_file
from act.nn.device import bf16_is_fast, choose_device, one_core_each
from act.nn.vision import KeypointConfig, KeypointTrunk, to_float

N_PARTS = (
    2  # of a batch, each with its own thread, batch statistics and augmentation; fixed, so that cores do not matter
)
HELD_OUT = 0.04  # share of the scenes, the last ones, that only measure


@dataclass(frozen=True)
class Flags:
    """Learns where keypoints are in the images of each camera and writes trunk.safetensors, trunk.json to OUT."""

    file: Annotated[Path, tyro.conf.Positional]
    """What `record_sim_episodes.py --random_scenes` wrote."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory of the trunk; runs/<task>_trunk if not given, where train.py --preset fast looks for it."""
    steps: int = 800
    """Optimizer updates; the learning rate falls to zero at the last one."""
    batch_size: int = 32
    """Images, each of a random scene and camera."""
    lr: float = 3e-3
    """Peak learning rate of AdamW."""
    channels: tuple[int, int, int, int] = KeypointConfig.channels
    """Of the trunk at stride 2, 4, 8, 16."""
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Scenes:
    """All stills of a file. S scenes, N cameras, P keypoints."""

    images: Tensor  # (S, N, H, W, 3) uint8
    points: Tensor  # (S, N, P, 2) float32 [pixels]
    visible: Tensor  # (S, N, P) bool
    cameras: tuple[str, ...]
    keypoints: tuple[str, ...]
    task_name: str

    @property
    def image_size(self) -> tuple[int, int]:
        height, width = self.images.shape[2:4]
        return height, width


def read_scenes(path: Path) -> Scenes:
    """Raises ValueError naming the file when it is not one of scenes."""
    try:
        with h5py.File(path) as file:
            cameras = tuple(str(name) for name in np.asarray(file.attrs["camera_names"]))
            keypoints = tuple(str(name) for name in np.asarray(file.attrs["keypoint_names"]))
            task_name = str(file.attrs["task_name"])
            lengths = np.asarray(file["compress_len"])
            images = np.empty((lengths.shape[1], len(cameras), *np.asarray(file.attrs["image_size"]), 3), np.uint8)
            for n, camera in enumerate(cameras):
                _decode(np.asarray(file[f"images/{camera}"]), lengths[n], images[:, n])
            points = np.stack([np.asarray(file[f"keypoints/{c}"]) for c in cameras], axis=1)
            visible = np.stack([np.asarray(file[f"visible/{c}"]) for c in cameras], axis=1)
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{path} holds no scenes ({error}); record_sim_episodes.py --random_scenes 3000 makes them"
        ) from error
    return Scenes(
        torch.from_numpy(images), torch.from_numpy(points), torch.from_numpy(visible), cameras, keypoints, task_name
    )


def _decode(padded: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> None:
    """JPEGs (S, padded_len) into `out` (S, H, W, 3) uint8."""

    def decode(s: int) -> None:
        out[s] = decode_image(padded[s, : lengths[s]])

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(decode, range(len(padded))))


def heat_map_loss(maps: Tensor, nowhere: Tensor, points: Tensor, visible: Tensor, stride: int) -> Tensor:
    """Mean cross-entropy of logits (B, P, h, w) and of "nowhere" (B, P) against points (B, P, 2) [pixels] or hidden.

    A visible point's mass is on the four cell centres around it, bilinearly, so that its mean is the point.
    """
    height, width = maps.shape[-2:]
    cells = (points + 0.5) / stride - 0.5  # in units of cells, 0 at the centre of the first
    limit = torch.tensor([width - 1.0, height - 1.0], device=maps.device)
    cells = cells.clamp(min=torch.zeros_like(limit), max=limit)
    low = cells.floor().minimum(limit - 1)
    share = cells - low  # (B, P, 2) towards the next cell
    flat = maps.flatten(2)
    hit = torch.zeros_like(nowhere)
    for dx in (0, 1):
        for dy in (0, 1):
            index = ((low[..., 1] + dy) * width + low[..., 0] + dx).long()
            weight = (share[..., 0] if dx else 1 - share[..., 0]) * (share[..., 1] if dy else 1 - share[..., 1])
            hit = hit + weight * flat.gather(2, index[..., None])[..., 0]
    total = torch.logaddexp(flat.logsumexp(-1), nowhere)
    return (total - torch.where(visible, hit, nowhere)).mean()


def brighten(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random gain, offset and noise of images (B, 3, H, W) in [0, 1]."""
    device, batch = images.device, len(images)
    gain = torch.empty(batch, 3, 1, 1, device=device).uniform_(0.85, 1.15, generator=generator)
    offset = torch.empty(batch, 1, 1, 1, device=device).uniform_(-0.06, 0.06, generator=generator)
    noise = torch.randn(batch, 1, *images.shape[2:], device=device, generator=generator, dtype=images.dtype)
    return images * gain.to(images.dtype) + offset.to(images.dtype) + 0.015 * noise


class Teacher:
    """Trains one trunk on some scenes; `errors` measures it on others."""

    def __init__(self, scenes: Scenes, flags: Flags):
        self.scenes, self.flags = scenes, flags
        self.device = choose_device(flags.device)
        if len(scenes.images) < 2:
            raise ValueError(f"{len(scenes.images)} scenes: one to learn from and one to judge by is the least")
        self.held_out = max(1, round(HELD_OUT * len(scenes.images)))
        torch.manual_seed(flags.seed)
        config = KeypointConfig(scenes.keypoints, scenes.cameras, scenes.image_size, flags.channels)
        self.trunk = KeypointTrunk(config).to(self.device)
        self.dtype = torch.bfloat16 if bf16_is_fast(self.device) else torch.float32
        self.parameters = list(self.trunk.parameters())
        self.replicas = [self.trunk, *(_replica(self.trunk) for _ in range(N_PARTS - 1))]
        self.generators = [torch.Generator(self.device).manual_seed(flags.seed + i) for i in range(N_PARTS)]
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(self.parameters, lr=flags.lr, weight_decay=1e-4, fused=fused)
        warmup = max(2, flags.steps // 20)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, flags.lr, total_steps=flags.steps, pct_start=warmup / flags.steps, cycle_momentum=False
        )

    def train(self) -> Iterator[float]:
        """Yields the loss of every step."""
        rng = np.random.default_rng(self.flags.seed)
        n_scenes, n_cameras = len(self.scenes.images) - self.held_out, len(self.scenes.cameras)
        for replica in self.replicas:
            replica.train()
        with one_core_each(min(N_PARTS, torch.get_num_threads())) as pool:
            for _ in range(self.flags.steps):
                scene = torch.from_numpy(rng.integers(n_scenes, size=self.flags.batch_size))
                camera = torch.from_numpy(rng.integers(n_cameras, size=self.flags.batch_size))
                parts = list(pool.map(self._learn, range(N_PARTS), scene.chunk(N_PARTS), camera.chunk(N_PARTS)))
                for i, parameter in enumerate(self.parameters):
                    parameter.grad = sum((gradients[i] for _, gradients in parts), torch.zeros_like(parameter))
                torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
                self.optimizer.step()
                self.schedule.step()
                yield sum(float(loss) for loss, _ in parts)

    def _learn(self, part: int, scene: Tensor, camera: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A part's share of the mean loss over the batch, and of its gradient."""
        images = to_float(self.scenes.images[scene, camera].to(self.device), self.dtype)
        points = self.scenes.points[scene, camera].to(self.device)
        visible = self.scenes.visible[scene, camera].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            maps, nowhere = self.replicas[part](brighten(images, self.generators[part]), camera.to(self.device))
        loss = heat_map_loss(maps, nowhere, points, visible, self.trunk.stride) * (len(scene) / self.flags.batch_size)
        return loss.detach(), torch.autograd.grad(loss, self.parameters)

    @torch.no_grad()
    def errors(self) -> dict[str, dict[str, float]]:
        """Per camera and keypoint on the held-out scenes: median pixel error where visible, and "seen", the accuracy
        of the visibility answer."""
        self.trunk.eval()
        first = len(self.scenes.images) - self.held_out
        images, points = self.scenes.images[first:], self.scenes.points[first:]
        visible = self.scenes.visible[first:]
        found = torch.cat([self.trunk.keypoints(part.to(self.device)).cpu() for part in images.split(8)])
        height, width = self.scenes.image_size
        pixels = (found[..., :2] + 1) * torch.tensor([width, height]) / 2 - 0.5
        distance = (pixels - points).norm(dim=-1)
        accuracy = ((found[..., 2] > 0.5) == visible).float()
        table: dict[str, dict[str, float]] = {}
        for n, camera in enumerate(self.scenes.cameras):
            row = {
                name: float(distance[:, n, p][visible[:, n, p]].median())
                for p, name in enumerate(self.scenes.keypoints)
                if visible[:, n, p].any()
            }
            table[camera] = {**row, "seen": float(accuracy[:, n].mean())}
        return table


def _replica(trunk: KeypointTrunk) -> KeypointTrunk:
    """The same parameters (not copies), with batch statistics of its own."""
    return copy.deepcopy(trunk, {id(parameter): parameter for parameter in trunk.parameters()})


def teach(flags: Flags) -> tuple[Path, dict[str, dict[str, float]]]:
    """Trains and saves; returns where, and the errors on held-out scenes."""
    scenes = read_scenes(flags.file)
    out = flags.out or Path("runs") / f"{scenes.task_name}_trunk"
    teacher = Teacher(scenes, flags)
    with tqdm(teacher.train(), total=flags.steps, unit="step", dynamic_ncols=True, desc="learning to see") as bar:
        smooth = 0.0
        for step, loss in enumerate(bar):
            smooth = loss if step == 0 else 0.98 * smooth + 0.02 * loss
            bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
    errors = teacher.errors()
    teacher.trunk.save(out)
    with whole_file(out / "pretrain.json") as temporary:
        record = {"flags": asdict(flags), "median_pixel_error": errors, "scenes": len(teacher.scenes.images)}
        temporary.write_text(json.dumps(record, indent=1, default=str) + "\n")
    return out, errors


def main(argv: Sequence[str] | None = None) -> int:
    flags = tyro.cli(Flags, args=argv, use_underscores=True)
    try:
        if flags.steps < 10 or flags.batch_size < 2:
            raise ValueError(f"--steps {flags.steps} --batch_size {flags.batch_size}: give at least 10 and 2")
        out, errors = teach(flags)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command begins anew", file=sys.stderr)
        return 130
    for camera, row in errors.items():
        print(f"{camera:16s}", "  ".join(f"{name} {value:.2f}" for name, value in row.items()))
    print(f"median error in pixels where visible, and accuracy of the visibility answer; trunk in {out}")
    return 0
