"""Trains a visual backbone on random scenes, inside a network that locates keypoints."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from act.nn.device import bf16_is_fast, choose_device, one_core_each
from act.nn.tensors import check_finite, check_form
from act.nn.vision import KeypointConfig, to_float
from act.training.keypoint_networks import CellNetwork, HeatMapNetwork, KeypointNetwork
from act.training.optimizer_state import PREFIX, optimizer_tensors, restore_optimizer
from act.training.scenes import Scenes

N_PARTS = 2  # of a batch; fixed, so that the number of cores changes nothing
HELD_OUT = 0.04  # fraction of the scenes, the last ones, that only measure the error


@dataclass(frozen=True)
class Recipe:
    """The settings that determine the weights, given the scenes."""

    backbone: Literal["keypoints", "resnet18"]
    steps: int
    batch_size: int
    lr: float  # peak of AdamW's learning rate, which ends at zero
    channels: tuple[int, int, int, int] = KeypointConfig.channels  # of the keypoint detector
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 10 or self.batch_size < 2 or self.lr <= 0:
            raise ValueError(
                f"--steps {self.steps} --batch_size {self.batch_size} --lr {self.lr}: "
                "give at least 10 steps, 2 images and a positive learning rate"
            )


class Pretraining:
    """Trains a network on most of the scenes; `errors` measures it on the others."""

    def __init__(self, scenes: Scenes, recipe: Recipe, device: str = "auto"):
        self.scenes, self.recipe = scenes, recipe
        self.device = choose_device(device)
        if len(scenes.images) < 2:
            raise ValueError(f"{len(scenes.images)} scenes: at least 2 are needed, one to train on and one to measure")
        self.held_out = max(1, round(HELD_OUT * len(scenes.images)))
        torch.manual_seed(recipe.seed)
        self.network = make_network(scenes, recipe).to(self.device)
        self.dtype = torch.bfloat16 if bf16_is_fast(self.device) else torch.float32
        self.parameters = list(self.network.parameters())
        self.replicas = [self.network, *(_replica(self.network) for _ in range(N_PARTS - 1))]
        self.generators = [torch.Generator(self.device).manual_seed(recipe.seed + i) for i in range(N_PARTS)]
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(self.parameters, lr=recipe.lr, weight_decay=1e-4, fused=fused)
        warmup = max(2, recipe.steps // 20)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.lr, total_steps=recipe.steps, pct_start=warmup / recipe.steps, cycle_momentum=False
        )
        self.step = 0

    def train(self) -> Iterator[float]:
        """Yields the loss of every step from `step` on."""
        rng = np.random.default_rng(self.recipe.seed)
        n_scenes, n_cameras = len(self.scenes.images) - self.held_out, len(self.scenes.cameras)
        for replica in self.replicas:
            replica.train()
        with one_core_each(min(N_PARTS, torch.get_num_threads())) as pool:
            for step in range(self.recipe.steps):
                scene = torch.from_numpy(rng.integers(n_scenes, size=self.recipe.batch_size))
                camera = torch.from_numpy(rng.integers(n_cameras, size=self.recipe.batch_size))
                if step < self.step:  # done before an interruption; the random numbers must be drawn again
                    continue
                parts = list(pool.map(self._gradients, range(N_PARTS), scene.chunk(N_PARTS), camera.chunk(N_PARTS)))
                for i, parameter in enumerate(self.parameters):
                    parameter.grad = sum((gradients[i] for _, gradients in parts), torch.zeros_like(parameter))
                torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
                self.optimizer.step()
                self.schedule.step()
                self.step += 1
                yield sum(float(loss) for loss, _ in parts)

    def _gradients(self, part: int, scene: Tensor, camera: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One part's contribution to the mean loss over the batch, and to its gradient."""
        images = to_float(self.scenes.images[scene, camera].to(self.device), self.dtype)
        points = self.scenes.points[scene, camera].to(self.device)
        visible = self.scenes.visible[scene, camera].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            predictions = self.replicas[part](brighten(images, self.generators[part]), camera.to(self.device))
        loss = self.network.loss(predictions, points, visible) * (len(scene) / self.recipe.batch_size)
        return loss.detach(), torch.autograd.grad(loss, self.parameters)

    @torch.no_grad()
    def locate(self, scenes: slice) -> Tensor:
        """Predictions (S, N, P, 3) for these scenes: x and y [pixels], and the probability of being visible."""
        self.network.eval()
        parts = self.scenes.images[scenes].split(8)
        found = torch.cat([self.network.locate(part.to(self.device)).cpu() for part in parts])
        self.network.train()
        return found

    def errors(self, most: int | None = None) -> dict[str, dict[str, float]]:
        """Errors per camera on the (first `most`) held-out scenes: the median pixel error of each visible keypoint, and
        "seen", the accuracy of the predicted visibility."""
        first = len(self.scenes.images) - self.held_out
        chosen = slice(first, None if most is None else first + most)
        points, visible, found = self.scenes.points[chosen], self.scenes.visible[chosen], self.locate(chosen)
        distance = (found[..., :2] - points).norm(dim=-1)
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

    def state(self) -> dict[str, Tensor]:
        """Everything that `restore` needs, as tensors."""
        state = {f"network{i}.{k}": v for i, net in enumerate(self.replicas) for k, v in net.state_dict().items()}
        state |= optimizer_tensors(self.optimizer)
        state |= {f"generator.{i}": generator.get_state() for i, generator in enumerate(self.generators)}
        return {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}

    def restore(self, step: int, state: dict[str, Tensor]) -> None:
        """Continues after `step` steps from what `state` returned.

        Raises ValueError for an impossible step, and unless all tensors are there, finite and of the right form.
        """
        if type(step) is not int or not 0 <= step <= self.recipe.steps:
            raise ValueError(f"its step is {step!r}, expected 0 to {self.recipe.steps}")
        networks = _without_optimizer(state)
        check_form(networks, _without_optimizer(self.state()))
        check_finite(networks)
        for i, network in enumerate(self.replicas):
            prefix = f"network{i}."
            network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        restore_optimizer(self.optimizer, state)
        for i, generator in enumerate(self.generators):
            generator.set_state(state[f"generator.{i}"])
        for _ in range(step):
            self.optimizer.step()  # changes nothing without gradients; the schedule expects it
            self.schedule.step()
        self.step = step


def _without_optimizer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(PREFIX)}


def make_network(scenes: Scenes, recipe: Recipe) -> KeypointNetwork:
    return HeatMapNetwork(scenes, recipe.channels) if recipe.backbone == "keypoints" else CellNetwork(scenes)


def brighten(images: Tensor, generator: torch.Generator) -> Tensor:
    """Applies random gain, offset and noise to images (B, 3, H, W) in [0, 1]."""
    device, batch = images.device, len(images)
    gain = torch.empty(batch, 3, 1, 1, device=device).uniform_(0.85, 1.15, generator=generator)
    offset = torch.empty(batch, 1, 1, 1, device=device).uniform_(-0.06, 0.06, generator=generator)
    noise = torch.randn(batch, 1, *images.shape[2:], device=device, generator=generator, dtype=images.dtype)
    return images * gain.to(images.dtype) + offset.to(images.dtype) + 0.015 * noise


def _replica(network: KeypointNetwork) -> KeypointNetwork:
    """A network that shares the parameters and has its own batch statistics."""
    return copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})
