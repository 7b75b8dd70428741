"""What a training run begins with: episodes as data sets, a fresh policy, and caches of what the policy sees."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from act import policies
from act.data.checksums import hdf5_bytes
from act.data.dataset import EpisodeDataset, Sampling
from act.data.loading import find, load_episodes, print_notes, split
from act.data.normalize import Normalizer
from act.nn.tensors import check_form
from act.policies.base.policy import Policy
from act.policies.base.storage import load_policy
from act.training.config import TrainConfig
from act.training.cotraining import CoTraining
from act.training.scenes import read_labels
from act.types import PolicySpec


def load_data(config: TrainConfig) -> tuple[EpisodeDataset, EpisodeDataset | None, PolicySpec]:
    """Training and held-out episodes of a configuration, images still on disk, and their sizes."""
    policy = config.policy
    cameras = config.cameras if policy.uses_images else ()
    use_env_state = getattr(policy, "use_env_state", False)
    view = (cameras, config.image_size, use_env_state, config.frame_stride)
    sampling = Sampling(
        policy.chunk_size,
        policy.n_obs_steps,
        *view,
        policy.needs_whole_chunks,
        relative_actions=policy.relative_actions,
        shift_real=config.shift_real,
    )
    paths = [path for directory in config.dataset_dir for path in find(directory)]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"--dataset_dir {' '.join(map(str, config.dataset_dir))}: name each folder once")
    colors = None if config.jpeg_colors == "auto" else config.jpeg_colors
    episodes = dict(zip(paths, load_episodes(paths, cameras, colors, config.base_action), strict=True))
    print_notes(list(episodes.values()), sampling.shift_real)
    names, held_out = split(paths, config.val_fraction, config.seed)
    train = EpisodeDataset([episodes[name] for name in names], sampling)
    if policy.relative_actions and train.qpos.shape[1] != train.action.shape[1]:
        raise ValueError(
            f"relative_actions: qpos has {train.qpos.shape[1]} numbers and action {train.action.shape[1]}, so their "
            "difference has no meaning; leave it out"
        )
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


def start_poses(dataset: EpisodeDataset) -> list[list[float]]:
    """Poses of the objects at the beginning of each episode, rounded to 0.1 mm; none where a file lacks them."""
    starts = [episode.env_state[0] for episode in dataset.episodes if episode.env_state is not None]
    if len(starts) < len(dataset.episodes):
        return []
    return [start.astype(float).round(4).tolist() for start in starts]


def make_policy(config: TrainConfig, train: EpisodeDataset, spec: PolicySpec) -> Policy:
    """A fresh policy with the statistics of the training episodes; its initial weights follow from the seed.

    With config.warm_start weights and statistics are that run's. Raises ValueError when they do not fit.
    """
    torch.manual_seed(config.seed)
    normalizer = Normalizer.of(spec)
    train.fit(normalizer)
    chosen = config.policy
    if config.scenes is not None:
        chosen = dataclasses.replace(chosen, n_points=len(read_labels(config.scenes).keypoints))
    policy = policies.load(config.policy_class).Policy.create(chosen, spec, normalizer)
    if config.warm_start is not None:
        state = load_policy(config.warm_start).state_dict()
        try:
            check_form(state, policy.state_dict())
        except ValueError as error:
            raise ValueError(f"--warm_start {config.warm_start} holds another policy: {error}") from None
        policy.load_state_dict(state)
    return policy


def prepare(policy: Policy, dataset: EpisodeDataset, config: TrainConfig, device: torch.device) -> None:
    """Caches what the policy sees of `dataset`: features of a frozen backbone, kept beside the episodes, or images."""
    if not policy.spec.cameras:
        return
    if not policy.has_frozen_backbone:
        dataset.frames.keep(config.cache, device)
        return
    directory = config.dataset_dir[0] / ".features" / dataset.frames.features_key(backbone_weights(policy))
    dataset.frames.precompute_features(policy.encode_images, device, directory)


def prepare_scenes(policy: Policy, dataset: EpisodeDataset, config: TrainConfig) -> CoTraining | None:
    """Random scenes for co-training, features of a frozen backbone cached beside their file; None without --scenes."""
    if config.scenes is None:
        return None
    key = dataset.frames.features_key(backbone_weights(policy)) if policy.has_frozen_backbone else None
    return CoTraining(config.scenes, policy, key)


def backbone_weights(policy: Policy) -> dict[str, torch.Tensor]:
    return {key: value for key, value in policy.state_dict().items() if key.startswith("trunk.")}


def episodes_digest(train: EpisodeDataset, held_out: EpisodeDataset | None) -> str:
    """16 hexadecimal digits of names, sizes, joints and actions of the episodes, those held out apart.

    A file's size alone does not distinguish two episodes whose numbers and images are stored uncompressed. Folders do
    not count, so episodes may be moved, or reached through a link.
    """
    return _digest(train, held_out, lambda path: (path.name, hdf5_bytes(path)))


def same_episodes(digest: str, train: EpisodeDataset, held_out: EpisodeDataset | None) -> bool:
    """Whether `digest` is that of these episodes. Digests of earlier versions also have the names of the folders."""
    if digest == episodes_digest(train, held_out):
        return True
    earlier = {
        _digest(train, held_out, lambda path: (path.parent.name, path.name, hdf5_bytes(path))),
        _digest(train, held_out, lambda path: (path.resolve().parent.name, path.name, hdf5_bytes(path))),
    }
    return digest in earlier


def _digest(train: EpisodeDataset, held_out: EpisodeDataset | None, name: Callable[[Path], object]) -> str:
    digest = hashlib.sha256()
    for dataset in (train, held_out):
        for episode in dataset.episodes if dataset else []:
            digest.update(repr(name(episode.path)).encode())
            digest.update(np.ascontiguousarray(episode.qpos).data)
            digest.update(np.ascontiguousarray(episode.action).data)
        digest.update(b"|")
    return digest.hexdigest()[:16]
