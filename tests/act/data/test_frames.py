"""Images in memory and from the disk, and features that are computed once."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from act.data import frames
from act.data.dataset import EpisodeDataset
from act.data.loading import find, load_episodes
from tests.act.data.test_dataset import LENGTHS, SIZE, make


def test_streamed_images_are_the_cached_ones(tmp_path):
    streamed, cached = make(tmp_path), make(tmp_path, "ram")
    decoded, kept = streamed.draw(0, 3, 8).images, cached.draw(0, 3, 8).images
    assert decoded is not None and kept is not None and torch.equal(decoded, kept)
    expected = load_episodes(find(tmp_path))[2].read_images("cam1", 4, 5)
    sample = streamed.sample(2, 4).images
    assert sample is not None and np.array_equal(sample[0, 0, 0].numpy(), expected[0])


def test_images_are_kept_in_memory_if_half_of_the_available_memory_holds_them(tmp_path, monkeypatch):
    need = sum(LENGTHS) * SIZE[0] * SIZE[1] * 3
    for available, chosen in ((2 * need + 2, "ram"), (2 * need, "stream")):
        monkeypatch.setattr(frames.psutil, "virtual_memory", lambda: SimpleNamespace(available=available))  # noqa: B023
        dataset = make(tmp_path)
        assert dataset.frames.keep("auto", torch.device("cpu")) == chosen
        assert dataset.frames.at_hand == (chosen == "ram")


def test_a_frame_stride_leaves_out_observations_but_no_actions(tmp_path):
    whole = make(tmp_path)
    strided = EpisodeDataset(whole.episodes, dataclasses.replace(whole.sampling, frame_stride=3))
    calls: list[int] = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return images.float().mean((-3, -2))

    strided.frames.precompute_features(encode, torch.device("cpu"))
    assert sum(calls) == sum(-(-length // 3) for length in LENGTHS)
    batch = strided.draw(0, 0, 200)
    assert batch.features is not None and bool(torch.isfinite(batch.features).all())
    row = int(strided.starts[1]) + 3
    features = strided.take(torch.tensor([row])).features
    expected = whole.episodes[1].read_images("cam1", 3, 4).mean((1, 2))
    assert features is not None and np.allclose(features[0, 0].numpy(), expected, atol=1e-3)
    assert torch.equal(strided.take(torch.tensor([row])).action, whole.take(torch.tensor([row])).action)  # type: ignore


def test_features_are_computed_once_and_kept(tmp_path):
    calls = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return images.float().mean((-3, -2))

    dataset = make(tmp_path)
    directory = tmp_path / dataset.frames.features_key({"w": torch.ones(2)})
    dataset.frames.precompute_features(encode, torch.device("cpu"), directory)
    batch = dataset.sample(2, 3)
    assert sum(calls) == len(dataset) and batch.images is None and batch.features is not None
    expected = load_episodes(find(tmp_path))[2].read_images("cam1", 3, 4).mean((1, 2))
    assert np.allclose(batch.features[0, 0].numpy(), expected, atol=1e-3)
    again = EpisodeDataset(dataset.episodes[1:], dataset.sampling)
    again.frames.precompute_features(encode, torch.device("cpu"), directory)
    assert sum(calls) == len(dataset)
    assert torch.equal(again.features(again.observed), dataset.features(dataset.observed[LENGTHS[0] :]))
    assert dataset.frames.features_key({"w": torch.zeros(2)}) != directory.name


def test_features_are_those_of_the_colours_in_which_the_images_are_read(tmp_path):
    directory, seen = tmp_path / "kept", []
    dataset = make(tmp_path)
    for colors in ("rgb", "bgr", "rgb"):
        chosen = [dataclasses.replace(episode, jpeg_colors=colors) for episode in dataset.episodes]
        again = EpisodeDataset(chosen, dataset.sampling)
        encode = lambda images: images.float().mean((-3, -2))  # noqa: E731
        again.frames.precompute_features(encode, torch.device("cpu"), directory)
        seen.append(again.features(again.observed))
    assert torch.equal(seen[0], seen[2]) and torch.allclose(seen[0], seen[1].flip(-1), atol=1)
    assert not torch.equal(seen[0], seen[1])


def test_features_belong_to_one_recording(tmp_path):
    """Datasets of one training share a folder of features, and their episodes have the same names."""
    directory, means = tmp_path / "kept", []
    for folder, value in (("demonstrations", 1), ("round1", 2)):
        (tmp_path / folder).mkdir()
        dataset = make(tmp_path / folder)
        encode = lambda images, value=value: images.new_full((*images.shape[:3], 2), value).float()  # noqa: E731
        dataset.frames.precompute_features(encode, torch.device("cpu"), directory)
        means.append(float(dataset.features(dataset.observed).mean()))
    assert means == [1, 2]


def test_features_in_incomplete_files_are_computed_again(tmp_path):
    encode = lambda images: images.float().mean((-3, -2))  # noqa: E731
    dataset = make(tmp_path)
    dataset.frames.precompute_features(encode, torch.device("cpu"), tmp_path / "kept")
    again = EpisodeDataset(dataset.episodes, dataset.sampling)
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:40])
    again.frames.precompute_features(encode, torch.device("cpu"), tmp_path / "kept")
    assert torch.equal(again.features(again.observed), dataset.features(dataset.observed))
    assert all(file.stat().st_size > 40 for file in (tmp_path / "kept").iterdir())


def test_features_are_computed_even_if_they_cannot_be_kept(tmp_path, capsys):
    dataset = make(tmp_path)
    (tmp_path / "file").touch()
    encode = lambda images: images.float().mean((-3, -2))  # noqa: E731
    dataset.frames.precompute_features(encode, torch.device("cpu"), tmp_path / "file" / "x")
    assert len(dataset.features(dataset.observed)) == len(dataset)
    assert "file/x cannot be written: the features are not kept" in capsys.readouterr().err


def test_maps_are_kept_per_episode_in_bf16_and_found_by_row(tmp_path):
    """Maps of a ResNet are a thousand times larger than keypoints, so they are read from their files, page by page."""
    dataset = EpisodeDataset(make(tmp_path).episodes, dataclasses.replace(make(tmp_path).sampling, frame_stride=2))

    def encode(images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(-1).unsqueeze(-3)[..., :4, :4]  # (B, T, N, 1, 4, 4)

    dataset.frames.precompute_features(encode, torch.device("cpu"), tmp_path / "kept")
    row = int(dataset.starts[1]) + 2
    maps = dataset.features(torch.tensor([[row]]))
    assert maps.dtype == torch.bfloat16 and maps.shape[:2] == (1, 1) and maps.shape[-3:] == (1, 4, 4)
    expected = dataset.episodes[1].read_images("cam1", 2, 3).mean(-1)[0, :4, :4]
    assert np.allclose(maps[0, 0, 0, 0].float().numpy(), expected, rtol=0.01)
    with pytest.raises(IndexError, match="only every 2th frame has features"):
        dataset.features(torch.tensor([row + 1]))
