"""The page about episodes stands alone and shows images in their colours; it takes episodes, folders and runs."""

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from act.data.episodes import episode_path, read_episode, write_episode
from act.evaluation.dataset_page import filmstrip, shown_episodes
from act.evaluation.dataset_statistics import frame_steps, measure
from act.evaluation.policy_chunks import QUERIES, ask
from act.evaluation.rerun_file import stages, viewable
from act.evaluation.view import main
from act.files import write_json
from act.types import PolicySpec
from tests.act.evaluation.test_dataset_statistics import T, path_of_joints, picture, write
from tests.fakes.constant_policy import CHUNK_SIZE, ConstantPolicy


def images_of(page: str) -> list[tuple[bool, bytes]]:
    """Whether each embedded image is swapped by the style sheet, and its bytes."""
    found = re.findall(r'<img( class="swapped")? loading="lazy" src="data:image/\w+;base64,([^"]+)"', page)
    return [(bool(swapped), base64.b64decode(data)) for swapped, data in found]


def decoded(data: bytes) -> np.ndarray:
    """(H, W, 3) RGB, as a browser decodes an image."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1]


def folder(path: Path, n: int = 6) -> Path:
    for index in range(n):
        write(path, index)
    return path


def test_a_folder_becomes_a_page_that_needs_no_network(tmp_path: Path) -> None:
    directory = folder(tmp_path / "cube")
    assert main([str(directory)]) == 0
    page = (directory / "dataset.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page and "@import" not in page
    for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(chart)
    assert page.count('class="episode"') == 6 and "Is this data any good?" in page


def test_stored_jpegs_are_on_the_page_as_they_are(tmp_path: Path) -> None:
    directory = folder(tmp_path / "cube", 1)
    assert main([str(directory)]) == 0
    episode = read_episode(episode_path(directory, 0))
    shown = images_of((directory / "dataset.html").read_text())
    assert [data for _, data in shown] == [episode.encoded(t)["top"] for t in frame_steps(T)]


@pytest.mark.parametrize("large", [False, True])
def test_images_have_their_colours_in_a_browser(tmp_path: Path, large: bool) -> None:
    """A browser decodes a JPEG as it is; the class `swapped` then exchanges red and blue."""
    rng = np.random.default_rng(0)
    red = np.zeros((320, 480, 3), np.uint8)
    red[..., 0] = 230
    noisy = [np.clip(red + rng.integers(0, 1 + 220 * large, red.shape), 0, 255).astype(np.uint8) for _ in range(3)]
    joints = path_of_joints(3)
    path = write_episode(tmp_path / "a.hdf5", qpos=joints, action=joints, images={"top": noisy})
    for swapped, data in images_of(filmstrip(read_episode(path), "top")):
        seen = decoded(data)[..., ::-1] if swapped else decoded(data)
        assert seen[..., 0].mean() > 200 > 150 > seen[..., 2].mean()
        assert seen.shape == ((160, 240, 3) if large else (320, 480, 3))


def test_names_from_files_are_text_on_the_page(tmp_path: Path) -> None:
    joints = path_of_joints()
    made = {"qpos": joints, "action": joints + 0.1, "images": {"<b>": [picture(99, t) for t in range(T)]}}
    write_episode(episode_path(tmp_path / "<i>x", 0), **made, attrs={"task_name": "<script>alert(1)</script>"})
    assert main([str(tmp_path / "<i>x"), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page and "<b>" not in page and "<i>x" not in page


def test_one_episode_and_the_episodes_of_a_run_are_shown(tmp_path: Path) -> None:
    directory = folder(tmp_path / "cube", 2)
    assert main([str(episode_path(directory, 1))]) == 0
    page = (directory / "episode_1.html").read_text()
    assert "<details open>" in page and "left wrist rotate" in page and "The episode ends in success." in page
    write_json(tmp_path / "run" / "config.json", {"dataset_dir": str(directory)})
    assert main([str(tmp_path / "run")]) == 0 and (tmp_path / "run" / "dataset.html").exists()
    write_json(tmp_path / "run" / "config.json", {"dataset_dir": [str(directory), str(folder(tmp_path / "b", 1))]})
    assert main([str(tmp_path / "run")]) == 0 and (tmp_path / "run" / "dataset_1.html").exists()


class Looking(ConstantPolicy):
    """Answers 0.25, 0.35, ... and remembers what it was shown."""

    n_obs_steps, needs_images = 2, True
    spec = PolicySpec(("top",), (24, 32))

    def __init__(self) -> None:
        super().__init__(0.25)
        self.seen: list[Any] = []

    def predict_chunk(self, histories: Any) -> np.ndarray:
        self.seen += histories
        return super().predict_chunk(histories) + 0.1 * np.arange(CHUNK_SIZE, dtype=np.float32)[:, None]


def test_a_policy_is_asked_as_in_a_rollout_and_sees_what_was_recorded(tmp_path: Path) -> None:
    policy, episode = Looking(), read_episode(write(tmp_path, 0))
    chunks = ask(policy, episode, 5)
    assert len(chunks) == 5 and max(chunks) == T - CHUNK_SIZE and min(chunks) == 0
    assert chunks[0][:, 3] == pytest.approx([0.25, 0.35, 0.45, 0.55])
    for t, (before, now) in zip(chunks, policy.seen, strict=True):
        for obs, step in ((before, max(0, t - 1)), (now, t)):
            assert np.array_equal(obs["qpos"], episode.qpos[step]) and "env_state" not in obs
            assert np.array_equal(obs["images"]["top"], episode.read_images("top", step, step + 1, (24, 32))[0])


def test_chunks_of_the_policy_of_a_run_are_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    directory, run, policy = folder(tmp_path / "cube", 5), tmp_path / "run", Looking()
    write_json(run / "config.json", {"dataset_dir": str(directory)})
    assert main([str(run), "--chunks", "2"]) == 2 and "policy.json" in capsys.readouterr().err
    monkeypatch.setattr("act.evaluation.view.load_run", lambda _: policy)
    assert main([str(run)]) == 0 and policy.asked == 0
    assert "line c2" not in (run / "dataset.html").read_text()
    assert main([str(run), "--chunks", "2"]) == 0 and policy.asked == 2 * QUERIES
    page = (run / "dataset.html").read_text()
    assert page.count("line c2") == 2 * QUERIES * 14 and "what the policy would have done" in page
    write(directory, 0, images={})
    assert main([str(run), "--chunks", "1"]) == 2
    assert "has no camera 'top', which the policy looks at; leave --chunks out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cube", "--chunks", "2"], "--chunks 2 has an effect only with a run"),
        (["cube", "--chunks", "-1"], "--chunks -1: must be 0 or more"),
        (["nowhere"], "nowhere is not a directory"),
        (["empty"], "empty has no episode_<i>.hdf5; give an episode, a folder of episodes, or a run"),
        (["notes.txt"], "notes.txt"),
        (["run"], "names no dataset_dir; give the folder of the episodes itself"),
        (["two", "--out", "page.html"], "two has 2 data sets; name one of their folders"),
        (["cube", "--episodes", "2"], "--episodes 2 has an effect only with --rrd"),
        (["cube", "--episodes", "0", "--rrd", "a.rrd"], "--episodes 0: must be at least 1"),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "cube", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing")
    write_json(tmp_path / "run" / "config.json", {"dataset_dir": None})
    write_json(tmp_path / "two" / "config.json", {"dataset_dir": ["cube", "cube"]})
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.rglob("*.html")) == []


def test_without_rerun_the_flag_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main([str(folder(tmp_path / "cube", 1)), "--rrd", str(tmp_path / "a.rrd")]) == 2
    assert "pip install 'act-aloha[view]'" in capsys.readouterr().err


def test_of_many_episodes_those_that_stand_out_are_shown(tmp_path: Path) -> None:
    for index in range(12):
        joints = path_of_joints(T, 100) if index == 7 else path_of_joints()
        write(tmp_path, index, qpos=joints, action=joints + 0.01)
    data = measure([episode_path(tmp_path, index) for index in range(12)])
    numbers = [episode.number for episode in shown_episodes(data, most=4)]
    assert len(numbers) == 4 and 7 in numbers and numbers == sorted(numbers)


def test_frames_for_rerun_have_their_colours_and_others_stay_as_they_are(tmp_path: Path) -> None:
    red = np.zeros((32, 48, 3), np.uint8)
    red[..., 0] = 230
    joints = path_of_joints(2)
    path = write_episode(tmp_path / "a.hdf5", qpos=joints, action=joints, images={"top": [red, red]})
    seen = decoded(viewable(read_episode(path), "top", 0))
    assert seen[..., 0].mean() > 220 and seen[..., 2].mean() < 20
    others = read_episode(path, jpeg_colors="bgr")
    assert viewable(others, "top", 0) == others.encoded(0)["top"]


def test_stages_have_the_step_at_which_they_were_reached(tmp_path: Path) -> None:
    attrs = {"stage_names": ["touched", "lifted", "done"]}
    joints = path_of_joints(5)
    made = {"qpos": joints, "action": joints, "images": {}, "reward": [0, 1, 1, 2, 0]}
    episode = read_episode(write_episode(tmp_path / "a.hdf5", **made, attrs=attrs))
    assert stages(episode) == [(1, "touched"), (3, "lifted")]


def test_rerun_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs where rerun-sdk is installed: an environment with the extra `view`."""
    pytest.importorskip("rerun")
    directory, run, out = folder(tmp_path / "cube", 2), tmp_path / "run", tmp_path / "a.rrd"
    write_json(run / "config.json", {"dataset_dir": str(directory)})
    monkeypatch.setattr("act.evaluation.view.load_run", lambda _: Looking())
    assert main([str(run), "--rrd", str(out), "--episodes", "2", "--chunks", "1"]) == 0
    done = subprocess.run([sys.executable, "-m", "rerun", "rrd", "print", str(out)], capture_output=True, text=True)
    chunk = "/episode_0/joints/left/waist/chunk_at_0"
    for entity in ("/episode_0/cameras/top", "/episode_1/joints/left/waist/commanded", chunk):
        assert entity in done.stdout, done.stderr
