"""What the documentation promises: programs and commands run as they stand there, links lead somewhere, sizes hold."""

import contextlib
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import eval as evaluation_program
from act.command_line import ORIGINAL_FLAGS
from act.data.episodes import read_episode
from act.data.normalize import Normalizer
from act.interop import export
from act.interop.environments.opening import open_env
from act.policies import act
from act.policies.base.storage import save_policy
from act.runtime.agents import ReplayAgent
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from act.types import Observation, PolicySpec

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "assets/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
SELECTING = ("--policy_class", "--preset")  # flags of train.py that decide which other flags there are


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """Command lines in code blocks and code spans of a page that start our programs; continued lines are joined."""
    blocks = re.findall(r"^ *```(?:sh|bash|)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    blocks += re.findall(r"^(?: {4}.*\n)+", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE), re.M)
    blocks += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))]
    lines = [line.strip() for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    return [line for line in lines if re.match(r"(\w+=\S+ )*(\S*/)?python (\S+\.py|-m act(?!\S)|-m benchmarks)", line)]


def split(command: str) -> tuple[tuple[str, ...], list[str]]:
    """The words that choose the program and its help, and the flags that the command gives."""
    words = shlex.split(command, comments=True)
    words = words[next(k for k, word in enumerate(words) if word.endswith("python")) + 1 :]
    names = [word.partition("=")[0].replace("-", "_") for word in words]
    flags = ["--" + name[2:] for word, name in zip(words, names, strict=True) if word.startswith("--")]
    program = words[:2] if words[0] == "-m" else words[:1]
    subcommands = words[2:4] if words[:2] == ["-m", "act"] else []
    depth = 2 if subcommands[:1] == ["episodes"] else 1
    program += [word for word in subcommands[:depth] if word.isidentifier() and word.islower()]
    chosen = [part for k, word in enumerate(words) if word in SELECTING for part in words[k : k + 2]]
    return (*program, *chosen), flags


@cache
def help_of(program: tuple[str, ...]) -> tuple[int, str]:
    """Exit code and text of `python PROGRAM... --help`, run in this process, which has loaded torch already."""
    text, is_module = io.StringIO(), program[0] == "-m"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy: the module was imported before
        patch.setenv("COLUMNS", "400")
        patch.setattr(sys, "argv", [program[is_module], *program[1 + is_module :], "--help"])
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text), pytest.raises(SystemExit) as ended:
            if is_module:
                runpy.run_module(program[1], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(str(ROOT / program[0]), run_name="__main__")
    return int(ended.value.code or 0), text.getvalue()


COMMANDS = sorted({(name_of(page), command) for page in PAGES for command in commands(text_of(page))})


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_of_the_documentation_has_flags_that_exist(page: str, command: str):
    program, flags = split(command)
    code, text = help_of(program)
    known = set(re.findall(r"--[a-z]\w*", text)) | set(ORIGINAL_FLAGS.get(program[0], {}))
    assert code == 0, text
    assert set(flags) - known == set(), f"{page} shows a command that does not exist"


def test_the_readme_shows_the_whole_path():
    shown = {split(command)[0][:3] for command in commands(text_of(ROOT / "README.md"))}
    assert {words[0] for words in shown} == {"record_sim_episodes.py", "train.py", "eval.py", "-m"}
    assert ("-m", "act", "pretrain") in shown


def test_commands_are_found_in_blocks_and_spans_and_split_into_program_and_flags():
    page = "`python eval.py a --videos 0`\n\n```\npython -m act episodes \\\n    info D --x-y=3  # why\nls\n```\n"
    found = commands(page)
    assert [split(command) for command in found] == [
        (("-m", "act", "episodes", "info"), ["--x_y"]),
        (("eval.py",), ["--videos"]),
    ]


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "benchmarks" / "LOG.md"], ids=name_of)
def test_every_link_of_the_documentation_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(found), f"{target}: no heading has this anchor"


def test_the_readme_fits_on_two_screens():
    lines = text_of(ROOT / "README.md").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 160 and not line.startswith("|")] == []


def programs(page: str) -> list[str]:
    """The Python programs on a page of docs/."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [textwrap.dedent(program) for program in re.findall(r" *```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.slow
def test_the_program_of_the_page_on_evaluation_runs(tmp_path: Path):
    (program,) = programs("evaluation.md")
    save_small_policy(tmp_path / "run")
    for shown, here in (("runs/demo", str(tmp_path / "run")), ("[:50]", "[:2]"), ("num_envs=8", "num_envs=2")):
        assert shown in program
        program = program.replace(shown, here)
    output = run(program, tmp_path)
    assert re.match(r"0\.0 % \(0\.0-\d+\.\d, 0 of 2\)", output), output


def save_small_policy(run: Path) -> None:
    """An untrained policy that sees the pose of one object."""
    config = act.Config(6, 16, 32, 2, 1, 2, use_cvae=False, use_images=False, use_env_state=True)
    torch.manual_seed(0)
    spec = PolicySpec(env_state_dim=7)
    about = {"train": {"task_name": "sim_toy_scripted"}, "step": 1, "seed": 0, "git": None, "backbone_weights": None}
    save_policy(run, act.Policy(config, spec, Normalizer.of(spec)), about)


def run(program: str, folder: Path) -> str:
    """What the program prints when it runs in `folder`."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    command, env = [sys.executable, "program.py"], {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_environment_of_the_page_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (program,) = programs("your_own_environment.md")
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    (tmp_path / "my_robot.py").write_text(program, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    reach = open_env("my_robot:Reach")
    obs, _ = reach.reset(seed=0)
    left_arm = np.concatenate([obs["env_state"], np.zeros(7, np.float32)])
    (result,) = rollout(SerialEnvs([reach]), ReplayAgent(left_arm[None, None]), seeds=[0])
    assert result.success and result.length < 30, "the page's goal is reached by going there"
    save_small_policy(tmp_path / "run")
    flags = ["--num_rollouts", "2", "--num_workers", "1", "--videos", "1", "--modes", "chunk", "--device", "cpu"]
    assert evaluation_program.main(["run", "--env", "my_robot:Reach", *flags]) == 0
    results = json.loads(Path("run/eval/test_chunk_my_robot_Reach/results.json").read_text())
    assert (results["n"], results["task"], results["success"]["successes"]) == (2, "my_robot_Reach", 0)
    assert results["mean_length"] == 200 and len(list(Path("run").rglob("*.mp4"))) == 1


class Arms:
    """A robot that reaches every target at once and whose camera shows grey."""

    qpos = np.zeros(14, np.float32)

    def observe(self) -> Observation:
        image = np.full((32, 48, 3), 127, np.uint8)
        return {"qpos": self.qpos, "qvel": np.zeros(14, np.float32), "images": {"cam_high": image}}

    def act(self, action: np.ndarray) -> None:
        self.qpos = action


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_programs_of_the_page_on_tasks_run(tmp_path: Path):
    shown = programs("adding_a_task.md")
    (reach,) = [program for program in shown if "Kinematics()" in program]
    errors = [float(number) for number in re.findall(r"-?\d[\d.e+-]*", run(reach, tmp_path))]
    assert len(errors) == 6 and max(map(abs, errors)) < 1e-3, "a pose that the page calls reachable"
    (watch,) = [program for program in shown if "cv2.imwrite" in program]
    output = run(watch.replace("stack_cubes", "peg_in_cup"), tmp_path)
    assert "strict_success': True" in output, output
    assert {path.name for path in tmp_path.glob("look_*.png")} >= {"look_angle_0.png", "look_cam_high_50.png"}
