"""The real LeRobot client reads what is exported. It has an environment of its own: LEROBOT_PYTHON names its Python.

python3.12 -m venv .venv-lerobot && .venv-lerobot/bin/pip install "lerobot[dataset,training]==0.6.1"
LEROBOT_PYTHON=.venv-lerobot/bin/python python -m pytest tests/act/interop/test_real_client.py
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from act.data.episodes import episode_path, read_episode
from act.interop.checkpoints.reading import read_lerobot
from act.interop.checkpoints.writing import write_lerobot
from act.interop.convert import main
from tests.act.interop.test_checkpoints import answers, made
from tests.act.interop.test_convert import record
from tests.fakes.lerobot_folders import decibels

PYTHON = os.environ.get("LEROBOT_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="set LEROBOT_PYTHON to a Python that has lerobot"),
]
OFFLINE = {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, "HF_HUB_OFFLINE": "1"}
READ = """
import sys, numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
data = LeRobotDataset("local/toy", root=sys.argv[1], video_backend="pyav")
rows = [data[k] for k in range(len(data))]
names = ["observation.state", "action", "timestamp", "episode_index", "observation.images.cam_low"]
np.savez(sys.argv[2], fps=data.fps, **{name: np.stack([row[name].numpy() for row in rows]) for name in names})
"""


ANSWER = """
import sys, numpy as np, torch
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
policy = ACTPolicy.from_pretrained(sys.argv[1], strict=True).eval()
before, after = make_pre_post_processors(policy.config, pretrained_path=sys.argv[1])
rng, row = np.random.default_rng(0), {}
for camera in ("wrist", "top"):  # as tests.act.interop.test_checkpoints.answers
    image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    row[f"observation.images.{camera}"] = torch.from_numpy(image).permute(2, 0, 1).float() / 255
row["observation.state"] = torch.from_numpy(rng.normal(size=14).astype(np.float32))
np.save(sys.argv[2], after(policy.predict_action_chunk(before(row))).numpy())
policy.save_pretrained(sys.argv[3]); before.save_pretrained(sys.argv[3]); after.save_pretrained(sys.argv[3])
"""


def run(*words: str) -> None:
    done = subprocess.run(words, env=OFFLINE, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]


def rows_of(root: Path, tmp_path: Path) -> dict[str, np.ndarray]:
    """What LeRobot's own reader gives, row by row."""
    out = tmp_path / f"{root.name}.npz"
    run(PYTHON, "-c", READ, str(root), str(out))
    return dict(np.load(out))


def check(found: dict[str, np.ndarray], source: Path, indices: tuple[int, ...], least: float) -> None:
    episodes = [read_episode(episode_path(source, index)) for index in indices]
    np.testing.assert_array_equal(found["observation.state"], np.concatenate([e.qpos for e in episodes]))
    np.testing.assert_array_equal(found["action"], np.concatenate([e.action for e in episodes]))
    times = np.concatenate([np.arange(len(e)) / 50 for e in episodes])
    np.testing.assert_allclose(found["timestamp"].ravel(), times, atol=1e-4)
    images = np.concatenate([e.read_images("cam_low") for e in episodes])
    seen = 255 * found["observation.images.cam_low"].transpose(0, 2, 3, 1)
    assert min(decibels(a, b) for a, b in zip(images, seen, strict=True)) > least


@pytest.mark.parametrize("video", ["h264", "av1", "none"])
def test_lerobot_reads_the_same_numbers_and_images(tmp_path: Path, video: str) -> None:
    source = record(tmp_path / "episodes", (12, 9))
    assert main([str(source), str(tmp_path / "lerobot"), "--video", video]) == 0
    check(rows_of(tmp_path / "lerobot", tmp_path), source, (0, 1), 35)


def test_lerobot_deletes_and_merges_episodes_and_the_images_stay_good(tmp_path: Path) -> None:
    source, there, left = record(tmp_path / "episodes", (12, 9)), tmp_path / "lerobot", tmp_path / "left"
    assert main([str(source), str(there)]) == 0
    edit, merged = str(Path(PYTHON).with_name("lerobot-edit-dataset")), tmp_path / "merged"
    delete = ["--operation.type", "delete_episodes", "--operation.episode_indices", "[0]"]
    run(edit, "--repo_id", "a/x", "--root", str(there), "--new_repo_id", "a/y", "--new_root", str(left), *delete)
    check(rows_of(left, tmp_path), source, (1,), 34)
    roots = json.dumps([str(there), str(left)]).replace('"', "'")
    merge = ["--operation.type", "merge", "--operation.repo_ids", "['a/x', 'a/y']", "--operation.roots", roots]
    run(edit, "--new_repo_id", "a/z", "--new_root", str(merged), *merge)
    check(rows_of(merged, tmp_path), source, (0, 1, 1), 34)
    assert main([str(merged), str(tmp_path / "back")]) == 0
    np.testing.assert_array_equal(
        read_episode(tmp_path / "back/episode_2.hdf5").qpos, read_episode(episode_path(source, 1)).qpos
    )


def test_lerobots_act_answers_as_ours_through_its_own_processors_and_comes_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("act.nn.device.bf16_is_fast", lambda *_: False)
    monkeypatch.setattr("act.nn.resnet.bf16_is_fast", lambda *_: False)
    policy, there, saved = made(), tmp_path / "there", tmp_path / "saved_by_lerobot"
    write_lerobot(policy, there)
    run(PYTHON, "-c", ANSWER, str(there), str(tmp_path / "chunk.npy"), str(saved))
    np.testing.assert_allclose(np.load(tmp_path / "chunk.npy"), answers(policy), atol=1e-5)
    np.testing.assert_allclose(answers(read_lerobot(saved)), answers(policy), atol=1e-5)
