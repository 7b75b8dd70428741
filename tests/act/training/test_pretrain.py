"""Pretraining a visual backbone: the losses are right, a blob is found, an interrupted run resumes exactly."""

import json
import shutil
from itertools import islice
from typing import NoReturn

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from act.nn.resnet import ResNet18Trunk
from act.nn.vision import KeypointTrunk, peaks
from act.recording.attempts import Recording
from act.recording.scenes import record_scenes
from act.training import pretrain
from act.training.keypoint_networks import CellNetwork, heat_map_loss
from act.training.pretrain import main
from act.training.pretraining import Pretraining, Recipe
from act.training.scenes import Scenes, read_scenes
from tests.fakes.toy_scenes import BLOB_SIZE as SIZE
from tests.fakes.toy_scenes import CAMERAS, BlobSampler


@pytest.fixture
def scenes_file(tmp_path):
    path = tmp_path / "scenes.hdf5"
    record_scenes(Recording("sim_blob_scripted", cameras=CAMERAS, image_size=SIZE), BlobSampler, path, 200, workers=1)
    return path


def test_the_loss_is_smallest_where_the_peak_is_the_point():
    stride, point = 4, torch.tensor([[[21.3, 13.8]]])
    cells = torch.zeros(1, 1, 8, 12)
    x, y = (point[0, 0] + 0.5) / stride - 0.5
    for dx in (0, 1):
        for dy in (0, 1):
            share = (x % 1 if dx else 1 - x % 1) * (y % 1 if dy else 1 - y % 1)
            cells[0, 0, int(y) + dy, int(x) + dx] = share
    logits = (cells + 1e-9).log()
    found = (peaks(logits) + 1) * torch.tensor([48.0, 32.0]) / 2 - 0.5
    torch.testing.assert_close(found, point, atol=1e-3, rtol=0)
    nowhere, seen = torch.tensor([[-9.0]]), torch.tensor([[True]])
    best = heat_map_loss(logits, nowhere, point, seen, stride)
    assert all(heat_map_loss(logits, nowhere, point + shift, seen, stride) > best for shift in (-3.0, -1.0, 1.0, 3.0))
    assert heat_map_loss(logits, nowhere, point, ~seen, stride) > best


def test_the_place_of_a_hidden_keypoint_does_not_change_the_loss():
    logits, nowhere, points = torch.randn(2, 3, 8, 12), torch.randn(2, 3), torch.rand(2, 3, 2) * 20
    visible = torch.tensor([[True, False, True], [False, True, False]])
    moved = torch.where(visible[..., None], points, points + 7)
    assert heat_map_loss(logits, nowhere, points, visible, 4) == heat_map_loss(logits, nowhere, moved, visible, 4)


def cell_network(n_points: int = 1) -> CellNetwork:
    names = tuple(f"point{p}" for p in range(n_points))
    return CellNetwork(Scenes(torch.zeros(1, 2, 64, 96, 3), torch.zeros(0), torch.zeros(0), ("a", "b"), names, "toy"))


def test_perfect_cells_and_offsets_have_no_loss():
    network, point = cell_network(), torch.tensor([[[50.0, 20.0]]])  # in cell (1, 0) of stride 32
    logits = torch.full((1, 1, 2, 3), -50.0)
    logits[0, 0, 0, 1] = 50.0
    place = (point[0, 0] + 0.5) / 32 - 0.5
    columns, rows = torch.meshgrid(torch.arange(3.0), torch.arange(2.0), indexing="xy")
    offsets = torch.stack([place[0] - columns, place[1].clamp(min=0) - rows])[None, :, None]
    nowhere, seen = torch.tensor([[-50.0]]), torch.tensor([[True]])
    assert float(network.loss((logits, offsets, nowhere), point, seen)) < 1e-6
    assert float(network.loss((logits, offsets + 0.5, nowhere), point, seen)) == pytest.approx(1.0, abs=1e-5)
    assert float(network.loss((logits, offsets, nowhere), point, ~seen)) > 50


