"""On a Ray cluster: the same bytes and numbers as on one machine, also when processes and machines die on the way.

The simulator is a toy of this file: its attempts know the machine that they run on, and wait there until one of them
runs on the machine that shall be lost.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import eval as evaluation
import record_sim_episodes
import sim_envs
from act.cluster import RayWorkers, connected, recording, run_program_remotely
from act.data.normalize import Normalizer
from tests.fakes import toy_world
from tests.fakes.toy_env import ToyEnv
from tests.fakes.toy_world import GoalAgent

ROOT = Path(__file__).parents[3]
EVENTS = "CLUSTER_TEST_EVENTS"  # folder in which the attempts on a cluster write down what happens
WAIT = 30  # [s]
MACHINE = {"num_cpus": 1, "object_store_memory": 100_000_000}  # [bytes]


def make_env(task: str, cameras: tuple[str, ...], image_size: tuple[int, int], quality: str = "fast") -> ToyEnv:
    return ToyEnv(cameras, image_size, episode_len=10)


def make_expert(task: str, style: str, seed: int) -> GoalAgent:
    if EVENTS in os.environ:
        suffer(Path(os.environ[EVENTS]), seed)
    return GoalAgent(seed, fails=seed % 3 == 1)


def suffer(events: Path, seed: int) -> None:
    """The first attempt with seed 3 kills its process, the first on the doomed machine waits for the end of that."""
    import ray

    (events / f"{seed}_{time.monotonic_ns()}.attempt").touch()
    if seed == 3 and once(events / "killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if ray.get_runtime_context().get_node_id() == (events / "doomed").read_text():
        (events / "reached").write_text(str(seed))
        time.sleep(WAIT)
    wait_for((events / "reached").exists)


def once(marker: Path) -> bool:
    """True for the first caller."""
    try:
        marker.open("x").close()
    except FileExistsError:
        return False
    return True


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def cluster(events: Path) -> Iterator[Any]:
    """One machine with one core; `cluster.address` is what --ray takes."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(EVENTS, str(events))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # for tests that work in another folder
        quick = {"health_check_period_ms": 500}  # sees soon which machines are lost
        head = {"include_dashboard": False, "_system_config": quick, **MACHINE}
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        patch.undo()
        yield cluster
        cluster.shutdown()


@pytest.fixture(autouse=True)
def record_in_the_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = SimpleNamespace(make=make_env, make_expert=make_expert, check_task_name=toy_world.check_task_name)
    monkeypatch.setattr(record_sim_episodes, "sim_envs", toy)


def record(directory: Path, *flags: str) -> int:
    words = ["--task_name", "sim_toy_scripted", "--dataset_dir", str(directory), "--num_episodes", "6"]
    return record_sim_episodes.main([*words, "--image_size", "24", "32", "--cameras", "top", *flags])


