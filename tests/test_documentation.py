"""Programs that the pages in docs/ show: they run as they stand there."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from act.data.episodes import read_episode
from act.data.normalize import Normalizer
from act.policies import act
from act.policies.base.storage import save_policy
from act.serving import export
from act.types import Observation, PolicySpec

ROOT = Path(__file__).parents[1]


def programs(page: str) -> list[str]:
    """What a page in docs/ shows of Python."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [textwrap.dedent(program) for program in re.findall(r" *```python\n(.*?)```", text, re.DOTALL)]


def test_the_program_of_the_page_on_evaluation_runs(tmp_path: Path):
    (program,) = programs("evaluation.md")
    config = act.Config(6, 16, 32, 2, 1, 2, use_cvae=False, use_images=False, use_env_state=True)
    torch.manual_seed(0)
    spec = PolicySpec(env_state_dim=7)
    save_policy(tmp_path / "run", act.Policy(config, spec, Normalizer.of(spec)), {"step": 1})
    for shown, here in (("runs/demo", str(tmp_path / "run")), ("[:50]", "[:2]"), ("num_envs=8", "num_envs=2")):
        assert shown in program
        program = program.replace(shown, here)
    said = run(program, tmp_path)
    assert re.match(r"0\.0 % \(0\.0-\d+\.\d, 0 of 2\)", said), said


def run(program: str, folder: Path) -> str:
    """What a program prints that runs in `folder`."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    command, env = [sys.executable, "program.py"], {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Arms:
    """A robot that is where it was told to be, and sees grey."""

    qpos = np.zeros(14, np.float32)

    def observe(self) -> Observation:
        image = np.full((32, 48, 3), 127, np.uint8)
        return {"qpos": self.qpos, "qvel": np.zeros(14, np.float32), "images": {"cam_high": image}}

    def act(self, action: np.ndarray) -> None:
        self.qpos = action


def test_the_program_of_the_page_on_robots_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    program, _ = programs("realtime.md")
    config = act.Config(6, 16, 32, 2, 1, 1, use_cvae=False, backbone="keypoints", backbone_weights="none")
    spec = PolicySpec(("cam_high",), (32, 48))
    monkeypatch.chdir(tmp_path)
    about = {"train": {"task_name": "sim_toy_scripted"}, "step": 1, "seed": 0, "git": None}
    save_policy(Path("runs/demo"), act.Policy(config, spec, Normalizer.of(spec)), about)
    assert export.main(["runs/demo"]) == 0
    assert "episode_len=400" in program
    exec(program.replace("episode_len=400", "episode_len=10"), {"robot": Arms()})
    assert "10 10 control periods of 20 ms" in capfd.readouterr().out
    episode = read_episode(Path("data/my_robot/episode_0.hdf5"))
    assert len(episode.action) == 10 and not episode.attrs["sim"]


def test_the_programs_of_the_page_on_tasks_run(tmp_path: Path):
    shown = programs("adding_a_task.md")
    (reach,) = [program for program in shown if "Kinematics()" in program]
    errors = [float(number) for number in re.findall(r"-?\d[\d.e+-]*", run(reach, tmp_path))]
    assert len(errors) == 6 and max(map(abs, errors)) < 1e-3, "a pose that the page calls reachable"
    (watch,) = [program for program in shown if "cv2.imwrite" in program]
    said = run(watch.replace("stack_cubes", "peg_in_cup"), tmp_path)
    assert "strict_success': True" in said, said
    assert {path.name for path in tmp_path.glob("look_*.png")} >= {"look_angle_0.png", "look_cam_high_50.png"}
