"""Open cup has a lid that stays where it is put, counts only a tipped, held and opened cup, and its expert opens it."""

import numpy as np
import pytest

import sim_envs
from sim_envs.experts import make_agent
from sim_envs.experts.open_cup import ARM, BELOW, HINGE, prise
from sim_envs.robot import FINGERS
from sim_envs.task import resting_pose
from sim_envs.tasks.open_cup import BODY, CUP, OPEN, TIPPED, Task, clearance, lean, lid_angle

LEFT, RIGHT = FINGERS["left"], FINGERS["right"]


@pytest.fixture(scope="module")
def env():
    env = sim_envs.make("open_cup", cameras=())
    yield env
    env.close()


def about_y(angle: float) -> np.ndarray:
    """Quaternion (4,) of a turn by `angle` [rad] about the y axis."""
    return np.array([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0])


def cup_and_lid(tilt: float = 0.0, opened: float = 0.0, height: float = 0.03) -> np.ndarray:
    """Poses of a cup that leans to the left by `tilt` [rad] at `height` [m], and of its lid, open by `opened` [rad]."""
    return np.concatenate([[0.0, 0.5, height], about_y(-tilt), [0.0, 0.5, 0.058], about_y(-tilt - opened)])


def hold_still(env, env_state: np.ndarray, control_steps: int) -> tuple[dict, dict, float]:
    obs, info = env.reset(seed=0, options={"env_state": env_state})
    home, reward = np.clip(obs["qpos"], env.action_space.low, env.action_space.high), 0.0
    for _ in range(control_steps):
        obs, reward, _, _, info = env.step(home)
    return obs, info, reward


@pytest.mark.parametrize("opened", [0.0, 0.6, 1.5])
def test_friction_holds_the_lid_where_it_is_put(env, opened):
    obs, info, reward = hold_still(env, cup_and_lid(opened=opened), 50)
    assert lid_angle(obs["env_state"]) == pytest.approx(opened, abs=0.01)
    assert lean(obs["env_state"]) < 0.01
    assert reward == 0  # nobody holds the cup
    assert not info["strict_success"]


def test_a_cup_that_leans_by_15_degrees_falls_back_and_one_that_leans_by_45_falls_over(env):
    assert lean(hold_still(env, cup_and_lid(np.radians(15)), 50)[0]["env_state"]) < 0.1
    assert lean(hold_still(env, cup_and_lid(np.radians(45)), 50)[0]["env_state"]) > 1.0


def test_the_angles_of_cup_and_lid_are_independent():
    for tilt in (0.0, 0.3):
        for opened in (0.0, 1.2, 1.9):
            state = cup_and_lid(tilt, opened)
            assert (lean(state), lid_angle(state)) == (pytest.approx(tilt), pytest.approx(opened))


def test_the_clearance_is_that_of_the_lowest_corner():
    assert clearance(cup_and_lid()) == pytest.approx(0.0)
    assert clearance(cup_and_lid(np.pi / 2)) == pytest.approx(0.01)  # it lies in the air
    assert clearance(cup_and_lid(0.3, height=0.04)) < 0.04 - 0.03 * np.cos(0.3)


@pytest.mark.parametrize(
    ("tipped_before", "tilt", "opened", "height", "touching", "stage", "holds"),
    [
        (False, 0.0, 0.0, 0.03, (RIGHT,), 0, False),
        (False, TIPPED - 0.01, 0.0, 0.03, (RIGHT,), 0, False),
        (False, TIPPED + 0.01, 0.0, 0.03, (), 0, False),  # nobody has pushed it
        (False, TIPPED + 0.01, 0.0, 0.03, (LEFT,), 0, False),
        (False, TIPPED + 0.01, 0.0, 0.03, (RIGHT,), 1, False),
        (True, 0.2, 0.0, 0.034, (RIGHT, LEFT), 1, False),  # still on the table
        (True, 0.2, 0.0, 0.05, (RIGHT, LEFT), 2, False),
        (True, 0.2, OPEN - 0.01, 0.05, (LEFT,), 2, False),
        (True, 0.2, OPEN + 0.01, 0.05, (RIGHT, LEFT), 3, False),
        (True, 0.2, OPEN + 0.01, 0.05, (LEFT,), 3, True),
        (True, 0.0, OPEN + 0.01, 0.03, (LEFT,), 0, False),  # put down again
        (False, 0.1, OPEN + 0.01, 0.05, (LEFT,), 0, False),  # opened without having been tipped
    ],
)
def test_stages_follow_from_the_angles_and_from_what_touches(
    monkeypatch, tipped_before, tilt, opened, height, touching, stage, holds
):
    task = Task(np.random.default_rng(0))
    task.pushed = task.tipped = tipped_before
    task.best_stage = task.streak = 0
    monkeypatch.setattr(task, "touching", lambda physics, a, b: a in (BODY, CUP) and b in touching)
    monkeypatch.setattr(task, "_pushing", lambda physics: RIGHT in touching)
    monkeypatch.setattr(task, "env_state", lambda physics: cup_and_lid(tilt, opened, height))
    task.after_step(None)
    assert (task.current_stage, bool(task.streak)) == (stage, holds)


@pytest.mark.parametrize("area", [False, True])
def test_the_cup_starts_on_a_line_of_15_cm_or_in_an_area(area):
    rng = np.random.default_rng(0)
    task = Task(rng)
    task.area = area
    starts = np.stack([task.sample_objects(rng) for _ in range(500)])
    np.testing.assert_allclose(np.ptp(starts[:, :2], axis=0), (0.06, 0.18) if area else (0.0, 0.15), atol=4e-3)  # [m]
    assert bool(np.ptp(starts[:, 6]) > 0.2) == area  # turned about the vertical


def test_random_scenes_lift_and_tip_the_cup():
    rng = np.random.default_rng(1)
    task, resting = Task(rng), resting_pose(0.0, 0.5, 0.03)
    for _ in range(50):
        env_state = np.concatenate([resting, resting])
        task.bring_together(rng, env_state)
        assert 0.03 <= env_state[2] < 0.091
        assert 0.0 <= lean(env_state) < 0.51
        assert np.linalg.norm(env_state[3:7]) == pytest.approx(1.0)


def test_finger_tips_below_the_tab_lift_it_and_others_go_around_it():
    under = HINGE + np.array([ARM, 0.0, -BELOW])
    assert prise(under, 0.0, ready=1.0)[2] > under[2] + 0.005
    assert prise(under, 0.0, ready=0.0)[2] < under[2]  # the cup is still on its way
    assert prise(under + (0.0, 0.02, 0.0), 0.0, ready=1.0)[2] < under[2]  # beside the tab
    around = prise(HINGE + np.array([ARM, 0.0, 0.01]), 0.0, ready=1.0)  # above the tab
    assert around[0] > 0.034 and around[2] < HINGE[2]


@pytest.mark.parametrize(("style", "seed"), [("scripted", 0), ("human", 1)])
def test_the_expert_passes_every_stage_in_order_and_succeeds(env, style: str, seed: int):
    agent = make_agent("open_cup", style, seed)
    agent.reset(1)
    obs, info = env.reset(seed=seed)
    reached = []
    for _ in range(env.env_spec.episode_len):
        obs, reward, _, _, info = env.step(agent.select_action([obs])[0])
        if reward > max(reached, default=0):
            reached.append(reward)
        if info["strict_success"]:
            break
    assert reached == [1, 2, 3]
    assert info["strict_success"]
