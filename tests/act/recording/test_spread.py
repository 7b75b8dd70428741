"""The order of starts in which each is the farthest from all before it."""

import numpy as np

from act.recording.spread import farthest_first


def test_every_row_is_the_farthest_from_those_before_it() -> None:
    points = np.random.default_rng(0).random((40, 2))
    order = farthest_first(points)
    assert sorted(order) == list(range(40))
    scaled = points / points.std(axis=0)
    for n in range(1, 40):
        gaps = np.linalg.norm(scaled[:, None] - scaled[order[:n]], axis=2).min(axis=1)
        assert gaps[order[n]] == gaps.max()


def test_it_begins_in_the_middle_and_goes_to_the_corners() -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 100, 5))
    points = np.stack([x.ravel(), y.ravel(), np.full(25, 0.02)], axis=1)
    chosen = points[farthest_first(points)[:5], :2].tolist()
    assert chosen[0] == [0.5, 50.0] and sorted(chosen[1:]) == [[0.0, 0.0], [0.0, 100.0], [1.0, 0.0], [1.0, 100.0]]
