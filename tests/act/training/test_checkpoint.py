"""A run continues only from a state that is whole and its own, under any spelling of its paths, and with more steps."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from act.policies.base.storage import load_policy
from act.run_folder import RunFolder
from act.training import preparation
from act.training.checkpoint import load_state, save_state
from act.training.config import TrainConfig
from tests.fakes.tiny_run import make, run

Tensors = dict[str, torch.Tensor]
CONSTANT = {"schedule": "constant", "steps": 4}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """The configuration of a run of 8 steps that was interrupted after step 4."""
    config = make(tmp_path_factory.mktemp("interrupted"))
    run(config, stop=4)
    return config


@pytest.fixture
def half(interrupted: TrainConfig, tmp_path: Path) -> TrainConfig:
    """The same run, in a folder of its own."""
    assert interrupted.run_dir is not None
    shutil.copytree(interrupted.run_dir.parent, tmp_path, dirs_exist_ok=True)
    return replace(interrupted, dataset_dir=(tmp_path / "data",), run_dir=tmp_path / "run")


def state_file(config: TrainConfig) -> Path:
    assert config.run_dir is not None
    return RunFolder(config.run_dir).last_state


def read_file(path: Path) -> tuple[Tensors, dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def refusal(config: TrainConfig) -> str:
    with pytest.raises(ValueError) as caught:
        run(config)
    message = str(caught.value)
    assert str(state_file(config)) in message and "\n" not in message and "to start again" in message
    return str(caught.value)


@pytest.mark.parametrize("place", [0.001, 0.3, 0.9])
def test_one_flipped_bit_of_a_state_is_refused(half: TrainConfig, place: float):
    path = state_file(half)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 4
    path.write_bytes(data)
    assert str(path) in refusal(half)


def test_a_step_that_was_changed_in_the_header_is_refused(half: TrainConfig):
    tensors, texts = read_file(state_file(half))
    texts["state"] = texts["state"].replace('"step": 4', '"step": 2')
    save_file(tensors, state_file(half), metadata=texts)
    assert "it was changed or damaged" in refusal(half)


def test_a_state_of_an_earlier_version_has_no_digest_and_is_continued(half: TrainConfig):
    tensors, texts = read_file(state_file(half))
    save_file(tensors, state_file(half), metadata={"state": texts["state"]})
    assert [line.step for line in run(half)] == [6, 8]


def drop(part: str) -> Callable[[Tensors], object]:
    return lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith(part)]


def first(tensors: Tensors, part: str) -> str:
    return min(name for name in tensors if name.startswith(part) and tensors[name].ndim > 0)


DAMAGES: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "no tensors": (drop(""), "the weights (policy) are not those of this policy: it lacks the tensor"),
    "no weights": (drop("policy."), "the weights (policy) are not those of this policy: it lacks the tensor"),
    "no average": (drop("deployed."), "the weights (deployed) are not those of this policy: it lacks the tensor"),
    "no optimizer": (drop("optimizer."), "state of the optimizer is not complete: it lacks the tensor optimizer.0"),
    "one parameter's moments": (drop("optimizer.3."), "it lacks the tensor optimizer.3.exp_avg and 2 more"),
    "a counter": (drop("optimizer.0.step"), "it lacks the tensor optimizer.0.step"),
    "NaN": (lambda t: t[first(t, "policy.")].fill_(torch.nan), "has values that are not finite"),
    "infinite moment": (lambda t: t[first(t, "optimizer.")].fill_(torch.inf), "has values that are not finite"),
    "cast": (lambda t: t.update({(n := first(t, "policy.")): t[n].half()}), "has type float16, expected float32"),
    "cast moment": (lambda t: t.update({(n := first(t, "optimizer.")): t[n].half()}), "type float16, expected float32"),
    "another shape": (lambda t: t.update({(n := first(t, "optimizer.")): t[n][:1]}), "has shape (1,"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_that_is_not_complete_and_finite_is_refused_without_a_digest(half: TrainConfig, damage: str):
    change, sentence = DAMAGES[damage]
    tensors, texts = read_file(state_file(half))
    change(tensors)
    save_file(tensors, state_file(half), metadata={"state": texts["state"]})
    assert sentence in refusal(half)


@pytest.mark.parametrize(
    "header",
    ["", "{", "[]", "3", "{}", "[" * 100_000, '{"step": "4"}', '{"step": -1}', '{"config": []}', '{"config": {}}',
     '{"best_success": "high"}', '{"episodes": 3}'],
)  # fmt: skip
def test_a_header_that_describes_no_state_is_refused(half: TrainConfig, header: str):
    tensors, texts = read_file(state_file(half))
    if header.startswith('{"'):
        header = json.dumps(json.loads(texts["state"]) | json.loads(header))
    save_file(tensors, state_file(half), metadata={"state": header})
    assert "its header describes no state of a training" in refusal(half)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 64, (1 << 50).to_bytes(8, "little") + b"{}"])
def test_a_fifo_and_bytes_that_are_no_state_are_refused_at_once(half: TrainConfig, content: bytes | None):
    path = state_file(half)
    path.unlink()
    path.write_bytes(content) if content is not None else os.mkfifo(path)
    assert f"{path} cannot be read (" in refusal(half)


# ------------------------------------------------------------------------------------------------- spelling and steps
def test_a_run_continues_under_any_spelling_of_its_folders(half: TrainConfig, tmp_path: Path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")

    state = load_state(tmp_path / "run", half)
    assert state is not None
    for spelled in (Path("../data"), tmp_path / "inside" / ".." / "data", tmp_path / "link"):
        assert load_state(tmp_path / "run", replace(half, dataset_dir=(spelled,))) is not None
    assert [line.step for line in run(replace(half, dataset_dir=(Path("../link"),), log_every=2))] == [6, 8]


def test_moved_episodes_are_the_same_and_others_are_refused(half: TrainConfig, tmp_path: Path):
    moved = (tmp_path / "data").rename(tmp_path / "elsewhere")
    (moved / "episode_4.hdf5").rename(moved / "episode_7.hdf5")
    with pytest.raises(ValueError, match="was trained on other episodes than there are now"):
        run(replace(half, dataset_dir=(moved,)))
    (moved / "episode_7.hdf5").rename(moved / "episode_4.hdf5")
    assert [line.step for line in run(replace(half, dataset_dir=(moved,)))] == [6, 8]


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_digest_of_episodes_of_an_earlier_version_is_still_right(
    half: TrainConfig, tmp_path: Path, through_a_link: bool
):
    train, held_out, _ = preparation.load_data(half)
    state = load_state(tmp_path / "run", half)
    assert state is not None
    state.episodes = preparation._digest(
        train, held_out, lambda path: (path.parent.name, path.name, preparation.hdf5_bytes(path))
    )
    save_state(tmp_path / "run", state, half)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    folder = tmp_path / ("link" if through_a_link else "data")
    assert [line.step for line in run(replace(half, dataset_dir=(folder,)))] == [6, 8]


def test_more_steps_continue_a_finished_run_whose_schedule_is_constant_exactly(tmp_path: Path):
    short = make(tmp_path, **CONSTANT)
    run(short)
    run(replace(short, steps=8))
    whole = replace(short, steps=8, run_dir=tmp_path / "whole")
    run(whole)
    continued, expected = (load_policy(tmp_path / name).state_dict() for name in ("run", "whole"))
    assert all(torch.equal(continued[name], value) for name, value in expected.items())


@pytest.mark.parametrize("changes", [{"schedule": "cosine"}, {"warmup_steps": 3}])
def test_where_the_learning_rate_depends_on_the_steps_the_error_names_the_way_out(tmp_path: Path, changes: dict):
    short = make(tmp_path, **CONSTANT | changes)
    run(short)
    with pytest.raises(ValueError, match=rf"steps 4, not 8; .*--warm_start {tmp_path}/run and another --run_dir"):
        run(replace(short, steps=8))


def test_fewer_steps_than_a_run_has_are_refused(tmp_path: Path):
    config = make(tmp_path, **CONSTANT, warmup_steps=0)
    run(config)
    with pytest.raises(ValueError, match="has 4 steps already, more than --steps 2; choose another --run_dir"):
        run(replace(config, steps=2))


def test_another_start_is_another_run(half: TrainConfig, tmp_path: Path):
    with pytest.raises(ValueError, match="warm_start None, not "):
        load_state(tmp_path / "run", replace(half, warm_start=tmp_path / "other"))
