"""Success by distance from the demonstrations: the distances, the table, and the circles on the page."""

import json
from pathlib import Path

import pytest

from act.evaluation import coverage
from act.evaluation.charts import Placement, region_zoom
from act.run_folder import RunFolder

POSE = [0.02, 1.0, 0.0, 0.0, 0.0]  # height, and a quaternion


def results(*places: tuple[float, float], lost: int = 0) -> dict:
    """Rollouts of one object; the last `lost` of them fail."""
    rollouts = [{"env_state0": [x, y, *POSE], "success": i < len(places) - lost} for i, (x, y) in enumerate(places)]
    return {"episodes": rollouts}


def test_the_nearest_training_episode_counts():
    found = coverage.distances(results((0.0, 0.5), (0.1, 0.5)), [[0.0, 0.5, *POSE], [0.13, 0.54, *POSE]])
    assert found.tolist() == pytest.approx([0.0, 0.05])


def test_of_several_objects_the_farthest_counts_each_beside_its_own_nearest_episode():
    rollout = {"episodes": [{"env_state0": [0.0, 0.5, *POSE, 0.2, 0.5, *POSE], "success": True}]}
    starts = [[0.0, 0.5, *POSE, 0.3, 0.5, *POSE], [0.4, 0.5, *POSE, 0.2, 0.53, *POSE]]
    assert coverage.distances(rollout, starts).tolist() == pytest.approx([0.03])


def test_starts_that_do_not_fit_the_rollouts_give_nothing():
    assert not coverage.distances(results((0.0, 0.5)), []).size
    assert not coverage.distances(results((0.0, 0.5)), [[0.0, 0.5, *POSE] * 2]).size
    assert coverage.rates(results((0.0, 0.5)), []) == []


def test_success_is_counted_for_each_range_from_near_to_far():
    near, far = [(0.0, 0.5)] * 3, [(0.0, 0.525), (0.0, 0.54)]
    found = coverage.rates(results(*near, *far, lost=2), [[0.0, 0.5, *POSE]])
    assert [(rate.name, rate.successes, rate.n) for rate in found] == [
        ("0 to 1 cm", 3, 3),
        ("2 to 3 cm", 0, 1),
        ("over 3 cm", 0, 1),
    ]


def test_a_circle_stands_where_a_training_episode_began_if_it_is_in_the_region():
    drawn = region_zoom([Placement(0.0, 0.5, True), Placement(0.1, 0.6, False)], [(0.05, 0.55), (2.0, 2.0)])
    assert drawn.count('class="start"') == 1 and 'class="start"' not in region_zoom([Placement(0.0, 0.5, True)])


@pytest.mark.parametrize("content", [{"train": [["a"]]}, {"train": 3}, {"train": [[float("nan")]]}, {}])
def test_starts_of_another_form_are_refused_by_name(content: dict, tmp_path: Path):
    (tmp_path / "starts.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"starts\.json"):
        RunFolder(tmp_path).starts()
    (tmp_path / "starts.json").unlink()
    assert RunFolder(tmp_path).starts() == []
