"""What is measured in episodes, which of them count as outliers, and what is said about a data set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.data.episodes import episode_path, find_episodes, read_episode, write_episode
from act.data.motion import jerk, largest_jump
from act.evaluation.dataset_findings import Finding, find, largest_gap
from act.evaluation.dataset_statistics import (
    EpisodeStatistics,
    frame_steps,
    measure,
    measure_episode,
    outlier_scores,
)

T = 200


def path_of_joints(length: int = T, still_start: int = 0, still_end: int = 0) -> np.ndarray:
    """(length, 14) joints that move all the time, but at the ends."""
    moving = 0.02 * np.arange(1, length - still_start - still_end + 1)
    values = np.concatenate([np.zeros(still_start), moving, np.full(still_end, moving[-1])])
    return np.tile(values[:, None], (1, 14)).astype(np.float32)


def picture(brightness: int, t: int) -> np.ndarray:
    image = np.full((32, 48, 3), brightness, np.uint8)
    image[t % 32] = brightness // 2
    return image


def write(folder: Path, index: int, **changed: Any) -> Path:
    joints = path_of_joints()
    start = np.array([0.05 * (index % 4), 0.4 + 0.05 * (index // 4), 0.02, 1, 0, 0, 0], np.float32)  # on a lattice
    images = {"top": [picture(200, t) for t in range(T)]}
    made = {
        "qpos": joints,
        "action": joints + 0.01 * (index + 1),
        "images": images,
        "env_state": np.tile(start, (T, 1)),
    }
    attrs = {"task_name": "toy", "strict_success": True, **changed.pop("attrs", {})}
    return write_episode(episode_path(folder, index), **made | changed, attrs=attrs)


def measured(folder: Path, **changed: Any) -> EpisodeStatistics:
    return measure_episode(read_episode(write(folder, 0, **changed)))


def findings(folder: Path, level: str) -> list[Finding]:
    return [finding for finding in find(measure(find_episodes(folder)), folder) if finding.level == level]


# ----------------------------------------------------------------------------------------------------------- measuring
def test_standing_still_is_measured_in_seconds_at_both_ends(tmp_path: Path) -> None:
    joints = path_of_joints(T, still_start=50, still_end=75)
    found = measured(tmp_path, qpos=joints, action=joints)
    assert found.still_start == pytest.approx(1.0) and found.still_end == pytest.approx(76 / 50)
    assert found.still == pytest.approx(126 / T) and found.still_within == 0


def test_a_stop_on_the_way_is_the_longest_still_stretch_inside(tmp_path: Path) -> None:
    joints = path_of_joints()
    joints[80:140] = joints[80]
    found = measured(tmp_path, qpos=joints, action=joints)
    assert (found.still_start, found.still_end) == (0, 0) and found.still_within == pytest.approx(60 / 50)


def test_jerk_is_the_third_derivative() -> None:
    t = np.arange(100)[:, None] * 0.02
    assert jerk(t**3, np.array([0])) == pytest.approx(6.0, rel=1e-3)
    assert jerk(t**2, np.array([0])) == pytest.approx(0.0, abs=1e-3) and jerk(t[:3], np.array([0])) == 0


def test_the_largest_jump_says_when_and_leaves_grippers_out(tmp_path: Path) -> None:
    joints = path_of_joints()
    joints[120:, 3] += 0.5
    joints[50:, 6] += 1.0
    found = measured(tmp_path, action=joints)
    assert found.jump == pytest.approx(0.52, abs=1e-4) and found.jump_t == 120
    assert largest_jump(joints[:1], np.array([0])) == (0.0, 0)


def test_cameras_that_are_stuck_or_dark_are_named(tmp_path: Path) -> None:
    images = {
        "stuck": [picture(200, 0)] * T,
        "dark": [picture(2, t) for t in range(T)],
        "fine": [picture(200, t) for t in range(T)],
    }
    found = measured(tmp_path, images=images)
    assert found.stuck == ("stuck",) and found.dark == ("dark",)


def test_episodes_without_poses_cameras_or_attributes_are_measured_too(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "mine.hdf5", qpos=np.zeros((3, 7)), action=np.zeros((3, 7)), images={})
    found = measure_episode(read_episode(path))
    assert (found.starts.shape, found.success, found.interventions) == ((0, 2), None, None)
    assert found.still == 1 and found.still_start == pytest.approx(0.06) and found.copied


def test_a_far_value_is_an_outlier_unless_the_distance_does_not_matter() -> None:
    values = np.array([400.0] * 20 + [520, 401])
    assert np.flatnonzero(np.abs(outlier_scores(values)) > 3.5).tolist() == [20]
    assert np.abs(outlier_scores(values, least=200)).max() < 3.5
    assert not outlier_scores(np.array([1.0, 1, 1, 9])).any(), "too few to say what is usual"
    spread = np.random.default_rng(0).normal(400, 40, 200)
    assert (np.abs(outlier_scores(spread)) > 3.5).sum() <= 1


def test_frames_are_evenly_spaced_and_none_comes_twice() -> None:
    assert frame_steps(400, 3) == [0, 200, 399] and frame_steps(2, 8) == [0, 1] and frame_steps(1) == [0]


def test_the_largest_gap_is_where_no_point_is() -> None:
    xs, ys = np.meshgrid(np.linspace(0, 1, 11), np.linspace(0, 1, 11))
    points = np.stack([xs.ravel(), ys.ravel()], axis=1)
    hole = points[np.linalg.norm(points - (0.3, 0.7), axis=1) > 0.25]
    radius, centre = largest_gap(hole)
    assert 0.25 < radius < 0.36 and np.linalg.norm(np.subtract(centre, (0.3, 0.7))) < 0.06


# ----------------------------------------------------------------------------------------------------------- sentences
def test_nothing_is_said_against_good_data(tmp_path: Path) -> None:
    for index in range(12):
        write(tmp_path, index)
    assert findings(tmp_path, "bad") == [] and findings(tmp_path, "look") == []
    good = " ".join(finding.text for finding in findings(tmp_path, "good"))
    assert "All 12 episodes end in success." in good and "Every episode takes 4.0 s." in good


@pytest.mark.parametrize(
    ("level", "changed", "text", "command"),
    [
        ("bad", {"attrs": {"strict_success": False}}, "Episode 3 did not succeed", "delete DIR 3 --out NEW"),
        ("bad", {"action": path_of_joints(), "qpos": path_of_joints()}, "the actions are the measured joints", ""),
        (
            "bad",
            {"images": {"top": [picture(9, 0)] * T}},
            "Camera top shows the same image while the arms",
            "delete DIR 3",
        ),
        ("bad", {"images": {"side": [picture(200, t) for t in range(T)]}}, "has cameras side, ", ""),
        (
            "bad",
            {"action": np.repeat([[0.0], [0.9]], T // 2, axis=0) * np.ones(14)},
            "0.90 rad at step 100 of episode 3",
            "",
        ),
        (
            "look",
            {"action": path_of_joints() + 0.004 * np.random.default_rng(0).normal(size=(T, 14))},
            "more jerkily",
            "",
        ),
        (
            "look",
            {"qpos": path_of_joints(T, 60), "action": path_of_joints(T, 60)},
            "more than 1 s before they",
            "trim DIR --still",
        ),
        (
            "look",
            {"qpos": path_of_joints(T, 0, 120), "action": path_of_joints(T, 0, 120)},
            "more than 2 s at the end",
            "trim DIR",
        ),
    ],
)
def test_every_fault_has_its_sentence_and_names_its_episode(
    tmp_path: Path, level: str, changed: dict[str, Any], text: str, command: str
) -> None:
    for index in range(12):
        write(tmp_path, index, **(dict(changed) if index == 3 else {}))
    found = [finding for finding in findings(tmp_path, level) if text in finding.text]
    assert len(found) == 1, [finding.text for finding in findings(tmp_path, level)]
    assert command.replace("DIR", str(tmp_path)) in found[0].command


def test_lengths_that_differ_are_named(tmp_path: Path) -> None:
    for index in range(9):
        write(tmp_path, index)
    long = path_of_joints(3 * T)
    write(
        tmp_path,
        9,
        qpos=long,
        action=long + 0.01,
        images={"top": [picture(200, t) for t in range(3 * T)]},
        env_state=None,
    )
    texts = [finding.text for finding in findings(tmp_path, "look")]
    assert any(text.startswith("Episode 9 differ") and "from 4.0 to 12.0 s" in text for text in texts)


def test_a_file_that_cannot_be_read_is_said_first_and_the_others_are_measured(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path, index)
    path = episode_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-700])
    data = measure(find_episodes(tmp_path))
    assert [episode.number for episode in data.episodes] == [0, 2]
    first = find(data, tmp_path)[0]
    assert first.level == "bad" and str(path) in first.text and first.command.endswith(f"repair {tmp_path}")


def test_starts_that_repeat_and_places_without_a_start_are_said(tmp_path: Path) -> None:
    same = np.tile(np.array([0.1, 0.5, 0.02, 1, 0, 0, 0], np.float32), (T, 1))
    for index in range(6):
        write(tmp_path, index, env_state=same)
    texts = [finding.text for finding in findings(tmp_path, "look")]
    assert any("starts at the same place in all episodes" in text for text in texts)
    for index in range(6):
        corner = same + np.array([0.2 * (index % 2), 0.01 * index, 0, 0, 0, 0, 0], np.float32)
        write(tmp_path, index, env_state=corner)
    texts = [finding.text for finding in findings(tmp_path, "look")]
    assert any("largest gap" in text and "record some starts there" in text for text in texts)


def test_corrected_failures_are_no_fault_and_their_share_is_said(tmp_path: Path) -> None:
    drove = np.arange(T) < T // 4
    for index in range(6):
        labels = {"executed_action": path_of_joints() + 0.01 * (index + 1), "intervention": drove}
        write(tmp_path, index, **labels, attrs={"strict_success": False})
    assert findings(tmp_path, "bad") == []
    assert any("drove 25 % of them" in finding.text for finding in findings(tmp_path, "good"))
