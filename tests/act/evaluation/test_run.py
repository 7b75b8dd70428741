"""What surrounds the rollouts of an evaluation: cameras, number of environments, fit of policy and task, settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from act.evaluation.execution import Execution
from act.evaluation.run import cameras_for, check_objects, default_num_envs, policy_settings, rollout_settings
from act.types import EnvSpec, PolicySpec


class Policy:
    chunk_size, n_obs_steps = 6, 1
    about = {"engine": "torch"}  # noqa: RUF012

    def __init__(self, spec: PolicySpec):
        self.spec = spec

    @property
    def needs_images(self) -> bool:
        return bool(self.spec.cameras)

    def predict_chunk(self, histories) -> np.ndarray:
        return np.zeros((len(histories), self.chunk_size, 14), np.float32)


def test_a_policy_that_knows_other_objects_is_refused():
    policy, spec = Policy(PolicySpec(env_state_dim=7)), EnvSpec("insertion", (), 400)
    two_objects = replace(spec, objects=("peg", "socket"))
    check_objects(policy, replace(spec, objects=("cube",)), "transfer_cube")
    with pytest.raises(ValueError, match=r"sees 7 numbers of object poses, insertion has 14: leave --task_name out"):
        check_objects(policy, two_objects, "transfer_cube")
    check_objects(Policy(PolicySpec()), two_objects, "transfer_cube")


def test_environments_render_what_the_policy_sees_at_the_size_of_its_demonstrations():
    sees = Policy(PolicySpec(("top",), image_size=(120, 160), recorded_size=(480, 640)))
    assert cameras_for(sees, videos=0) == (("top",), (480, 640))
    blind = Policy(PolicySpec(env_state_dim=7))
    assert cameras_for(blind, videos=0)[0] == () and len(cameras_for(blind, videos=1)[0]) == 2


def test_environments_fill_their_waves_evenly():
    assert default_num_envs(50, 2, True) == 13
    assert default_num_envs(3, 2, True) == 3
    assert default_num_envs(200, 2, True) == 16
    assert default_num_envs(200, 2, False) == 100
    assert default_num_envs(150, 1, False) == 50


def test_settings_describe_policy_and_rollouts_in_the_order_of_older_results():
    about = {"policy": "act", "train": {"task_name": "sim_toy_scripted"}, "backbone_weights": "sim", "step": 7}
    about |= {"seed": 3, "git": "c0ffee"}
    first = "run policy preset backbone_weights trained_on demo_style step train_seed train_commit weights"
    assert list(policy_settings(Path("runs/x"), about, "0123")) == first.split()
    sees = Policy(PolicySpec(("top",), (24, 32)))
    settings = rollout_settings("toy", Execution("ensemble", 2, 0.1), sees, "validation", "remote")
    second = "task mode chunk_size n_action_steps ensemble_m seed_set device engine server cameras image_size"
    assert list(settings) == second.split()
    assert (settings["n_action_steps"], settings["ensemble_m"], settings["device"]) == (2, 0.1, "cpu")
    plain = rollout_settings("toy", Execution("chunk"), Policy(PolicySpec()), "test")
    assert (plain["n_action_steps"], plain["ensemble_m"]) == (6, None)
    assert not plain.keys() & {"engine", "server", "cameras", "image_size"}
