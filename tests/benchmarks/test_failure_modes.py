"""Failures of imitation: exact ones against counting, learned ones after a third of the training, the program."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from act.data.labels import Kind, frame_kinds
from act.runtime.agents import PolicyAgent
from benchmarks.failure_modes import __main__ as program
from benchmarks.failure_modes import exact
from benchmarks.failure_modes.claims import CLAIMS, Claim
from benchmarks.failure_modes.learning import drive
from benchmarks.failure_modes.recipes import EXPERIMENTS, evaluate, run
from benchmarks.failure_modes.worlds import Corridor, Detour, Road, World

LEARNED = {
    "road": ("bc", "dart"),
    "detour": ("l2", "l1", "gmm", "sensor"),
    "corridor": ("sensor", "cue, more demos", "cue, history"),
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ------------------------------------------------------------------------------------------------------------- exact
def test_a_demonstration_without_choices_is_replayed_step_by_step():
    demonstrated = exact.LENGTH + exact.PAUSE
    assert exact.steps_past_pause(100, "l1", "chunk") == demonstrated == exact.steps_past_pause(100, "l2", "chunk")


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_one_action_of_every_chunk_never_leaves_the_pause(loss: str):
    assert exact.steps_past_pause(1, loss, "chunk") == -1 == exact.steps_past_pause(100, loss, "first")


# ------------------------------------------------------------------------------------------------------------ worlds
@pytest.mark.parametrize("world", [Road(), Detour(), Detour(side_visible=True), Corridor(), Corridor((0, 4), wait=8)])
def test_the_expert_succeeds_with_and_without_noise(world: World):
    for noise in (0.0, 0.01):
        assert world.measure(drive(world, None, 50, rng(), noise).states)["success"] == 1


class Constant:
    """Always the same chunk of one action."""

    chunk_size, n_obs_steps, needs_images = 1, 1, False

    def __init__(self, *action: float):
        self.action = np.array(action)

    def predict_chunk(self, histories):
        return np.broadcast_to(self.action, (len(histories), 1, len(self.action)))


def test_straight_ahead_hits_the_disc_and_the_episode_ends_there():
    visit = drive(Detour(), PolicyAgent(Constant(1.0, 0.0)), 20, rng())
    assert Detour().measure(visit.states) == {"success": 0, "above": 0, "below": 0, "coverage": 0}
    assert np.array_equal(visit.states[:, -1], visit.states[:, 25]) and not visit.alive[:, 25].any()
    assert all(len(episode) == alive.sum() < 20 for episode, alive in zip(visit.episodes(), visit.alive, strict=True))


def test_coverage_is_one_for_the_experts_and_their_majoritys_share_for_one_side():
    states = drive(Detour(), None, 60, rng()).states
    assert Detour().measure(states)["coverage"] == pytest.approx(1)
    above = states[np.flatnonzero(states[:, 0, 3] > 0)]
    assert Detour().measure(above)["coverage"] == pytest.approx(2 / 3)


def test_dart_executes_noise_and_records_what_the_expert_meant():
    road = Road()
    visit = drive(road, None, 20, rng(), noise=0.0, jitter=1.0)
    assert np.abs(visit.states[:, :, 0]).max() > 0.02
    meant = [road.expert(visit.states[:, t], t) for t in range(visit.action.shape[1])]
    assert np.allclose(visit.action, np.stack(meant, 1))


def test_labels_of_chunks_are_plans_of_the_expert_and_not_its_answers_one_by_one():
    world = Detour()
    alone = drive(world, None, 6, rng())
    for episode, path in zip(alone.labelled(world, 5), alone.action, strict=True):
        assert episode.action_chunk is not None and np.allclose(episode.action_chunk[7], path[7:12])
    visit = drive(world, PolicyAgent(Constant(1.0, 0.0)), 6, rng())
    (episode, *_), (plain, *_) = visit.labelled(world, 5), visit.episodes()
    assert episode.action_chunk is not None and not np.allclose(episode.action_chunk[3], plain.action[3:8], atol=0.01)
    assert (frame_kinds(episode) == Kind.LABELLED).all() and np.allclose(episode.action_chunk[:, 0], plain.action)


def test_the_learner_sees_the_goal_only_while_it_is_shown_and_with_history_longer():
    world = Corridor(shown=(0, 4), wait=8)
    for history, until in ((1, 4), (8, 11)):
        seen = drive(world, None, 10, rng(), history=history).env_state
        assert seen.shape[-1] == 3 + 4 * (history - 1)
        shows = np.asarray(np.isclose(np.abs(seen), world.GOAL).any(axis=-1))
        waiting = shows[:, : world.wait]  # later one's own place is as far out as the goal
        assert waiting[:, :until].all() and not waiting[:, until:].any()


# ----------------------------------------------------------------------------------------------------------- learning
@pytest.fixture(scope="module")
def learned() -> dict[str, dict[str, dict[str, list[float]]]]:
    """Some conditions at a third of their training, one seed."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for experiment, conditions in LEARNED.items():
        for condition in conditions:
            outcome = run((experiment, condition, 0, True))
            found.setdefault(experiment, {})[condition] = {key: [value] for key, value in outcome.items()}
    return found | {"exact": exact.outcomes()}


