"""A generated task passes the contract tests at once; names that cannot work are refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sim_envs.new_task import FILES, main

ROOT = Path(__file__).parents[2]
CONTRACTS = ("tasks/test_tasks.py", "experts/test_experts.py", "test_random_scenes.py")
FOLDERS = ("sim_envs/tasks", "sim_envs/experts", "assets", "tests/sim_envs/tasks")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.mark.slow
def test_a_generated_task_passes_the_contract_tests(tmp_path: Path, capsys):
    for folder in ("sim_envs", "assets"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for test in CONTRACTS:
        path = tmp_path / "tests" / "sim_envs" / test
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / "sim_envs" / test, path)
    assert main(["lift_it", "--root", str(tmp_path)]) == 0
    assert "lift_it.xml" in capsys.readouterr().out
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests", "-k", "lift_it"]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    passed = int(done.stdout.rpartition(" passed")[0].split()[-1])
    assert passed >= 15, "contract tests of the task, of its expert and of random scenes, and the two tests of its own"


def test_the_four_files_have_the_name_of_the_task(empty: Path):
    assert main(["stack_cubes", "--root", str(empty)]) == 0
    for path in FILES:
        text = (empty / path.replace("NAME", "stack_cubes")).read_text()
        assert "stack_cubes" in text or "stack cubes" in text
        assert "NAME" not in text and "TITLE" not in text


@pytest.mark.parametrize("name", ["Stack", "stack-cubes", "2cubes", "stack__cubes", "../x"])
def test_a_name_that_is_no_module_is_refused_and_nothing_is_written(empty: Path, name: str, capsys):
    assert main([name, "--root", str(empty)]) == 2
    assert f"{name!r} cannot name a task; use lower-case words joined by _" in capsys.readouterr().err
    assert not [path for path in empty.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["sim_stack_cubes", "hand_to_human", "stack_scripted"])
def test_a_name_that_looks_like_a_style_of_demonstrations_is_refused(empty: Path, name: str, capsys):
    assert main([name, "--root", str(empty)]) == 2
    assert f"{name!r} cannot name a task; the programs call it sim_TASK_scripted" in capsys.readouterr().err


def test_a_task_that_exists_is_never_overwritten(empty: Path, capsys):
    (empty / "sim_envs/experts/taken.py").write_text("mine")
    assert main(["taken", "--root", str(empty)]) == 2
    assert "taken.py exists; choose another name than 'taken'" in capsys.readouterr().err
    assert [path.name for path in empty.rglob("*") if path.is_file()] == ["taken.py"]


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path, capsys):
    assert main(["stack_cubes", "--root", str(tmp_path)]) == 2
    assert "is no checkout of this repository: it has no folder assets" in capsys.readouterr().err
