"""The real LeRobot client reads what is exported. It has an environment of its own: LEROBOT_PYTHON names its Python.

python3.12 -m venv /tmp/lerobot && /tmp/lerobot/bin/pip install "lerobot[dataset,training]==0.6.1"
LEROBOT_PYTHON=/tmp/lerobot/bin/python python -m pytest tests/act/interop/test_real_client.py
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from act.data.episodes import episode_path, read_episode
from act.interop.convert import main
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
    source = record(tmp_path / "episodes", (60, 40))
    assert main([str(source), str(tmp_path / "lerobot"), "--video", video]) == 0
    check(rows_of(tmp_path / "lerobot", tmp_path), source, (0, 1), 35)


def test_lerobot_deletes_and_merges_episodes_and_the_images_stay_good(tmp_path: Path) -> None:
    source, there, left = record(tmp_path / "episodes", (60, 40)), tmp_path / "lerobot", tmp_path / "left"
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
