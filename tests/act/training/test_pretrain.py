"""Learning to see: the loss means what it says, and a trunk finds a dot it was shown."""

import json

import pytest
import torch

from act.nn.vision import KeypointTrunk, peaks
from act.recording.attempts import Recording
from act.recording.scenes import record_scenes
from act.training.pretrain import heat_map_loss, main, read_scenes
from tests.fakes.toy_scenes import BLOB_SIZE as SIZE
from tests.fakes.toy_scenes import CAMERAS, BlobSampler


@pytest.fixture
def scenes_file(tmp_path):
    path = tmp_path / "scenes.hdf5"
    record_scenes(Recording("sim_blob_scripted", cameras=CAMERAS, image_size=SIZE), BlobSampler, path, 200, workers=1)
    return path


def test_the_loss_is_least_where_the_peak_is_the_point():
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


def test_where_a_hidden_keypoint_is_does_not_change_the_loss():
    logits, nowhere, points = torch.randn(2, 3, 8, 12), torch.randn(2, 3), torch.rand(2, 3, 2) * 20
    visible = torch.tensor([[True, False, True], [False, True, False]])
    moved = torch.where(visible[..., None], points, points + 7)
    assert heat_map_loss(logits, nowhere, points, visible, 4) == heat_map_loss(logits, nowhere, moved, visible, 4)


def test_a_trunk_learns_to_find_a_blob_within_a_pixel(scenes_file, tmp_path):
    out = tmp_path / "eyes"
    flags = ["--steps", "120", "--channels", "8", "8", "16", "16", "--lr", "1e-2", "--device", "cpu"]
    assert main([str(scenes_file), "--out", str(out), *flags]) == 0
    errors = json.loads((out / "pretrain.json").read_text())["median_pixel_error"]
    assert max(errors[camera]["blob"] for camera in CAMERAS) < 1.0
    trunk = KeypointTrunk.load(out).eval()
    scenes = read_scenes(scenes_file)
    assert trunk.keypoints(scenes.images[:2]).shape == (2, 2, 1, 3)


def test_a_foreign_file_is_refused_with_one_sentence(tmp_path, capsys):
    path = tmp_path / "not.hdf5"
    path.write_text("hello")
    assert main([str(path)]) == 2
    assert "holds no scenes" in capsys.readouterr().err
