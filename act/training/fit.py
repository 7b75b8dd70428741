"""fit(): from a fresh policy and episodes to trained weights, a generator that yields Metrics.

Whatever is random at optimizer step s (which samples, dropout, the CVAE's z, noise) is a function of (seed, s), so a
run that was killed and resumed has the losses of one that was not, on a CPU bit for bit (a GPU adds in any order).
Nothing waits for the device between two lines of the log.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from act import policies
from act.data.dataset import EpisodeDataset, Sampling, find, load_episodes, split
from act.data.normalize import Normalizer
from act.distributed import ALONE, Processes, averaged
from act.nn.device import choose_device
from act.policies.base.policy import Policy
from act.policies.base.storage import load_policy, save_policy
from act.provenance import git_commit
from act.training.checkpoint import State, load_state, save_state
from act.training.config import TrainConfig
from act.training.trainer import ADVICE, Trainer, TrainingDiverged
from act.types import PolicySpec


@dataclass(frozen=True)
class Metrics:
    """What the steps since the last Metrics came to."""

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


def load_data(config: TrainConfig) -> tuple[EpisodeDataset, EpisodeDataset | None, PolicySpec]:
    """Training and held-out episodes of a configuration, images still on disk, and their sizes."""
    policy = config.policy
    cameras = config.cameras if getattr(policy, "use_images", True) else ()
    use_env_state = getattr(policy, "use_env_state", False)
    looks = (cameras, config.image_size, use_env_state, config.frame_stride)
    sampling = Sampling(policy.chunk_size, policy.n_obs_steps, *looks, policy.needs_whole_chunks)
    paths = [path for directory in config.dataset_dir for path in find(directory)]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"--dataset_dir {' '.join(map(str, config.dataset_dir))}: name each folder once")
    episodes = dict(zip(paths, load_episodes(paths, cameras), strict=True))
    names, held_out = split(paths, config.val_fraction, config.seed)
    train = EpisodeDataset([episodes[name] for name in names], sampling)
    train.aggregate(config.aggregation)
    if not len(train.trainable):
        directories = ", ".join(map(str, config.dataset_dir))
        whole = f" with all its {policy.chunk_size} actions" if policy.needs_whole_chunks else ""
        smaller = ", a smaller chunk_size," if policy.needs_whole_chunks else ""
        raise ValueError(
            f"{directories}: no expert's label{whole} at an observed frame (frame_stride {config.frame_stride}); "
            f"add demonstrations, or choose{smaller} a frame_stride that divides the control steps of the labels"
        )
    e_dim = train.env_state.shape[1] if train.env_state is not None else 0
    recorded = train.episodes[0].image_size if cameras else None
    spec = PolicySpec(cameras, config.image_size, train.qpos.shape[1], train.action.shape[1], e_dim, recorded)
    validation = EpisodeDataset([episodes[name] for name in held_out], sampling) if held_out else None
    return train, validation if validation is not None and len(validation.trainable) else None, spec


def make_policy(config: TrainConfig, train: EpisodeDataset, spec: PolicySpec) -> Policy:
    """A fresh policy with the statistics of the training episodes; its initial weights follow from the seed.

    With config.warm_start weights and statistics are that run's. Raises ValueError when they do not fit.
    """
    torch.manual_seed(config.seed)
    normalizer = Normalizer.of(spec)
    train.fit(normalizer)
    policy = policies.load(config.policy_class).Policy.create(config.policy, spec, normalizer)
    if config.warm_start is not None:
        try:
            policy.load_state_dict(load_policy(config.warm_start).state_dict())
        except RuntimeError as error:
            raise ValueError(f"--warm_start {config.warm_start} holds another policy: {error}") from None
    return policy


def prepare(policy: Policy, dataset: EpisodeDataset, config: TrainConfig, device: torch.device) -> None:
    """Caches what the policy sees of `dataset`: features of a frozen trunk, kept beside the episodes, or images."""
    if not policy.spec.cameras:
        return
    if not policy.has_frozen_trunk:
        dataset.frames.keep(config.cache, device)
        return
    weights = {key: value for key, value in policy.state_dict().items() if key.startswith("trunk.")}
    directory = config.dataset_dir[0] / ".features" / dataset.frames.fingerprint(weights)
    dataset.frames.precompute_features(policy.encode_images, device, directory)


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
    saved, episodes = saved_state(policy, train, held_out, config), fingerprint(train, held_out)
    policy.to(device)
    with processes.main_first():  # features of a frozen trunk are computed once
        for dataset in (train, held_out):
            if dataset is not None:
                prepare(policy, dataset, config, device)
    if config.warm_start is None or not config.policy.learns_by_gradient:
        policy.before_training(train)
    trainer = Trainer(policy, config, processes)
    run = _Run(trainer, config.run_dir, evaluate, saved, episodes)
    del saved  # as large as the weights and their moments together
    window, since = _Window(), time.perf_counter()
    place = (processes.rank, processes.size)
    for batch in train.batches(config.seed, trainer.step, config.steps, config.batch_size, *place):
        window.add(trainer.train_step(batch))
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


def fingerprint(train: EpisodeDataset, held_out: EpisodeDataset | None) -> str:
    """Of names, sizes, joints and actions of the episodes that are learned from, and of those that are not.

    A file's size alone tells no two episodes apart whose numbers and images are stored as they are.
    """
    told = hashlib.sha256()
    for dataset in (train, held_out):
        for episode in dataset.episodes if dataset else []:
            told.update(repr((episode.path.parent.name, episode.path.name, episode.path.stat().st_size)).encode())
            told.update(np.ascontiguousarray(episode.qpos).data)
            told.update(np.ascontiguousarray(episode.action).data)
        told.update(b"|")
    return told.hexdigest()[:16]


def saved_state(
    policy: Policy, train: EpisodeDataset, held_out: EpisodeDataset | None, config: TrainConfig
) -> State | None:
    """What a run goes on from, RUN/last; None of a fresh one.

    Raises ValueError when it was begun with another config, with other episodes, or behind another frozen trunk.
    """
    run = config.run_dir
    assert run is not None
    saved = load_state(run, config)
    if saved is None:
        return None
    way_out = "bring them back, or choose another --run_dir"
    if saved.episodes not in ("", fingerprint(train, held_out)):
        raise ValueError(f"{run} was trained on other episodes than there are now; {way_out}")
    seen = {f"policy.{key}": value for key, value in policy.state_dict().items() if key.startswith("trunk.")}
    if policy.has_frozen_trunk and any(not torch.equal(saved.tensors[key], value) for key, value in seen.items()):
        raise ValueError(f"{run} was trained behind another trunk than is there now; {way_out}")
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
        self.trainer, self.directory, self.judge, self.episodes = trainer, directory, evaluate, episodes
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
            trainer.restore(saved.step, saved.tensors)

    def evaluate(self) -> float:
        """Success of the deployed weights; they are kept when no earlier ones did better."""
        assert self.judge is not None
        success = self.judge(self.trainer.deployed)
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
