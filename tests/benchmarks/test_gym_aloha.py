"""The benchmark in gym-aloha, without gym-aloha: its starts are those here, and pairs are counted by seed."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import sim_envs
from act.evaluation.evaluate import LoggedEpisode, Summary, summarize
from act.types import EnvSpec, RolloutResult
from benchmarks import gym_aloha as program

STAGES = ("touched", "lifted", "received", "transfer")


def summary(won: dict[int, bool]) -> Summary:
    results = [RolloutResult(seed, 400, 4.0 * ok, 0.0, ok, ok, [0 if ok else None] * 4) for seed, ok in won.items()]
    return summarize(EnvSpec("transfer_cube", STAGES, 400), [LoggedEpisode(r, [], 1.0, "abc") for r in results])


@pytest.mark.parametrize("task", program.IDS)
def test_objects_start_where_the_environment_here_puts_them(task: str):
    env = sim_envs.make(task, cameras=())
    for seed in (2_000_000, 7):
        poses = program.start_of(task, seed)
        assert np.allclose(env.reset(seed=seed)[0]["env_state"], poses, atol=1e-7)
        falling = program.start_of(task, seed, falls=True)
        assert (falling[2::7] == 0.05).all(), "as high as gym-aloha drops them"
        falling[2::7] = poses[2::7]
        assert np.array_equal(falling, poses)


class Counting(gymnasium.Env):
    """Shows the number of control steps in its image, and renders only when images are due."""

    images_due = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.t = 0
        return self.observed(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.observed(), 0.0, False, False, {}

    def observed(self) -> Any:
        return {"t": self.t} | ({"images": {"top": np.full((1, 1, 3), self.t)}} if self.images_due else {})


def test_a_slow_camera_shows_every_fourth_control_step_and_repeats_it():
    env = program.SlowCamera(Counting())
    seen = [env.reset()[0], *(env.step(None)[0] for _ in range(9))]
    assert [obs["images"]["top"][0, 0, 0] for obs in seen] == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]
    assert [obs["t"] for obs in seen] == list(range(10)), "joints are those of every control step"


def test_a_recorded_episode_continues_after_success(monkeypatch: pytest.MonkeyPatch):
    class Won(Counting):
        def step(self, action: Any) -> Any:
            obs, *_ = super().step(action)
            return obs, 4.0, self.t == 3, self.t == limit, {"is_success": self.t == 3}

    monkeypatch.setattr(program, "AFTER", 2)
    for limit, length in ((400, 5), (4, 4)):
        env = program.AfterSuccess(Won())
        for _ in range(2):
            env.reset()
            ends = [env.step(None)[1:4] for _ in range(length)]
            assert ends == [(4.0, False, False)] * (length - 1) + [(4.0, False, True)], f"limit {limit}"


def test_pairs_are_counted_by_start_and_shown_in_the_table():
    here, there = summary({1: True, 2: True, 3: True, 4: False}), summary({1: True, 2: False, 3: True, 4: True})
    row = {"task": "transfer_cube", "mode": "chunk", "place": program.AT_REST, **program.compared(here, there)}
    assert (row["pairs"]["only_first"], row["pairs"]["only_second"]) == (1, 1)
    assert (row["kept"]["successes"], row["kept"]["n"], row["commits"]) == (2, 3, ["abc"])
    line = program.table([json.loads(json.dumps(row))]).splitlines()[-1]
    assert "| 75.0 % (30.1-95.4, 3 of 4) | 66.7 % (20.8-93.9, 2 of 3) | 1 | 1 | 1 |" in line


def test_wrong_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "policy.json").write_text(json.dumps({"train": {"task_name": "sim_peg_in_cup_scripted"}}))
    for arguments, message in (
        ([], "no run is given; give folders of policies that see object poses"),
        ([str(tmp_path / "nothing")], "holds no trained policy"),
        ([str(tmp_path)], "was trained on peg_in_cup, which gym-aloha does not have; it has transfer_cube, insertion"),
        (["--num", "0"], "--num 0: give at least 1"),
        (["--record", "peg_in_cup"], "--record peg_in_cup: choose one of transfer_cube, insertion"),
        (["--scenes", "peg_in_cup"], "--scenes peg_in_cup: choose one of transfer_cube, insertion"),
    ):
        assert program.program(argv=[*arguments, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
