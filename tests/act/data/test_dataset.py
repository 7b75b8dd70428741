"""Samples, padding, histories, batches and splits."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from act.data.augment import augment, shift
from act.data.batch import Batch
from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import write_episode
from act.data.loading import find, load_episodes, split
from act.data.normalize import Normalizer

LENGTHS = (7, 4, 9)
SIZE = (16, 32)


def write(
    directory: Path, lengths=LENGTHS, cameras=("cam0", "cam1"), compress: bool = True, bad: int = -1
) -> list[Path]:
    """Writes tiny episodes in which qpos[t, 0] is t and action[t, 0] is 100 * episode + t."""
    rng = np.random.default_rng(0)
    for e, length in enumerate(lengths):
        qpos = np.tile(np.arange(length, dtype=np.float32)[:, None], (1, 14))
        if e == bad:
            qpos[1, 3] = np.nan
        images = {c: rng.integers(0, 256, (length, *SIZE, 3), dtype=np.uint8) for c in cameras}
        env_state = np.full((length, 7), e, np.float32)
        path = directory / f"episode_{e}.hdf5"
        action = qpos + 100 * e
        write_episode(path, qpos=qpos, qvel=qpos, action=action, images=images, env_state=env_state, compress=compress)
    return find(directory)


def make(directory: Path, cache: str = "", **sampling) -> EpisodeDataset:
    sampling = {"chunk_size": 5, "cameras": ("cam1",), "image_size": SIZE, "use_env_state": True} | sampling
    dataset = EpisodeDataset(load_episodes(write(directory)), Sampling(**sampling))
    if cache:
        dataset.frames.keep(cache, torch.device("cpu"))  # type: ignore[arg-type]
    return dataset


def test_a_chunk_past_the_end_is_padded_with_the_last_action(tmp_path):
    sample = make(tmp_path, "ram").sample(1, 2)
    assert sample.action is not None and sample.is_pad is not None and sample.env_state is not None
    assert sample.action[0, :, 0].tolist() == [102, 103, 103, 103, 103]
    assert sample.is_pad[0].tolist() == [False, False, True, True, True]
    assert sample.qpos[0, 0, 0] == 2 and sample.env_state[0, 0, 0] == 1


def test_a_chunk_may_be_longer_than_an_episode(tmp_path):
    sample = make(tmp_path, chunk_size=30).sample(1, 0)
    assert sample.is_pad is not None and int((~sample.is_pad).sum()) == 4


def test_history_repeats_the_first_observation(tmp_path):
    dataset = make(tmp_path, "ram", n_obs_steps=3)
    assert dataset.sample(2, 1).qpos[0, :, 0].tolist() == [0, 0, 1]
    assert dataset.sample(2, 5).qpos[0, :, 0].tolist() == [3, 4, 5]
    images = dataset.sample(2, 1).images
    assert images is not None and images.shape == (1, 3, 1, *SIZE, 3) and torch.equal(images[0, 0], images[0, 1])


@pytest.mark.parametrize("n_obs_steps", [1, 3, 12])
def test_a_history_and_its_labels_equal_the_brute_force_window(tmp_path, n_obs_steps):
    dataset = make(tmp_path, cameras=(), n_obs_steps=n_obs_steps)
    for e, length in enumerate(LENGTHS):
        for t in range(length):
            sample = dataset.sample(e, t)
            action, is_pad = sample.chunks()
            assert action.shape == (1, n_obs_steps, 5, 14)
            for i, when in enumerate(range(t - n_obs_steps + 1, t + 1)):
                assert sample.qpos[0, i, 0] == max(when, 0)
                assert is_pad[0, i].tolist() == [when < 0 or when + k >= length for k in range(5)]
                real = [100 * e + when + k for k in range(5) if when >= 0 and when + k < length]
                assert action[0, i, ~is_pad[0, i], 0].tolist() == real


def test_frames_that_are_never_drawn_are_no_labels_in_a_history(tmp_path):
    dataset = make(tmp_path, cameras=(), n_obs_steps=3)
    dataset.weights = np.ones(len(dataset))
    dataset.weights[1] = 0.0
    assert dataset.sample(0, 3).chunks()[1][0, :, 0].tolist() == [True, False, False]


def test_a_step_outside_the_episode_is_refused(tmp_path):
    with pytest.raises(IndexError, match="4 control steps, not step 4"):
        make(tmp_path).sample(1, 4)


def test_batches_depend_only_on_seed_and_step(tmp_path):
    dataset = make(tmp_path)
    whole = [batch.qpos for batch in dataset.batches(5, 0, 6, 4)]
    resumed = [batch.qpos for batch in dataset.batches(5, 3, 6, 4)]
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], resumed, strict=True))
    assert not torch.equal(whole[0], whole[1]) and not torch.equal(dataset.draw(6, 0, 4).qpos, whole[0])


def test_sampling_is_uniform_over_frames_and_follows_weights(tmp_path):
    dataset = make(tmp_path, cameras=())
    counts = torch.bincount(dataset.draw(0, 0, 20000).action[:, 0, 0].long() // 100)  # type: ignore[index]
    assert torch.allclose(counts / 20000, torch.tensor(LENGTHS) / sum(LENGTHS), atol=0.02)
    dataset.weights = np.zeros(len(dataset))
    dataset.weights[8] = 1.0
    assert set(dataset.draw(0, 0, 50).qpos[:, 0, 0].tolist()) == {1.0}


def test_episodes_are_held_out_whole_and_repeatably():
    paths = [Path(f"episode_{i}.hdf5") for i in range(10)]
    train, held_out = split(paths, 0.2, 0)
    assert len(held_out) == 2 and sorted(train + held_out) == sorted(paths)
    assert split(paths, 0.2, 0) == (train, held_out) and split(paths, 0.0, 0) == (paths, [])
    with pytest.raises(ValueError, match="1 episodes cannot be split"):
        split(paths[:1], 0.2, 0)


def test_bad_episodes_are_refused_and_named(tmp_path):
    with pytest.raises(ValueError, match=r"episode_1.*not finite"):
        load_episodes(write(tmp_path, bad=1))
    with pytest.raises(ValueError, match=r"unknown camera 'top'; available: cam0, cam1.*--cameras"):
        load_episodes(write(tmp_path), ("top",))
    with pytest.raises(ValueError, match=r"record some"):
        (tmp_path / "empty").mkdir()
        find(tmp_path / "empty")


def test_augmentation_changes_only_images_and_shift_moves_them():
    images = torch.randint(0, 256, (3, 1, 2, *SIZE, 3), dtype=torch.uint8)
    batch = Batch(torch.zeros(3, 1, 14), images=images)
    assert augment(batch, "none") is batch
    changed = augment(batch, "photometric")
    assert (
        changed.images is not None and changed.images.dtype == torch.uint8 and not torch.equal(changed.images, images)
    )
    torch.manual_seed(0)
    moved = shift(images, 2)
    torch.manual_seed(0)
    dy, dx = (torch.randint(-2, 3, (2, 3, 1))[:, 0, 0]).tolist()
    assert torch.equal(moved[0, 0, 0, 5, 7], images[0, 0, 0, 5 + dy, 7 + dx])


def test_relative_actions_are_offsets_from_qpos_at_the_observation(tmp_path):
    dataset = make(tmp_path, "ram", relative_actions=True)
    absolute = EpisodeDataset(dataset.episodes, dataclasses.replace(dataset.sampling, relative_actions=False))
    sample, plain = dataset.sample(1, 2), absolute.labels(dataset.starts[1:2] + 2)[0]
    assert sample.action is not None and sample.action[0, :, 0].tolist() == [100, 101, 101, 101, 101]
    assert torch.equal(sample.action + sample.qpos[:, -1:], plain)
    normalizer = Normalizer({"qpos": 14, "action": 14, "env_state": 7})
    dataset.fit(normalizer)
    chunks, is_pad = dataset.labels(dataset.observed)
    assert float(normalizer.get_buffer("action_shift")[0]) == pytest.approx(float(chunks[~is_pad][:, 0].mean()))
