"""The desk at which browsers' messages arrive: the lease, the checks, the limits."""

import logging

import numpy as np
import pytest

from sim_envs.teleop.messages import MAX_RATE, CommandFilter

SQUARE = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture
def sent():
    return []


@pytest.fixture
def clock():
    """What it says is its only item [s]."""
    return [5.0]


@pytest.fixture
def desk(sent, clock):
    desk = CommandFilter(sent.append, clock=lambda: clock[0])
    desk.grant(1)
    return desk


def test_one_browser_drives_the_others_watch(desk, sent):
    assert not desk.grant(2)
    assert not desk.receive(2, "engage")
    assert desk.receive(1, "engage")
    assert sent == [("engage",)]


def test_a_browser_that_leaves_stops_the_arms_and_frees_the_lease(desk, sent):
    desk.leave(2)
    assert sent == []
    desk.leave(1)
    assert sent == [("release",)]
    assert desk.grant(2)


def test_a_pose_arrives_as_a_pose(desk, sent):
    assert desk.receive(1, "aim", "left", np.array([0.1, 0.5, 0.2]), SQUARE)
    name, side, pose = sent[0]
    assert (name, side, pose.rotation.tolist()) == ("aim", "left", np.eye(3).tolist())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("aim", ("left", (np.nan, 0, 0), SQUARE)),
        ("aim", ("middle", (0, 0, 0), SQUARE)),
        ("aim", ("left",)),
        ("grip", ("left", float("inf"))),
        ("grip", ()),
        ("record", ("now",)),
        ("__class__", ()),
    ],
)
def test_nonsense_is_dropped_with_a_log_line(desk, sent, caplog, name, values):
    assert not desk.receive(1, name, *values)
    assert sent == []
    assert "dropped a message of browser 1" in caplog.text


def test_a_flood_is_dropped_with_one_log_line_a_second(desk, sent, clock, caplog):
    caplog.set_level(logging.WARNING)
    passed = [desk.receive(1, "engage") for _ in range(1000)]
    assert sum(passed) == len(sent) == MAX_RATE
    assert len(caplog.records) == 1
    clock[0] += 1.0
    assert desk.receive(1, "engage")