def test_a_recording_that_loses_a_process_and_a_machine_is_that_of_one_machine(
    cluster: Any, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(tmp_path / "here", "--workers", "1") == 0
    with monkeypatch.context() as patch:
        patch.setenv(EVENTS, str(events))
        machine = cluster.add_node(**MACHINE)
    (events / "doomed").write_text(machine.node_id)

    def lose() -> None:
        wait_for((events / "reached").exists)
        cluster.remove_node(machine, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    assert record(tmp_path / "there", "--ray", cluster.address) == 0
    thread.join()
    local, remote = ({p.name: p.read_bytes() for p in (tmp_path / place).glob("*.hdf5")} for place in ("here", "there"))
    assert remote == local and len(local) == 6
    said, lost = capsys.readouterr().err, (events / "reached").read_text()
    assert "attempt 3: its process or machine died (WorkerCrashedError); the call is repeated" in said
    assert f"attempt {lost}: its process or machine died" in said and said.count("the call is repeated") == 2
    started = sorted(int(path.name.partition("_")[0]) for path in events.glob("*.attempt"))
    needed = range(9)  # the expert fails at seeds 1, 4, 7
    assert sorted([*needed, 3, int(lost)]) == [seed for seed in started if seed in needed]
    assert len(started) == len(set(started)) + 2


def test_rollouts_on_a_cluster_are_those_of_one_machine(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_policy(tmp_path)
    monkeypatch.setattr(sim_envs, "make", make_env)
    flags = [str(tmp_path), "--num_rollouts", "6", "--num_envs", "2", "--num_workers", "1", "--videos", "1"]
    assert evaluation.main([*flags, "--out", str(tmp_path / "here"), "--device", "cpu"]) == 0
    log = Path("eval/test_chunk/episodes.jsonl")
    settings, first, second, *_ = (tmp_path / "here" / log).read_text().splitlines(keepends=True)
    ours = tmp_path / "there" / log
    ours.parent.mkdir(parents=True)
    ours.write_text(settings + first + second)  # as an evaluation that was stopped leaves it
    flags += ["--out", str(tmp_path / "there"), "--device", "cpu", "--ray", cluster.address]
    assert evaluation.main(flags) == 0
    assert ours.read_text().startswith(settings + first + second) and ours.read_text().count("\n") == 7
    here, there = (json.loads((tmp_path / p / log).with_name("results.json").read_text()) for p in ("here", "there"))
    for timed in ("latency", "single_query", "wall_time_s", "rollouts_per_min", "provenance"):
        assert here.pop(timed) and there.pop(timed)
    assert there == here
    assert len({json.dumps({**episode, "seed": 0, "env_state0": 0}) for episode in here["episodes"]}) > 1


def save_policy(run: Path) -> None:
    """An untrained policy that sees object poses."""
    import torch

    from act.policies import act
    from act.policies.base import storage
    from act.types import PolicySpec

    torch.manual_seed(0)
    spec = PolicySpec((), (24, 32), env_state_dim=7)
    normalizer = Normalizer.of(spec)
    for key, dim in (("qpos", 14), ("action", 14), ("env_state", 7)):
        normalizer.fit(key, torch.randn(50, dim) * 0.3 + 0.5)
    config = act.Config(6, 16, 32, 2, 1, 1, n_cvae_layers=1, use_images=False, use_env_state=True)
    about = {"train": {"task_name": "sim_toy_scripted"}, "step": 1, "seed": 0, "git": None}
    storage.save_policy(run, act.Policy(config, spec, normalizer), about)


PROGRAM = """
import os, pathlib, signal, sys, time
name = pathlib.Path(sys.argv[1])
if name.name == "killer" and not name.exists():
    name.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1)
    print("an orphan goes on", flush=True)
if name.name == "sleeper":
    name.touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit("woken")
sys.exit(f"{name.name}, {os.environ['COLOUR']}")
"""


def test_programs_on_a_cluster_end_with_their_code_on_request_and_with_their_process(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(name: str, check: Callable[[], None] = lambda: None) -> int:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / name)]
        return run_program_remotely(command, Path(f"{name}.log"), {"COLOUR": "blue"}, check)

    def press_when_it_sleeps() -> None:
        if (tmp_path / "sleeper").exists():
            raise KeyboardInterrupt

    with connected(cluster.address):
        assert (run("plain"), run("killer")) == (1, 1)
        with pytest.raises(KeyboardInterrupt):
            run("sleeper", press_when_it_sleeps)
        time.sleep(1)  # in which an orphan would speak
    logs = {path.stem: path.read_text() for path in tmp_path.glob("*.log")}
    assert logs == {"plain": "plain, blue\n", "killer": "killer, blue\n", "sleeper": "woken\n"}


def test_a_grid_runs_its_programs_on_a_cluster(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Imported here, because processes of the cluster import this file and need not wait for torch.
    from benchmarks.grid.cells import plan
    from benchmarks.grid.run import Grid, Results, make_runner
    from tests.fakes.toy_grid import ACT, OPTIONS, TOYS

    for name, source in TOYS.items():
        (tmp_path / name).write_text(source)
    monkeypatch.chdir(tmp_path)
    options = replace(OPTIONS, jobs=1, ray=cluster.address)
    results = Results(Path("results.json"))
    with connected(cluster.address):
        assert Grid(options, results, make_runner(options)).run(plan((ACT,), options)) == 0
    assert [row["rewards"] for row in results.rows.values()] == ["244244"] * 2
    (log,) = Path("runs").rglob("grid.log")
    assert "training from step 0" in log.read_text() and "--num_workers 1" in log.read_text()


def test_no_attempt_begins_while_more_are_under_way_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = RayWorkers.__new__(RayWorkers)  # without a cluster
    workers._calls = ["attempt 0", "attempt 1", "attempt 2", "attempt 3"]  # type: ignore[assignment]
    for cores, free in (([2], 0), ([2, 2], 0), ([4, 2], 2)):
        monkeypatch.setattr(recording, "core_counts", lambda cores=cores: cores)
        assert workers.free == free


# ------------------------------------------------------------------------------------------------------- wrong input
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ray", "nowhere"], "--ray nowhere: give auto, local, or HOST:PORT"),
        (["--ray", "localhost:1"], "--ray localhost:1: no cluster answers"),
    ],
)
def test_impossible_wishes_are_answered_with_one_sentence(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    assert record(tmp_path, *flags) == 2
    assert message in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_without_ray_the_way_to_get_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert record(tmp_path, "--ray", "local") == 2
    assert "pip install -e '.[ray]'" in capsys.readouterr().err
