"""fit(): from a fresh policy and episodes to trained weights, a generator that yields Metrics.

Whatever is random at optimizer step s (which samples, dropout, the CVAE's z, noise) is a function of (seed, s), so a
run that was killed and resumed has the losses of one that was not, on a CPU bit for bit (a GPU adds in any order).
Nothing waits for the device between two lines of the log.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from act.data.batch import Batch, SceneBatch
from act.data.dataset import EpisodeDataset
from act.distributed import ALONE, Processes, averaged
from act.nn.device import choose_device
from act.policies.base.policy import Policy
from act.policies.base.storage import save_policy
from act.provenance import git_commit
from act.training.checkpoint import State, check_state, load_state, restore_state, save_state
from act.training.config import TrainConfig
from act.training.cotraining import CoTraining
from act.training.preparation import backbone_weights, episodes_digest, prepare, prepare_scenes, same_episodes
from act.training.trainer import ADVICE, Trainer, TrainingDiverged


@dataclass(frozen=True)
class Metrics:
    """Means over the steps since the last Metrics."""

    step: int  # optimizer updates done
    losses: dict[str, float]  # means of policy.loss
    lr: float
    seconds_per_step: float
    validation: dict[str, float] = field(default_factory=dict)  # the same on held-out episodes; deployed_l1: as it acts
    success: float | None = None  # rate on validation seeds

    def to_json(self) -> dict[str, Any]:
        held_out = {f"val_{key}": value for key, value in self.validation.items()}
        values = {k: v for k, v in asdict(self).items() if k not in ("losses", "validation")}
        return {**values, **self.losses, **held_out}

    def __str__(self) -> str:
        """The losses, as the progress bar shows them."""
        only = len(self.losses) == 1
        shown = [f"{key} {value:.4f}" for key, value in self.losses.items() if key != "loss" or only]
        held_out = self.validation.get("deployed_l1")
        shown += [f"held-out {held_out:.4f}"] if held_out is not None else []
        return ", ".join(shown + ([f"success {100 * self.success:.0f} %"] if self.success is not None else []))


Evaluate = Callable[[Policy], float]


def fit(
    policy: Policy,
    train: EpisodeDataset,
    held_out: EpisodeDataset | None,
    config: TrainConfig,
    evaluate: Evaluate | None = None,
    processes: Processes = ALONE,
) -> Iterator[Metrics]:
    """Trains `policy` on `train` to config.steps, resuming where RUN/last is; yields Metrics every config.log_every.

    What belongs to a line, RUN/last included, is saved once the next one is asked for: the line is then in the log.

    Raises ValueError when RUN was begun with other episodes, or with another frozen trunk.

    Of several processes the first evaluates and saves; `evaluate` is not called in the others.

    `evaluate` gives the success rate of a policy on validation seeds; with it the most successful weights are kept in
    RUN/policy.safetensors, otherwise the last. Raises TrainingDiverged, and ValueError when RUN has another config.
    """
    assert config.run_dir is not None
    device = choose_device(config.device)
    saved, episodes = saved_state(policy, train, held_out, config), episodes_digest(train, held_out)
    policy.to(device)
    with processes.main_first():  # features of a frozen trunk are computed once
        for dataset in (train, held_out):
            if dataset is not None:
                prepare(policy, dataset, config, device)
    if config.warm_start is None or not config.policy.learns_by_gradient:
        policy.before_training(train)
    cotraining = prepare_scenes(policy, train, config)
    trainer = Trainer(policy, config, processes)
    if saved and config.unfreeze_at is not None and saved.step > config.unfreeze_at:
        trainer.unfreeze()  # before its weights and moments are restored
    run = _Run(trainer, config.run_dir, evaluate, saved, episodes)
    del saved  # as large as the weights and their moments together
    window, since = _Window(), time.perf_counter()
    for batch, scenes in _batches(trainer, train, held_out, cotraining, processes):
        window.add(trainer.train_step(batch, scenes))
        step, last = trainer.step, trainer.step == config.steps
        validates = held_out is not None and (last or step % config.validate_every == 0)
        evaluates = config.eval_every > 0 and (last or step % config.eval_every == 0)  # the same in all processes
        saves = last or step % config.save_every == 0
        if not (validates or evaluates or saves or step % config.log_every == 0):
            continue
        losses = window.close(step)
        seconds = (time.perf_counter() - since) / window.count
        validation = trainer.validate(held_out) if held_out is not None and validates else {}
        success = run.evaluate() if evaluates and evaluate is not None and processes.is_main else None
        yield Metrics(step, losses, config.lr * trainer.schedule(step - 1), seconds, validation, success)
        if saves and processes.is_main:  # after the log, which a resumed run goes on with from here
            run.save()
        window, since = _Window(), time.perf_counter()


def _batches(
    trainer: Trainer,
    train: EpisodeDataset,
    held_out: EpisodeDataset | None,
    cotraining: CoTraining | None,
    processes: Processes,
) -> Iterator[tuple[Batch, SceneBatch | None]]:
    """The batches of all steps that are left; before step `unfreeze_at` the backbone is unfrozen."""
    config, place = trainer.config, (processes.rank, processes.size)

    def draw(stop: int, batch_size: int, scene_batch_size: int) -> Iterator[tuple[Batch, SceneBatch | None]]:
        for batch in train.batches(config.seed, trainer.step, stop, batch_size, *place):
            yield batch, cotraining.draw(config.seed, trainer.step, scene_batch_size) if cotraining else None

    frozen_until = config.steps if config.unfreeze_at is None else config.unfreeze_at
    yield from draw(frozen_until, config.batch_size, config.scene_batch_size)
    if frozen_until >= config.steps:
        return
    if trainer.step == frozen_until:  # a run that is resumed later has unfrozen the backbone before
        trainer.unfreeze()
    for dataset in (train, held_out):
        if dataset is not None:
            dataset.frames.release_features(config.cache, trainer.device)
    if cotraining:
        cotraining.features = None
    yield from draw(config.steps, config.unfrozen_batch_size, config.unfrozen_batch_size)


def saved_state(
    policy: Policy, train: EpisodeDataset, held_out: EpisodeDataset | None, config: TrainConfig
) -> State | None:
    """What a run goes on from, RUN/last; None of a fresh one.

    Raises ValueError when it was begun with another config, with other episodes, or behind another frozen trunk, and
    when it is damaged or not complete.
    """
    run = config.run_dir
    assert run is not None
    saved = load_state(run, config)
    if saved is None:
        return None
    way_out = "bring them back, or choose another --run_dir"
    if saved.episodes and not same_episodes(saved.episodes, train, held_out):
        raise ValueError(f"{run} was trained on other episodes than there are now; {way_out}")
    check_state(run, saved, policy, config)
    frozen = {f"policy.{key}": value for key, value in backbone_weights(policy).items()}
    is_frozen = policy.has_frozen_backbone and (config.unfreeze_at is None or saved.step <= config.unfreeze_at)
    if is_frozen and any(not torch.equal(saved.tensors[key], value) for key, value in frozen.items()):
        raise ValueError(f"{run} was trained with another frozen backbone than the current one; {way_out}")
    return saved


class _Window:
    """Sums of losses on the device; looked at once, when the window closes."""

    def __init__(self) -> None:
        self.count, self.sums = 0, {}

    def add(self, losses: dict[str, Tensor]) -> None:
        self.count += 1
        self.sums = {key: value + self.sums[key] if self.sums else value for key, value in losses.items()}

    def close(self, step: int) -> dict[str, float]:
        means = {key: float(averaged(value)) / self.count for key, value in self.sums.items()}
        if not all(math.isfinite(value) for value in means.values()):
            raise TrainingDiverged(f"The loss became {means['loss']} at or shortly before step {step}. {ADVICE}")
        return means


class _Run:
    """What a trainer leaves in its run directory."""

    def __init__(
        self, trainer: Trainer, directory: Path, evaluate: Evaluate | None, saved: State | None, episodes: str
    ):
        self.trainer, self.directory, self.evaluate_policy, self.episodes = trainer, directory, evaluate, episodes
        self.best = saved.best_success if saved else None
        config = json.loads(json.dumps(trainer.config.to_json()))
        self.about = {
            "task": trainer.config.env_name,
            "demo_style": trainer.config.demo_style,
            "seed": trainer.config.seed,
            "git": git_commit(),
            "torch": torch.__version__,
            "train": config,
        }
        if saved:
            restore_state(directory, trainer, saved)

    def evaluate(self) -> float:
        """Success of the deployed weights; they are kept when no earlier ones did better."""
        assert self.evaluate_policy is not None
        success = self.evaluate_policy(self.trainer.deployed)
        if self.best is None or success >= self.best:
            self.best = success
            self._keep()
        return success

    def save(self) -> None:
        state = State(self.trainer.step, self.trainer.state(), self.best, self.episodes)
        if self.best is None:
            self._keep()
        save_state(self.directory, state, self.trainer.config)

    def _keep(self) -> None:
        about = {**self.about, "step": self.trainer.step, "validation_success": self.best}
        save_policy(self.directory, self.trainer.deployed, about)
