"""Weights are loaded only when they are whole, finite, of the right form and those that policy.json describes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from act import files
from act.data.normalize import Normalizer
from act.nn import tensors
from act.policies import act
from act.policies.base import storage
from act.policies.base.policy import Policy
from act.policies.base.storage import load_policy, save_policy
from act.run_folder import RunFolder
from act.types import PolicySpec

Weights = dict[str, torch.Tensor]
STATE: dict[str, Any] = {"use_images": False, "use_env_state": True}
NAME = "normalizer.qpos_scale"


def make_policy(seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    spec = PolicySpec(env_state_dim=7)
    return act.Policy(act.Config(4, 8, 16, 2, 1, 1, n_cvae_layers=1, latent_dim=4, **STATE), spec, Normalizer.of(spec))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    save_policy(tmp_path / "run", make_policy(), {"step": 1, "train": {"task_name": "sim_toy"}})
    return RunFolder(tmp_path / "run")


def change_about(run: RunFolder, change: Callable[[dict[str, Any]], object]) -> None:
    path = run.path / "policy.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def without_digest(run: RunFolder) -> None:
    """Makes the run one of an earlier version."""
    change_about(run, lambda about: about.pop("weights"))


def refusal(run: RunFolder) -> str:
    with pytest.raises(ValueError) as caught:
        load_policy(run.path)
    assert str(run.path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_the_digest_of_the_weights_is_in_policy_json(run: RunFolder):
    assert json.loads((run.path / "policy.json").read_text())["weights"] == run.digest()
    state = make_policy().state_dict()
    assert all(torch.equal(value, state[name]) for name, value in load_policy(run.path).state_dict().items())


@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
def test_one_flipped_bit_of_the_weights_is_refused(run: RunFolder, place: float):
    data = bytearray(run.weights.read_bytes())
    data[int(place * len(data))] ^= 1
    run.weights.write_bytes(data)
    assert "policy.safetensors was changed or damaged: its digest is" in refusal(run)


def test_a_run_of_an_earlier_version_has_no_digest_and_loads(run: RunFolder):
    without_digest(run)
    assert load_policy(run.path).chunk_size == 4


DAMAGES: dict[str, tuple[Callable[[Weights], object], str]] = {
    "NaN": (lambda w: w[NAME].fill_(float("nan")), f"tensor {NAME} has values that are not finite"),
    "inf": (lambda w: w[NAME].fill_(float("inf")), f"tensor {NAME} has values that are not finite"),
    "integer": (lambda w: w.update({NAME: w[NAME].int()}), f"tensor {NAME} has type int32, expected float32"),
    "cast": (lambda w: w.update({NAME: w[NAME].half()}), f"tensor {NAME} has type float16, expected float32"),
    "shape": (lambda w: w.update({NAME: torch.ones(13)}), rf"tensor {NAME} has shape (13,), expected (14,)"),
    "missing": (lambda w: w.pop(NAME), f"it lacks the tensor {NAME}"),
    "empty": (lambda w: w.clear(), "it lacks the tensor"),
    "unknown": (lambda w: w.update(x=torch.ones(1)), "it has the unknown tensor x"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_that_are_not_whole_finite_and_of_the_right_form_are_refused_without_a_digest(
    run: RunFolder, damage: str
):
    change, sentence = DAMAGES[damage]
    without_digest(run)
    weights = {name: value.clone() for name, value in load_file(run.weights).items()}
    change(weights)
    save_file(weights, run.weights)
    assert sentence in refusal(run)


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_fifo_or_a_folder_in_place_of_a_file_is_refused_at_once(run: RunFolder, name: str, make: Callable):
    (run.path / name).unlink()
    make(run.path / name)
    assert f"{name} cannot be read: it is no regular file" in refusal(run)


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"\xff" * 100, (1 << 40).to_bytes(8, "little") + b"{}"])
def test_bytes_that_are_no_weights_are_refused(run: RunFolder, content: bytes):
    without_digest(run)
    run.weights.write_bytes(content)
    assert "policy.safetensors cannot be read: " in refusal(run)


def test_missing_weights_are_named(run: RunFolder):
    run.weights.unlink()
    assert "policy.safetensors does not exist, although policy.json describes it" in refusal(run)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"act"', "[" * 100_000, '{"a": ' * 100_000, '{"step": ' + "9" * 5000 + "}", "\udcff"],
)
def test_a_policy_json_that_is_none_is_refused(run: RunFolder, text: str):
    (run.path / "policy.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "policy.json cannot be read: " in refusal(run)


CHANGES: dict[str, Any] = {
    "policy": [None, 3, "nothing", "../act", ["act"], {}],
    "spec": [None, [], 3, {"wheels": 2}, {"cameras": "top"}, {"cameras": [1]}, {"qpos_dim": -1}, {"qpos_dim": 1e9}],
    "config": [None, [], "{}", {"wheels": 2}, {"chunk_size": "4"}, {"chunk_size": 0}, {"n_encoder_layers": 10**9}],
}
SIZES = [{"hidden_dim": 1 << 17}, {"hidden_dim": 10**12}, {"dim_feedforward": 1 << 33}, {"chunk_size": 10**6}]
SIZES += [{"hidden_dim": 16}, {"n_encoder_layers": 100}]


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in CHANGES.items() for value in values])
def test_a_policy_json_that_describes_no_policy_is_refused(run: RunFolder, key: str, value: Any):
    merged = not isinstance(value, dict) or not value
    change_about(run, lambda about: about.update({key: value if merged else {**about[key], **value}}))
    assert refusal(run)


@pytest.mark.parametrize("sizes", SIZES)
def test_sizes_that_do_not_fit_the_weights_are_refused_before_memory_is_taken(run: RunFolder, sizes: dict[str, int]):
    change_about(run, lambda about: about["config"].update(sizes))
    assert refusal(run)


@pytest.mark.parametrize("size", [[0, 1], [10**9, 10**9], [480], "480 640", [480.0, 640.0], None])
def test_image_sizes_that_are_none_are_refused(run: RunFolder, size: Any):
    change_about(run, lambda about: about["spec"].update({"image_size": size}))
    assert "describes no policy of this version" in refusal(run)


def test_weights_and_their_description_fit_together_whenever_saving_is_interrupted(run: RunFolder, monkeypatch):
    """Each write and each replacement is the last one in turn; afterwards the run is the old or the new one."""
    states, last = {}, 0
    for seed in (0, 1):
        save_policy(run.path, make_policy(seed), {"step": seed})
        states[run.digest()] = seed
    for last in range(1, 20):
        save_policy(run.path, make_policy(0), {"step": 0})
        with monkeypatch.context() as patch:
            writes = _stop_at(patch, last)
            try:
                save_policy(run.path, make_policy(1), {"step": 1})
            except InterruptedError:
                pass
            else:
                break
        step = run.about()["step"]
        assert step == states[run.digest()] and load_policy(run.path) is not None, writes
    assert last > 5, "saving was interrupted at several places"
    assert "before" not in json.loads((run.path / "policy.json").read_text()) and run.about()["step"] == 1


def _stop_at(patch: pytest.MonkeyPatch, last: int) -> list[str]:
    """Makes the `last`-th flush or replacement of a file raise InterruptedError."""
    writes: list[str] = []
    replace, sync = Path.replace, os.fsync

    def count(name: str) -> None:
        writes.append(name)
        if len(writes) == last:
            raise InterruptedError

    patch.setattr(Path, "replace", lambda self, target: (count("replace"), replace(self, target))[1])
    patch.setattr(files.os, "fsync", lambda number: (count("fsync"), sync(number))[1])
    return writes


def test_a_policy_that_is_replaced_while_it_is_loaded_is_loaded_again(run: RunFolder, monkeypatch):
    read, replaced = tensors.read_tensors, []

    def read_and_replace(path: Path):
        found = read(path)
        if not replaced:
            replaced.append(True)
            save_policy(run.path, make_policy(1), {"step": 2})
        return found

    monkeypatch.setattr(storage, "read_tensors", read_and_replace)
    expected = make_policy(1).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in load_policy(run.path).state_dict().items())


def test_a_full_disk_names_the_file_and_keeps_the_policy(run: RunFolder, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise tensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    before = run.digest()
    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(OSError, match=f"no space left on device: '{run.weights}'"):
        save_policy(run.path, make_policy(1), {"step": 2})
    assert run.digest() == before and load_policy(run.path) and len(list(run.path.iterdir())) == 2
