"""The experts' benchmark: pushes that have nothing to do with where the objects lie, and input that cannot work."""

import numpy as np
import pytest

import sim_envs
from benchmarks import experts


@pytest.mark.parametrize("task", ["transfer_cube", "insertion"])
def test_a_push_does_not_follow_from_the_start(task: str):
    env, starts, pushes = sim_envs.make(task, cameras=()), [], []
    for seed in range(experts.FIRST_SEED, experts.FIRST_SEED + 120):
        starts.append(env.reset(seed=seed)[0]["env_state"])
        t, body, velocity = experts.push_of(seed, env.task.objects)
        pushes.append([t, env.task.objects.index(body), *velocity[:2]])
    speeds = np.hypot(*np.array(pushes)[:, 2:].T)
    assert 0.3 <= speeds.min() < 0.32 and 0.48 < speeds.max() <= 0.5
    columns = [np.array(rows).T for rows in (starts, pushes)]
    varied = [[column for column in part if np.ptp(column) > 1e-6] for part in columns]
    assert len(varied[1]) == 3 + (len(env.task.objects) > 1)
    assert max(abs(np.corrcoef(a, b)[0, 1]) for a in varied[0] for b in varied[1]) < 0.4


def test_a_folder_is_no_place_for_a_result(tmp_path):
    with pytest.raises(ValueError, match="is a folder; give a file"):
        experts.measure(experts.Options(out=tmp_path))