QUICK = [
    claim for claim in CLAIMS if claim.condition in LEARNED.get(claim.experiment, ()) or claim.experiment == "exact"
]


@pytest.mark.parametrize("claim", QUICK, ids=lambda claim: claim.text)
def test_a_claim_holds(claim: Claim, learned):
    assert claim.judge(learned)["holds"], claim.judge(learned)


def test_a_claim_can_fail(learned):
    road = learned["road"]
    swapped = {"road": {"bc": road["dart"], "dart": road["bc"]}}
    survival = [claim for claim in QUICK if claim.experiment == "road" and claim.measure != "error"]
    assert len(survival) == 2 and not any(claim.judge(swapped)["holds"] for claim in survival)


def test_dagger_brings_the_car_back():
    outcome = evaluate(replace(EXPERIMENTS["road"]["dagger"].quick(), rounds=1, per_round=8), 0)
    assert outcome["round 0"] < 0.4 and outcome["round 1"] == outcome["success"] > 0.9


def test_the_same_seed_gives_the_same_numbers_also_where_chance_acts(learned):
    outcome = run(("detour", "gmm", 0, True))
    assert {key: [value] for key, value in outcome.items()} == learned["detour"]["gmm"]


# -------------------------------------------------------------------------------------------------------- the program
def test_the_program_judges_every_claim_and_says_when_one_fails(tmp_path: Path, monkeypatch, capsys):
    keys = {"success", "below", "coverage", "error", "alive at 200", *(f"round {n}" for n in range(5))}
    results = {e: {c: {key: [0.5] for key in keys} for c in recipes} for e, recipes in EXPERIMENTS.items()}
    results |= {"exact": exact.outcomes()}
    monkeypatch.setattr(program, "measure", lambda options: results)
    flags = ["--out", str(tmp_path)]
    assert program.program(flags) == 1
    assert capsys.readouterr().out.count("FAILS") > 10
    written = json.loads((tmp_path / "failure_modes.json").read_text())
    assert len(written["claims"]) == len(CLAIMS) and written["results"]["road"]["bc"]["success"] == [0.5]
    monkeypatch.setattr(program, "CLAIMS", [claim for claim in CLAIMS if claim.judge(results)["holds"]])
    assert program.program(flags) == 0


def test_no_seeds_are_refused_with_one_sentence(capsys):
    assert program.program(["--seeds", "0"]) == 2
    assert "--seeds 0" in capsys.readouterr().err


def test_every_claim_holds_for_the_committed_results():
    results = json.loads((Path(program.__file__).parents[1] / "results" / "failure_modes.json").read_text())["results"]
    assert [claim.text for claim in CLAIMS if not claim.judge(results)["holds"]] == []
    assert {name: set(recipes) for name, recipes in EXPERIMENTS.items()} == {n: set(results[n]) for n in EXPERIMENTS}
