"""What `pip install .` puts on a machine, and that it works there, far from the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.conftest import SLOW

ROOT = Path(__file__).parents[1]
UNTESTED_EXTRAS = ("gym-aloha",)  # make test has no package of it; tests/act/interop/environments skip without
SCRIPTS = {
    "act": "act.__main__:main",
    "act-train": "act_programs.train:main",
    "act-eval": "act_programs.eval:main",
    "act-record": "act_programs.record_sim_episodes:main",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of this checkout, so that no folder build/ is left in it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("act", "sim_envs", "real_envs", "assets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "eval.py", "record_sim_episodes.py", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, source)
    shutil.copy(ROOT / "README.md", source)
    shutil.copy(ROOT / "LICENSE", source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "-w", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_scene_and_nothing_else_at_its_top(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"act", "sim_envs", "real_envs", "act_programs"}
    code = {
        str(path.relative_to(ROOT))
        for place in ("act", "sim_envs", "real_envs")
        for path in (ROOT / place).rglob("*.py")
    }
    scenes = {f"sim_envs/assets/{path.name}" for path in (ROOT / "assets").glob("*.xml")}
    programs = {f"act_programs/{name}.py" for name in ("train", "eval", "record_sim_episodes")}
    assert {name for name in names if ".dist-info/" not in name} == code | scenes | programs
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_a_wheel_brings_the_four_commands(wheel: Path):
    archive, parser = zipfile.ZipFile(wheel), ConfigParser()
    (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    parser.read_string(archive.read(name).decode())
    assert dict(parser["console_scripts"]) == SCRIPTS


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """The interpreter of an environment that holds the wheel and, through a path file, the libraries of this one."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    site = next((home / "lib").glob("python3*/site-packages"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True, capture_output=True)
    (site / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return home / "bin" / "python"


@pytest.mark.slow
def test_an_installed_wheel_records_trains_and_evaluates_from_another_folder(installed: Path, tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()

    def run(command: str) -> str:
        program, *words = command.split()
        module, function = SCRIPTS[program].split(":")
        start = f"import sys; sys.argv[0] = {program!r}; from {module} import {function} as main; sys.exit(main())"
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        words = [str(installed), "-c", start, *words]
        done = subprocess.run(words, cwd=work, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    record = "act-record --task_name sim_transfer_cube_scripted --dataset_dir data --cameras top --image_size 48 64"
    run(f"{record} --num_episodes 1 --workers 1")
    assert "episode_0.hdf5" in run("act episodes info data")
    train = "act-train --preset state --task_name sim_transfer_cube_scripted --dataset_dir data --run_dir run"
    run(f"{train} --val_fraction 0 --steps 2 --batch_size 4 --device cpu")
    run("act-eval run --num_rollouts 1 --num_workers 1 --videos 1 --modes chunk")
    assert list((work / "run" / "eval" / "test_chunk" / "videos").glob("*.mp4"))
    assert (work / "run" / "report.html").exists()


@pytest.mark.slow
def test_an_installed_wheel_finds_its_scenes_inside_itself(installed: Path):
    program = "import sim_envs.task, act; print(act.__file__, sim_envs.task.ASSETS)"
    done = subprocess.run([str(installed), "-c", program], cwd="/", capture_output=True, text=True, check=True)
    code, scenes = map(Path, done.stdout.split())
    assert installed.parents[1] in code.parents and scenes == code.parents[1] / "sim_envs" / "assets"


def test_the_locked_versions_include_every_requirement():
    """Names as in PEP 503: lower case, with hyphens."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    locked = {_normal(line.split("==")[0]) for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    extras = project["optional-dependencies"]
    wanted += [name for extra in extras if extra not in UNTESTED_EXTRAS for name in extras[extra]]
    names = {_normal(re.split(r"[\[<>=! ]", name)[0]) for name in wanted if name}
    assert names - locked == {"act-aloha"}, "write the tested versions into constraints.txt (make lock)"


@pytest.mark.parametrize("place", SLOW)
def test_a_test_that_make_quick_leaves_out_exists(place: str):
    path, _, name = place.partition("::")
    found = ROOT / "tests" / path
    assert found.exists() and (not name or f"def {name}(" in found.read_text())


def test_the_citation_names_the_version_of_the_project():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