def test_a_hidden_point_trains_no_offset():
    network = cell_network(2)
    logits, offsets, nowhere = torch.randn(3, 2, 2, 3), torch.randn(3, 2, 2, 2, 3), torch.randn(3, 2)
    points, hidden = torch.rand(3, 2, 2) * 60, torch.zeros(3, 2, dtype=torch.bool)
    assert network.loss((logits, offsets, nowhere), points, hidden) == network.loss(
        (logits, offsets + 1, nowhere), points + 9, hidden
    )


def test_a_keypoint_detector_finds_a_blob_within_a_pixel(scenes_file, tmp_path):
    out = tmp_path / "trunk"
    flags = ["--steps", "120", "--channels", "8", "8", "16", "16", "--lr", "1e-2", "--device", "cpu"]
    assert main([str(scenes_file), "--out", str(out), *flags]) == 0
    record = json.loads((out / "pretrain.json").read_text())
    assert max(record["median_pixel_error"][camera]["blob"] for camera in CAMERAS) < 1.0
    assert record["recipe"]["steps"] == 120 and record["recipe"]["backbone"] == "keypoints"
    assert (out / "pretrain.png").read_bytes().startswith(b"\x89PNG")
    trunk = KeypointTrunk.load(out).eval()
    assert trunk.keypoints(read_scenes(scenes_file).images[:2]).shape == (2, 2, 1, 3)


@pytest.mark.slow
def test_a_resnet_learns_which_cell_a_blob_is_in(scenes_file, tmp_path):
    out = tmp_path / "resnet18"
    flags = ["--backbone", "resnet18", "--steps", "40", "--batch_size", "16", "--device", "cpu"]
    assert main([str(scenes_file), "--out", str(out), *flags]) == 0
    errors = json.loads((out / "pretrain.json").read_text())["median_pixel_error"]
    assert max(errors[camera]["blob"] for camera in CAMERAS) < 16, "half a cell"
    trunk = ResNet18Trunk.load(out)
    maps = trunk.features(read_scenes(scenes_file).images[:2])
    assert maps.shape[:3] == (2, 2, 512) and bool(torch.isfinite(maps).all())
    with pytest.raises(ValueError, match="holds a backbone resnet18, not keypoints"):
        KeypointTrunk.load(out)


