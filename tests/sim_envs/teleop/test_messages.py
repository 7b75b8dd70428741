"""The filter of browsers' messages: who drives, which commands are valid, and how many are too many."""

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
    """Its only item is the time [s]."""
    return [5.0]


@pytest.fixture
def filter_(sent, clock):
    filter_ = CommandFilter(sent.append, clock=lambda: clock[0])
    filter_.grant(1)
    return filter_


def test_one_browser_drives_and_the_others_watch(filter_, sent):
    assert not filter_.grant(2)
    assert not filter_.receive(2, "engage")
    assert filter_.receive(1, "engage")
    assert sent == [("engage",)]


def test_a_browser_that_leaves_stops_the_arms_and_another_may_drive(filter_, sent):
    filter_.leave(2)
    assert sent == []
    filter_.leave(1)
    assert sent == [("release",)]
    assert filter_.grant(2)


def test_a_pose_arrives_as_a_pose(filter_, sent):
    assert filter_.receive(1, "aim", "left", np.array([0.1, 0.5, 0.2]), SQUARE)
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
def test_nonsense_is_dropped_with_a_log_line(filter_, sent, caplog, name, values):
    assert not filter_.receive(1, name, *values)
    assert sent == []
    assert "dropped a message of browser 1" in caplog.text


def test_a_flood_is_dropped_with_one_log_line_a_second(filter_, sent, clock, caplog):
    caplog.set_level(logging.WARNING)
    passed = [filter_.receive(1, "engage") for _ in range(1000)]
    assert sum(passed) == len(sent) == MAX_RATE
    assert len(caplog.records) == 1
    clock[0] += 1.0
    assert filter_.receive(1, "engage")
