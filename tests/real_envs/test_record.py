"""record_sim_episodes.py --agent leader: emulated leader arms drive the simulator in the session of the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dynamixel_sdk", reason="arms need the SDK of their motors: pip install -e '.[hardware]'")

import record_sim_episodes
from act.data.episodes import find_episodes, read_episode
from real_envs.description import WIDOWX_250S, save
from tests.fakes.dynamixel_bus import EmulatedBus
from tests.real_envs.conftest import HOME, shafts

pytestmark = pytest.mark.slow


class Page:
    """A page whose operator records episodes of 30 control steps with the leader arms, without looking.

    `fail_at` is the control step of the session after which the left arm's plug is pulled.
    """

    url = "nowhere"
    fail_at = 10_000

    def __init__(self, buses: list[EmulatedBus]):
        self.buses, self.t, self.since_engaged = buses, 0, 0
        self.state: Any = None

    def __call__(self, config: Any) -> "Page":
        return self

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, state: Any) -> None:
        self.state = state

    def commands(self) -> list[tuple[Any, ...]]:
        self.t += 1
        if self.t == self.fail_at:
            self.buses[0].unplug()
        mode = self.state.mode if self.state else "idle"
        self.since_engaged = self.since_engaged + 1 if mode == "recording" else 0
        pose = np.array([*HOME[:6], 1.0])
        pose[0] = 0.2 * np.sin(0.1 * self.since_engaged)
        pose[6] = 0.0 if mode == "ready" and self.t % 50 > 25 else 1.0  # squeezes until the recording begins
        for bus in self.buses:
            if bus._plugged:
                bus.place(shafts(WIDOWX_250S, pose))
        if mode == "idle":
            return [("record",)]
        return [("save",)] if self.since_engaged >= 30 else []


@pytest.fixture
def page(emulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    buses = []
    for side in ("left", "right"):
        arm, bus = emulate(WIDOWX_250S, f"{side} leader")
        save(arm, tmp_path / f"{side}_leader.yaml")
        buses.append(bus)
    page = Page(buses)
    monkeypatch.setattr("sim_envs.teleop.link.PageProcess", page)
    monkeypatch.setattr("real_envs.bus.ANSWER_TIME", 0.015)
    monkeypatch.setattr("real_envs.arm.ANSWER_TIME", 0.015)
    return page


def record(folder: Path, number: int) -> int:
    words = f"--agent leader --task_name sim_transfer_cube_human --dataset_dir {folder}/data --num_episodes {number} "
    words += f"--leaders {folder}/left_leader.yaml {folder}/right_leader.yaml --gamepad none --keep_failures --cameras"
    return record_sim_episodes.main([*words.split(), "top", "--image_size", "24", "32"])


def test_episodes_of_leader_arms_are_recorded_and_rendered(page: Page, tmp_path: Path):
    assert record(tmp_path, 1) == 0
    (path,) = find_episodes(tmp_path / "data")
    episode = read_episode(path)
    assert episode.attrs["source"] == "operator" and episode.cameras == ("top",) and len(episode) >= 25
    assert np.abs(episode.action[:, 0]).max() > 0.1, "the follower swings its waist as the leader does"
    assert np.abs(np.diff(episode.action[:, 0])).max() <= np.pi * 0.02 + 1e-6


def test_a_lost_leader_ends_the_session_with_one_sentence_and_the_finished_episodes_are_there(
    page: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page.fail_at = 250
    assert record(tmp_path, 50) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("record:")]
    assert len(error) == 1 and "left leader" in error[0] + "left leader" * ("is gone" in error[0])
    assert find_episodes(tmp_path / "data") and not list((tmp_path / "data" / ".partial").glob("*"))


def test_a_missing_description_is_wrong_input(page: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "right_leader.yaml").unlink()
    assert record(tmp_path, 1) == 2
    assert "right_leader.yaml: " in (error := capsys.readouterr().err) and "real_envs.calibrate" in error
