"""Kept features are used only when they are those that were computed; otherwise they count as missing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from act.data.kept_features import keep_features, kept_features

SHAPE = (5, 2)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(*SHAPE, 3, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()


def test_features_are_found_again_bit_for_bit(tmp_path: Path, features: torch.Tensor) -> None:
    kept = keep_features(tmp_path / "a.safetensors", features)
    again = kept_features(tmp_path / "a.safetensors", SHAPE)
    assert again is not None and torch.equal(kept, features) and torch.equal(again, features)
    assert again.dtype == torch.bfloat16


@pytest.mark.parametrize("place", [0.0, 0.05, 0.5, 0.999])
def test_one_flipped_bit_makes_a_file_count_as_missing(tmp_path: Path, features: torch.Tensor, place: float) -> None:
    file = tmp_path / "a.safetensors"
    keep_features(file, features)
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 2
    file.write_bytes(bytes(data))
    assert kept_features(file, SHAPE) is None


def test_a_file_of_an_earlier_version_is_used_when_it_is_finite(tmp_path: Path, features: torch.Tensor) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"features": features}, file)
    kept = kept_features(file, SHAPE)
    assert kept is not None and torch.equal(kept, features)
    save_file({"features": features.index_fill(0, torch.tensor([4]), torch.inf)}, file)
    assert kept_features(file, SHAPE) is None


@pytest.mark.parametrize("shape", [(4, 2), (6, 2), (5, 1)])
def test_features_of_other_frames_or_cameras_count_as_missing(
    tmp_path: Path, features: torch.Tensor, shape: tuple[int, int]
) -> None:
    keep_features(tmp_path / "a.safetensors", features)
    assert kept_features(tmp_path / "a.safetensors", shape) is None


def test_what_holds_no_features_counts_as_missing(tmp_path: Path, features: torch.Tensor) -> None:
    file = tmp_path / "a.safetensors"
    assert kept_features(file, SHAPE) is None
    for tensors in ({"other": features}, {"features": features.int()}, {"features": features[0, 0, 0]}):
        save_file({name: value.contiguous() for name, value in tensors.items()}, file)
        assert kept_features(file, SHAPE) is None
    file.unlink()
    file.mkdir()
    assert kept_features(file, SHAPE) is None
