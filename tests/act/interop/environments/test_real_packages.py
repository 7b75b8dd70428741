"""The shipped adapters in the real packages: skipped where gym-aloha or aloha_sim is not installed.

The environments live in a worker process, because torch and the renderer of gym-aloha crash in one process.
"""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

import sim_envs
from act.interop.environments.opening import open_env
from act.runtime.envs import ParallelEnvs
from act.runtime.rollout import rollout
from act.workers import Worker, close_all
from benchmarks.gym_aloha import AT_REST, PlacedEnv, make_sampler, start_of
from sim_envs.random_scenes import SceneSampler

pytestmark = pytest.mark.slow
HOME = np.array([0, -0.96, 1.16, 0, -0.3, 0, 0.1] * 2)


@pytest.fixture(scope="module", params=["transfer_cube", "insertion"])
def placed(request: pytest.FixtureRequest) -> Iterator[tuple[str, ParallelEnvs]]:
    if find_spec("gym_aloha") is None:
        pytest.skip("gym-aloha is not installed")
    with ParallelEnvs(partial(PlacedEnv, request.param, AT_REST, cameras=("top",)), 1, 1) as envs:
        yield request.param, envs


def test_gym_aloha_starts_where_the_seed_puts_things_here(placed: tuple[str, ParallelEnvs]):
    task, envs = placed
    here = sim_envs.make(task, cameras=()).reset(seed=5)[0]
    there = envs.reset([5])[0][0]
    assert np.allclose(there["env_state"], here["env_state"]) and np.allclose(here["env_state"], start_of(task, 5))
    assert np.allclose(there["qpos"], HOME, atol=1e-3) and np.allclose(there["qpos"], here["qpos"], atol=1e-6)
    assert there["images"]["top"].shape == (480, 640, 3) and there["images"]["top"].std() > 10


def test_the_expert_of_the_simulator_here_wins_in_gym_aloha(placed: tuple[str, ParallelEnvs]):
    task, envs = placed
    (result,) = rollout(envs, sim_envs.make_expert(task), seeds=[3_000_000])
    assert result.success and result.max_reward == 4 and result.length < 300
    assert all(stage is not None for stage in result.stages)


@pytest.mark.skipif(find_spec("gym_aloha") is None, reason="gym-aloha is not installed")
def test_the_cube_is_red_in_gym_aloha_where_the_label_of_a_random_scene_says():
    worker, red = Worker(partial(make_sampler, "transfer_cube"), "sampler of scenes"), []
    try:
        for k in range(10):
            scene = worker.call(SceneSampler.sample, np.random.default_rng(k))
            x, y = np.round(scene.keypoints["top"][0]).astype(int)
            if scene.visible["top"][0]:
                patch = scene.images["top"][y - 2 : y + 3, x - 2 : x + 3].astype(int)
                red.append(bool(np.any(patch[..., 0] > 2 * patch[..., 1])))
    finally:
        close_all([worker], patience=0)
    assert len(red) > 5 and all(red)


@pytest.mark.skipif(find_spec("aloha_sim") is None, reason="aloha_sim is not installed")
def test_aloha_sim_holds_still_in_our_units():
    with ParallelEnvs(partial(open_env, "aloha_sim/LaptopClose"), 1, 1) as envs:
        start = envs.reset([0], images_due=False)[0][0]
        target = np.array([0, -0.96, 1.16, 0, -0.3, 0, 1] * 2, np.float32)
        (obs, reward, terminated, truncated, _info) = [envs.step(target[None], images_due=False) for _ in range(50)][
            -1
        ][0]
    assert np.allclose(start["qpos"][[6, 13]], 0, atol=0.05), "closed"
    assert np.allclose(obs["qpos"], target, atol=0.05), "open, and where the targets are"
    assert (reward, terminated, truncated) == (0, False, False)
