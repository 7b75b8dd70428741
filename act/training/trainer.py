"""Trains one policy: the optimizer step, the moving average of the weights, and the validation on held-out episodes.

All randomness of step s (dropout, the CVAE's z, noise) is a function of (seed, s).
"""

import copy
import ctypes
import math

import numpy as np
import torch
from torch import Tensor

from act.data.augment import augment
from act.data.batch import Batch, SceneBatch
from act.data.dataset import EpisodeDataset
from act.distributed import ALONE, Processes
from act.nn.device import bf16_is_fast
from act.policies.base.policy import Policy, masked_mean
from act.training.config import TrainConfig
from act.training.optimizer_state import optimizer_tensors, restore_optimizer

VALIDATION_BATCH = 32  # samples, independent of --batch_size
ADVICE = "The last good checkpoint is kept; try a lower --lr, --grad_clip 1 or --precision fp32."


class TrainingDiverged(ValueError):
    """A loss or a weight is not finite any more; the last good checkpoint is kept."""


class Trainer:
    """A policy with its optimizer and its moving average; it knows steps, but neither files nor episodes.

    Each of the `processes` that train together has a Trainer; their weights stay equal, and their noise differs.
    """

    def __init__(self, policy: Policy, config: TrainConfig, processes: Processes = ALONE):
        self.policy, self.config, self.step, self.rank = policy, config, 0, processes.rank
        self.device = policy.device
        if self.device.type == "cpu":
            _keep_freed_memory()
        groups = policy.parameter_groups(config.lr, config.weight_decay, config.lr_backbone)
        self.optimizer = torch.optim.AdamW(groups or [{"params": []}], lr=config.lr, fused=True)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.deployed = copy.deepcopy(policy).requires_grad_(False).eval() if config.ema_decay else policy
        self._find_parameters()
        loss = processes.loss_of(policy)
        self.loss = torch.compile(loss) if config.compile else loss
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and bf16_is_fast(self.device))

    def _find_parameters(self) -> None:
        """Lists the parameters that are trained, and their averages in the same order."""
        average = dict(self.deployed.named_parameters())
        trained = [(name, p) for name, p in self.policy.named_parameters() if p.requires_grad]
        self.parameters: list[Tensor] = [parameter for _, parameter in trained]
        self.averages: list[Tensor] = [average[name] for name, _ in trained]

    def unfreeze(self) -> None:
        """Trains the backbone from now on, at its own learning rate."""
        frozen = [parameter for parameter in self.policy.backbone_parameters() if not parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_()
        new = {id(parameter) for parameter in frozen}
        config = self.config
        for group in self.policy.parameter_groups(config.lr, config.weight_decay, config.lr_backbone):
            if id(group["params"][0]) in new:  # a group is the backbone's as a whole, or not at all
                self.optimizer.add_param_group(group)
                self.peaks.append(group["lr"])
        self._find_parameters()

    def train_step(self, batch: Batch, scenes: SceneBatch | None = None) -> dict[str, Tensor]:
        """Does one optimizer update and returns the losses, which stay on the device."""
        _seed(self.config.seed, self.step, self.rank)
        self.policy.train()
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * self.schedule(self.step)
        batch = augment(batch.to(self.device), self.config.augmentation)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = self.loss(batch)
            if scenes is not None:
                keypoints = self.policy.scene_loss(scenes.to(self.device))
                losses |= {"loss": losses["loss"] + self.config.scene_weight * keypoints, "keypoints": keypoints}
        if self.parameters:  # VINN has none
            losses["loss"].backward()
        if self.config.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self._average()
        return {key: value.detach() for key, value in losses.items()}

    def schedule(self, step: int) -> float:
        """Fraction of the peak learning rate at `step`: linear warm-up, then constant or half a cosine to 0.

        The warm-up takes at most half of all steps.
        """
        total = self.config.steps
        warmup = min(self.config.warmup_steps, total // 2)
        if step < warmup:
            return (step + 1) / warmup
        if self.config.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    def _average(self) -> None:
        """Updates the moving average; it forgets faster at first, so that the initial weights do not persist."""
        if self.deployed is not self.policy and self.averages:
            decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)  # type: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def validate(self, held_out: EpisodeDataset) -> dict[str, float]:
        """The training losses of the deployed weights, and `deployed_l1`, the error when the policy acts (z = 0).

        They are means over samples and do not depend on the batches of the training.
        """
        self.deployed.eval()
        sums, n = {}, 0
        for i, batch in enumerate(held_out.validation_batches(VALIDATION_BATCH)):
            _seed(self.config.seed, i)
            batch = batch.to(self.device)
            assert batch.action is not None and batch.is_pad is not None
            losses = dict(self.deployed.loss(batch))
            error = self.deployed.predict(batch) - self.deployed.normalizer.encode("action", batch.action)
            losses["deployed_l1"] = masked_mean(error.abs(), batch.is_pad)
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + float(value) * batch.batch_size
            n += batch.batch_size
        return {key: value / n for key, value in sums.items()}

    def state(self) -> dict[str, Tensor]:
        """Weights, average and optimizer as tensors. Raises TrainingDiverged when a weight is not finite."""
        tensors = {f"policy.{key}": value for key, value in self.policy.state_dict().items()}
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
            raise TrainingDiverged(f"after step {self.step} some weights are not finite. {ADVICE}")
        if self.deployed is not self.policy:
            tensors |= {f"deployed.{key}": value for key, value in self.deployed.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizer)
        return {key: value.cpu().clone() for key, value in tensors.items()}

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Continues after `step` steps from what `state` returned."""
        self.step = step
        for name, module in (("policy.", self.policy), ("deployed.", self.deployed)):
            part = {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
            if part:
                module.load_state_dict(part)
        restore_optimizer(self.optimizer, tensors)


def _keep_freed_memory() -> None:
    """Keeps freed memory in this process; asking the kernel for the same pages again took a tenth of each step.

    This is a setting of glibc's malloc; other C libraries are left unchanged.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def _seed(seed: int, step: int, rank: int = 0) -> None:
    """Makes torch's random numbers of this step a function of (seed, step), and of the rank if it is not 0."""
    entropy = (seed, step, rank) if rank else (seed, step)
    torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))