@pytest.mark.parametrize("backbone", ["keypoints", "resnet18"])
def test_an_interrupted_pretraining_resumes_exactly(scenes_file, tmp_path, monkeypatch, backbone):
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 4)
    scenes, recipe = read_scenes(scenes_file), Recipe(backbone, 10, 4, 1e-3, (4, 4, 8, 8))
    pretrain.pretrain(scenes, recipe, tmp_path / "whole", "cpu")
    done = Pretraining.train

    def interrupted(self):
        for step, loss in enumerate(done(self)):
            if step == 6:
                raise KeyboardInterrupt
            yield loss

    monkeypatch.setattr(Pretraining, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(scenes, recipe, tmp_path / "parts", "cpu")
    monkeypatch.setattr(Pretraining, "train", done)
    assert not (tmp_path / "parts" / "trunk.json").exists()
    with pytest.raises(ValueError, match="belongs to another recipe or other scenes"):
        pretrain.pretrain(scenes, Recipe(backbone, 11, 4, 1e-3, (4, 4, 8, 8)), tmp_path / "parts", "cpu")
    pretrain.pretrain(scenes, recipe, tmp_path / "parts", "cpu")
    whole, parts = (load_file(tmp_path / name / "trunk.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[key], parts[key]) for key in whole)
    assert not (tmp_path / "parts" / "last" / "state.safetensors").exists()


def test_a_finished_backbone_is_kept(scenes_file, tmp_path, monkeypatch, capsys):
    command = [str(scenes_file), "--out", str(tmp_path / "trunk"), "--channels", "4", "4", "8", "8", "--device", "cpu"]
    assert main([*command, "--steps", "10"]) == 0
    first, weights = capsys.readouterr().out, (tmp_path / "trunk" / "trunk.safetensors").read_bytes()
    monkeypatch.setattr(Pretraining, "train", lambda self: pytest.fail("it was trained again"))
    assert main([*command, "--steps", "10"]) == 0 and capsys.readouterr().out == first
    assert main([*command, "--steps", "11"]) == 2
    assert "belongs to another recipe or other scenes; choose another --out" in capsys.readouterr().err
    assert (tmp_path / "trunk" / "trunk.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "3"], "give at least 10 steps"),
        (["--backbone", "resnet18", "--channels", "8", "8", "8", "8"], "has an effect only with --backbone keypoints"),
    ],
)
def test_flags_that_cannot_work_are_refused(scenes_file, capsys, flags, message):
    assert main([str(scenes_file), *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_holds_no_scenes_is_refused_with_one_sentence(tmp_path, capsys):
    path = tmp_path / "not.hdf5"
    path.write_text("hello")
    assert main([str(path)]) == 2
    assert "holds no scenes" in capsys.readouterr().err
    assert main([str(tmp_path / "missing.hdf5")]) == 2
    assert "missing.hdf5 not found; create it with record_sim_episodes.py" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- states that were damaged
SMALL = Recipe("keypoints", 10, 4, 1e-3, (4, 4, 8, 8))


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """A folder with scenes, a whole pretraining of 10 steps, and one that ended after step 5."""
    folder = tmp_path_factory.mktemp("half_done")
    recording = Recording("sim_blob_scripted", cameras=CAMERAS, image_size=SIZE)
    record_scenes(recording, BlobSampler, folder / "scenes.hdf5", 12, workers=1)
    scenes, train = read_scenes(folder / "scenes.hdf5"), Pretraining.train
    pretrain.pretrain(scenes, SMALL, folder / "whole", "cpu")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain, "SAVE_EVERY", 5)
        patch.setattr(Pretraining, "train", lambda self: islice(train(self), 5))
        patch.setattr(pretrain, "_mean_error", lambda _: stop())
        pretrain.pretrain(scenes, SMALL, folder / "parts", "cpu")
    return folder


@pytest.fixture
def stopped(half_done, tmp_path):
    """The interrupted pretraining in a folder of its own, and the scenes."""
    shutil.copytree(half_done / "parts", tmp_path / "parts")
    return tmp_path / "parts", read_scenes(half_done / "scenes.hdf5"), SMALL


def stop() -> NoReturn:
    raise KeyboardInterrupt


def read_state(folder):
    with safe_open(folder / "last" / "state.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize("place", [0.001, 0.4, 0.9])
def test_one_flipped_bit_of_a_state_is_refused(stopped, place):
    folder, scenes, recipe = stopped
    path = folder / "last" / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"state.safetensors cannot be read .*; delete .* to start again"):
        pretrain.pretrain(scenes, recipe, folder, "cpu")


def test_a_state_of_an_earlier_version_is_continued_exactly(stopped, half_done):
    folder, scenes, recipe = stopped
    tensors, texts = read_state(folder)
    header = json.loads(texts["state"])
    del header["labels"]
    save_file(tensors, folder / "last" / "state.safetensors", {"state": json.dumps(header)})
    pretrain.pretrain(scenes, recipe, folder, "cpu")
    whole, parts = (load_file(path / "trunk.safetensors") for path in (half_done / "whole", folder))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, header: tensors.pop("network0.trunk.head"), "it lacks the tensor network0.trunk.head"),
        (lambda tensors, header: tensors.pop("optimizer.0.exp_avg"), "the state of the optimizer is not complete"),
        (lambda tensors, header: tensors["network0.trunk.head"].fill_(torch.nan), "values that are not finite"),
        (lambda tensors, header: header.update(step=11), "its step is 11, expected 0 to 10"),
        (lambda tensors, header: header.update(step="5"), "its step is '5'"),
        (lambda tensors, header: header.pop("step"), "'step'"),
        (lambda tensors, header: header.pop("recipe"), "belongs to another recipe or other scenes"),
        (lambda tensors, header: header.update(labels="0" * 16), "belongs to another recipe or other scenes"),
    ],
)
def test_a_state_that_is_not_whole_is_refused_without_a_digest(stopped, change, message):
    folder, scenes, recipe = stopped
    tensors, texts = read_state(folder)
    header = json.loads(texts["state"])
    change(tensors, header)
    save_file(tensors, folder / "last" / "state.safetensors", {"state": json.dumps(header)})
    with pytest.raises(ValueError, match=message):
        pretrain.pretrain(scenes, recipe, folder, "cpu")
