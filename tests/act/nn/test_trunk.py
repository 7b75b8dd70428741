"""A backbone is loaded only when its weights are those that were saved, or are whole where nobody can know."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from act.nn.vision import KeypointConfig, KeypointTrunk

CONFIG = KeypointConfig(("cube",), ("top", "angle"), (32, 48), (4, 4, 8, 8))
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    KeypointTrunk(CONFIG).save(tmp_path / "trunk")
    return tmp_path / "trunk"


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        KeypointTrunk.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("place", [0.0, 0.02, 0.5, 0.999])
def test_one_flipped_bit_of_a_backbone_is_refused(folder: Path, place: float) -> None:
    path = folder / "trunk.safetensors"
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 4
    path.write_bytes(bytes(data))
    assert "trunk.safetensors" in refusal(folder)


def rewrite(folder: Path, change: Callable[[Tensors], Tensors] = lambda weights: weights) -> None:
    """Writes the weights as earlier versions did, without a digest."""
    path = folder / "trunk.safetensors"
    save_file(change({name: value.clone() for name, value in load_file(path).items()}), path)


def test_a_backbone_of_an_earlier_version_has_no_digest_and_loads(folder: Path) -> None:
    before = KeypointTrunk.load(folder).state_dict()
    rewrite(folder)
    after = KeypointTrunk.load(folder).state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights | {"head": weights["head"] * torch.nan}, "head has values that are not finite"),
        (lambda weights: weights | {"head": weights["head"][:1].clone()}, r"head has shape (1, 1, 4)"),
        (lambda weights: weights | {"head": weights["head"].half()}, "head has type float16, expected float32"),
        (lambda weights: {name: value for name, value in weights.items() if name != "head"}, "lacks the tensor head"),
    ],
)
def test_weights_that_are_not_whole_and_finite_are_refused_without_a_digest(
    folder: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    rewrite(folder, change)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cameras": ["top", "other"]}, "describes other weights"),
        ({"image_size": [64, 96]}, "describes other weights"),
        ({"backbone": "resnet18"}, "describes other weights"),
    ],
)
def test_a_description_of_other_weights_is_refused(folder: Path, change: dict, message: str) -> None:
    path = folder / "trunk.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert message in refusal(folder)


@pytest.mark.parametrize(
    "change", [{"channels": [10**6] * 4}, {"channels": "many"}, {"colour": 1}, {"image_size": [33, 48]}]
)
def test_sizes_that_do_not_fit_the_weights_are_refused_before_memory_is_taken(folder: Path, change: dict) -> None:
    rewrite(folder)
    path = folder / "trunk.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert "fits its trunk.json" in refusal(folder)


@pytest.mark.parametrize("name", ["trunk.json", "trunk.safetensors"])
def test_bytes_that_are_none_and_a_missing_file_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff\x00 no such thing")
    assert "cannot be read" in refusal(folder)
    (folder / name).unlink()
    assert "holds no backbone (trunk.json, trunk.safetensors)" in refusal(folder)
