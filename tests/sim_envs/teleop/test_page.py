"""The page as people use it: over the network, through the proxy, with and without a browser that renders."""

import contextlib
import shutil
import time

import numpy as np
import pytest

import record_sim_episodes
import sim_envs
import train
from act.data.episodes import episode_path, read_episode
from act.data.repair import main as episodes_command
from sim_envs.kinematics import Kinematics
from sim_envs.teleop import session as session_module
from sim_envs.teleop.link import PageProcess
from sim_envs.teleop.messages import PageConfig
from sim_envs.teleop.session import Session

pytest.importorskip("viser", reason="the page needs viser: pip install -e '.[teleop]'")
from tests.fakes.teleop_people import Attended, Chromium, FakeBrowser

SQUARE = (1.0, 0.0, 0.0, 0.0)
FACING_LEFT = (0.0, 0.0, 0.0, 1.0)
HAND = (0.18, 0.5, 0.3)  # [m] about where the right hand is at home
KINEMATICS = Kinematics()
needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


# -- a whole recording, with the program ------------------------------------------------------------------------------


@pytest.mark.parametrize("browser_type", [FakeBrowser, pytest.param(Chromium, marks=needs_chromium)])
def test_an_operator_drags_the_gizmos_through_a_whole_transfer_and_training_takes_the_episode(
    browser_type, tmp_path, monkeypatch, capsys
):
    if browser_type is Chromium:
        pytest.importorskip("playwright", reason="driving chromium needs playwright: pip install -e '.[dev]'")
    monkeypatch.setattr(session_module, "Session", Attended)
    monkeypatch.setattr(Attended, "browser_type", browser_type)
    data = ["--task_name", "sim_transfer_cube_human", "--dataset_dir", str(tmp_path)]
    images = ["--cameras", "cam_high", "--image_size", "24", "32"]
    assert record_sim_episodes.main([*data, *images, "--agent", "human", "--num_episodes", "1", "--port", "0"]) == 0
    assert "open http://127.0.0.1:" in capsys.readouterr().out
    assert episodes_command(["validate", str(tmp_path)]) == 0
    episode = read_episode(episode_path(tmp_path, 0))
    assert episode.attrs["strict_success"] and episode.reward is not None
    assert episode.reward.max() == 4, "the page has shown all four stages as reached"
    assert episode.attrs["source"] == "operator"
    assert episode.image_size == (24, 32)
    shutil.copy(episode.path, episode_path(tmp_path, 1))  # one for training, one for validation
    flags = ["--preset", "state", *data, "--run_dir", str(tmp_path / "run")]
    flags += ["--steps", "1", "--batch_size", "2", "--device", "cpu", "--hidden_dim", "16", "--dim_feedforward", "16"]
    assert train.main(flags) == 0


# -- failures and attacks ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page():
    task = sim_envs.load("transfer_cube")
    with PageProcess(PageConfig("transfer_cube", task.scene, task.stage_names, (), gated=False, port=0)) as page:
        yield page


@pytest.fixture
def session(page):
    return Session(sim_envs.make("transfer_cube", cameras=()), page)


@contextlib.contextmanager
def browsing(page):
    browser = FakeBrowser(page.url)
    try:
        yield browser
    finally:
        browser.close()


def live(session, seconds):
    """Runs the loop in real time; returns the right hand's positions (steps, 3) [m]."""
    end, positions = time.monotonic() + seconds, []
    while time.monotonic() < end:
        session.tick(0.0)
        positions.append(KINEMATICS.hands(session.obs["qpos"])["right"].position)
        time.sleep(0.01)
    return np.array(positions)


def live_until(session, condition, seconds=60.0):
    """Runs the loop until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition did not hold within {seconds} s"
        live(session, 0.02)


def travel(positions):
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


def start_to_drag(session, browser):
    """Returns while the right hand moves towards a place that it does not reach soon."""
    live_until(session, browser.ready)
    browser.grab("right")
    live_until(session, lambda: session.operator.engaged)
    browser.drag({"right": (0.18, 0.8, 0.1, *FACING_LEFT)})
    start = session.obs["qpos"]
    live_until(session, lambda: np.abs(session.obs["qpos"] - start).max() > 0.05)


def test_a_killed_browser_stops_the_motion_at_once_and_the_next_one_may_drive(page, session):
    with browsing(page) as browser:
        start_to_drag(session, browser)
        browser.vanish()
        live(session, 0.2)
        assert travel(live(session, 0.3)) < 0.002
        assert not session.operator.engaged
    with browsing(page) as browser:
        start_to_drag(session, browser)


def test_a_browser_that_goes_silent_stops_the_motion(page, session):
    with browsing(page) as browser:
        start_to_drag(session, browser)
        browser.answering = False
        live(session, 0.3)  # its last answer may be on the way
        assert travel(live(session, 0.3)) < 0.002


def test_a_second_browser_watches_until_the_first_is_gone(page, session):
    with browsing(page) as first, browsing(page) as second:
        live_until(session, first.ready)
        live_until(session, lambda: "Someone else is driving" in second.text())
        second.grab("left")
        second.drag({"left": (*HAND, *SQUARE)})
        live(session, 0.2)
        assert not session.operator.engaged
        assert not second.nodes
        first.vanish()
        while not second.ready():  # the page has to notice first that nobody drives
            second.press("Drive")
            live(session, 0.2)


INVALID_POSES = {
    "numbers": [(float("nan"), 0.5, 0.3, *SQUARE), (0, 0.5, float("-inf"), *SQUARE), (900, 0.5, 0.3, *SQUARE)],
    "no turn": [(*HAND, 0, 0, 0, 0), (*HAND, 1, 2, 3, 4)],
    "no numbers": [("a", "b", "c", *SQUARE), (1.0, 2.0), ({}, None, [[]], (), (), (), ())],
}


@pytest.mark.parametrize("poses", INVALID_POSES.values(), ids=INVALID_POSES.keys())
def test_invalid_poses_move_nothing_and_the_page_goes_on(page, session, poses):
    with browsing(page) as browser:
        live_until(session, browser.ready)
        browser.grab("right")
        live_until(session, lambda: session.operator.engaged)
        goal = session.operator.goals(session.obs["qpos"])["right"].position
        for pose in poses:
            browser.drag({"right": pose})
        live(session, 0.2)
        np.testing.assert_allclose(session.operator.goals(session.obs["qpos"])["right"].position, goal, atol=2e-3)
    with browsing(page) as browser:
        live_until(session, browser.ready)


def test_malformed_messages_and_a_flood_do_not_reach_the_loop(page, session):
    with browsing(page) as browser:
        live_until(session, browser.ready)
        for _ in range(2000):
            browser.drag({"right": (*HAND, *SQUARE)})
        browser.send_bytes(b"\x00garbage\xff")
        commands, show = [], session.link.commands
        session.link.commands = lambda: [commands.append(c) or c for c in show()]
        live(session, 1.0)
        del session.link.commands
        assert len(commands) < 2 * 200 + 50
    with browsing(page) as browser:
        live_until(session, browser.ready)
