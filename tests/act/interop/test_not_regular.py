"""Files of other projects that are no files, or hold no finite weights, are refused at once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from act.interop.checkpoints.reading import read_original, read_weights
from act.interop.lerobot.layout import read_json, read_json_lines


def original(path: Path) -> object:
    return read_original(path, ("top",), (64, 96))


@pytest.mark.parametrize("read", [read_weights, original, read_json, read_json_lines])
def test_a_fifo_and_a_folder_are_refused_at_once(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ""):
        with pytest.raises(ValueError, match="it is no regular file") as caught:
            read(tmp_path / name)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = {"model.head": torch.tensor([1.0, torch.nan]), "normalize_inputs.buffer": torch.tensor([torch.inf])}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors: tensor model.head has values that are not finite"):
        read_weights(tmp_path / "model.safetensors")
    torch.save({"head": weights["model.head"]}, tmp_path / "policy_best.ckpt")
    with pytest.raises(ValueError, match=r"policy_best.ckpt: tensor head has values that are not finite"):
        original(tmp_path / "policy_best.ckpt")


def test_an_unset_normalizer_of_lerobot_is_no_weight(tmp_path: Path) -> None:
    save_file({"model.a": torch.ones(1), "normalize.b": torch.full((1,), torch.inf)}, tmp_path / "model.safetensors")
    assert read_weights(tmp_path / "model.safetensors").keys() == {"model.a", "normalize.b"}
