"""The benchmark of the experts: episodes, pushes that are independent of the start, and wrong input."""

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


def test_an_episode_is_that_of_a_new_expert_with_its_seed():
    options = experts.Options(style="human")
    plain = experts.measure(options, range(3_000_005, 3_000_008))
    assert (plain["success"], plain["num"], plain["failed_seeds"], plain["clipped_steps"]) == (3, 3, [], 0)
    env, expert = sim_envs.make(options.task, cameras=()), sim_envs.make_expert(options.task, "human", 3_000_007)
    expert.reset(1)
    obs, _ = env.reset(seed=3_000_007)
    rewards = []
    while len(rewards) < env.env_spec.episode_len:
        obs, reward, *_ = env.step(expert.select_action([obs])[0])
        rewards.append(reward)
    alone = experts.measure(options, [3_000_007])
    assert alone["last_success_t"] == rewards.index(env.env_spec.max_reward)


def test_a_push_moves_one_object_from_its_control_step_on():
    alone, pushed = (sim_envs.make("insertion", cameras=()) for _ in range(2))
    pushed = experts.Push(pushed)
    (obs, _), (same, _) = alone.reset(seed=3_000_003), pushed.reset(seed=3_000_003)
    push_t, body, _ = experts.push_of(3_000_003, ("peg", "socket"))
    for t in range(push_t + 2):
        np.testing.assert_array_equal(obs["env_state"], same["env_state"], err_msg=f"before control step {t}")
        if t == push_t:
            break
        obs, same = alone.step(obs["qpos"])[0], pushed.step(obs["qpos"])[0]
    moved = np.abs(alone.step(obs["qpos"])[0]["env_state"] - pushed.step(obs["qpos"])[0]["env_state"]).reshape(2, 7)
    assert (moved[:, :2].max(axis=1) > 0.001).tolist() == [
        name == body for name in alone.get_wrapper_attr("task").objects
    ]


def test_wrong_input_is_one_sentence(capsys: pytest.CaptureFixture[str]):
    assert experts.program(["--num", "0"]) == 2
    assert "--num 0: give at least 1" in capsys.readouterr().err
    assert experts.program(["--task", "chess"]) == 2
    assert "'chess'" in capsys.readouterr().err
    assert experts.program(["--first_seed", "2999999"]) == 2
    assert "--first_seed 2999999: give at least 3000000" in capsys.readouterr().err


def test_the_seeds_begin_where_the_flag_says(capsys: pytest.CaptureFixture[str]):
    assert experts.program(["--num", "1", "--first_seed", "3000042"]) == 0
    assert "first_seed: 3000042\nnum: 1\n" in capsys.readouterr().out
