"""A policy that was imported is a run like any other: it is evaluated, served and exported, with the same answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

import eval as program
import sim_envs
from act.interop import export, import_checkpoint
from act.interop.checkpoints.writing import write_lerobot
from act.interop.lerobot.layout import read_json
from act.policies.act import Policy
from act.policies.base.storage import load_policy
from act.runtime.envs import SerialEnvs
from act.serving.client import RemotePolicy
from act.serving.export import TOLERANCE
from act.serving.onnx_policy import OnnxPolicy
from act.serving.parity import random_histories
from tests.act.interop.test_checkpoints import exact_arithmetic as exact_arithmetic  # a fixture
from tests.act.interop.test_checkpoints import made, paper, write_original
from tests.act.serving.test_server import serving
from tests.test_eval import make_toy

pytestmark = pytest.mark.slow
AS_TRAINED = ["--n_heads", "4", "--cameras", "wrist", "top", "--image_size", "64", "96"]  # the original's file lacks it


def in_layout_of_lerobot(folder: Path, policy: Policy) -> tuple[Path, list[str]]:
    write_lerobot(policy, folder)
    return folder, []


def in_layout_of_the_original(folder: Path, policy: Policy) -> tuple[Path, list[str]]:
    return write_original(folder, policy), AS_TRAINED


class OneProcess(SerialEnvs):
    """`ParallelEnvs` without worker processes, which take seconds to start."""

    def __init__(self, make: Callable[[], Any], num_envs: int, num_workers: int):
        super().__init__([make() for _ in range(num_envs)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize("layout", [in_layout_of_lerobot, in_layout_of_the_original])
def test_an_imported_policy_is_evaluated_served_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Callable[[Path, Policy], tuple[Path, list[str]]]
):
    made_here = made(paper(n_encoder_layers=1, n_cvae_layers=1))
    source, flags = layout(tmp_path / "source", made_here)
    run = tmp_path / "run"
    assert import_checkpoint.main([str(source), str(run), "--task_name", "sim_toy_scripted", *flags]) == 0

    monkeypatch.setattr(program, "ParallelEnvs", OneProcess)
    monkeypatch.setattr(sim_envs, "make", make_toy)
    short = ["--num_rollouts", "2", "--num_workers", "1", "--videos", "0", "--modes", "chunk"]
    assert program.main([str(run), *short]) == 0
    results = read_json(run / "eval" / "test_chunk" / "results.json")
    assert (results["n"], results["task"], results["settings"]["policy"]) == (2, "toy", "act")

    policy = load_policy(run)
    histories = random_histories(policy, 2)
    expected = policy.predict_chunk(histories)
    np.testing.assert_allclose(made_here.predict_chunk(histories), expected, atol=1e-5)
    with serving(policy) as address, RemotePolicy(address) as remote:
        np.testing.assert_array_equal(remote.predict_chunk(histories), expected)
    if layout is in_layout_of_the_original:
        return  # tracing takes seconds, and from here on both runs are the same
    assert export.main([str(run)]) == 0
    np.testing.assert_allclose(OnnxPolicy.load(run, threads=1).predict_chunk(histories), expected, atol=TOLERANCE)
