"""How chunks are executed: the agent, the folder's name, the name in tables, and the way back from results.json."""

from typing import Any

import numpy as np
import pytest

from act.evaluation.execution import Execution

M_0_1 = Execution("ensemble", ensemble_m=0.1)


class Policy:
    chunk_size, n_obs_steps, needs_images = 6, 1, False

    def predict_chunk(self, histories: Any) -> np.ndarray:
        return np.zeros((len(histories), self.chunk_size, 14), np.float32)


@pytest.mark.parametrize(
    ("execution", "arguments", "folder"),
    [
        (Execution("chunk"), {}, "test_chunk"),
        (Execution("ensemble"), {}, "test_ensemble"),
        (Execution("chunk", 20), {"seed_set": "validation"}, "validation_chunk_every20"),
        (Execution("ensemble", 4), {}, "test_ensemble_every4"),
        (M_0_1, {"engine": "int8", "other_task": "insertion"}, "test_ensemble_m0.1_int8_insertion"),
        (Execution("chunk"), {"engine": "remote"}, "test_chunk_remote"),
    ],
)
def test_the_folder_says_what_differs_from_the_defaults(execution: Execution, arguments: dict, folder: str):
    assert execution.folder(**arguments) == folder


@pytest.mark.parametrize(
    ("execution", "name"),
    [
        (Execution("chunk"), "chunk"),
        (Execution("chunk", 20), "chunk, every 20 steps"),
        (Execution("ensemble", 4, 0.1), "ensemble, every 4 steps, m 0.1"),
    ],
)
def test_tables_name_an_execution_in_words(execution: Execution, name: str):
    assert str(execution) == name


def test_the_agent_asks_and_weighs_as_the_execution_says():
    chunk, ensemble = Execution("chunk").agent(Policy()), Execution("ensemble", ensemble_m=0.3).agent(Policy())
    assert (chunk.n_action_steps, chunk.ensemble) == (6, None)
    assert ensemble.n_action_steps == 1 and ensemble.ensemble is not None and ensemble.ensemble.m == 0.3
    assert Execution("ensemble", 4).agent(Policy()).n_action_steps == 4
    with pytest.raises(ValueError, match="chunk_size, 6"):
        Execution("chunk", 7).agent(Policy())


@pytest.mark.parametrize(
    "execution", [Execution("chunk"), Execution("chunk", 2), Execution("ensemble"), Execution("ensemble", 4, 0.0)]
)
def test_the_settings_of_results_give_the_execution_back(execution: Execution):
    agent = execution.agent(Policy())
    settings = {"mode": execution.mode, "chunk_size": 6, "n_action_steps": agent.n_action_steps}
    assert Execution.from_settings({**settings, "ensemble_m": execution.m}) == execution


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("best",), "unknown mode 'best'; available: chunk, ensemble"),
        (("chunk", 0), "n_action_steps 0: give at least 1"),
        (("ensemble", None, float("-inf")), "ensemble_m -inf: give a finite number"),
        (("ensemble", None, float("nan")), "ensemble_m nan"),
        (("chunk", None, 5.0), "ensemble_m 5 has an effect only with mode 'ensemble'; leave it out"),
    ],
)
def test_an_impossible_execution_is_refused(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        Execution(*arguments)
