"""The cards of runs and data sets say what holds, in a form that the Hub reads, and never write over somebody's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from act.data.editing.copying import copy_episode
from act.data.editing.folders import make_copy
from act.data.episodes import episode_path
from act.evaluation.card import lerobot_model_card, main, write_model_card
from act.evaluation.card_text import MARK
from act.evaluation.dataset_card import write_dataset_card
from act.files import write_json
from act.run_folder import RunFolder
from tests.act.evaluation.test_dataset_statistics import T, write
from tests.act.evaluation.test_report import write_run

ABOUT = {
    "policy": "act",
    "config": {"chunk_size": 60},
    "spec": {"cameras": ["top"], "image_size": [240, 320], "qpos_dim": 14, "action_dim": 14, "env_state_dim": 0},
    "train": {"task_name": "sim_transfer_cube_scripted", "dataset_dir": "/home/ada/data/cube", "steps": 9000},
    "backbone_weights": "sim",
    "demo_style": "scripted",
    "step": 8000,
    "seed": 3,
    "git": "329d63e",
}


def run_folder(path: Path, n: int = 200, **about: Any) -> RunFolder:
    run = RunFolder(path)
    path.mkdir(parents=True)
    run.weights.write_bytes(b"weights")
    write_json(path / "policy.json", ABOUT | about)
    write_run(path, n=n, weights=run.digest())
    return run


def head_of(card: Path | None) -> dict[str, Any]:
    """The values between the two lines `---`; every one is JSON, which is YAML."""
    assert card is not None
    _, front, _ = card.read_text().split("---\n", 2)
    pairs = (line.split(": ", 1) for line in front.splitlines())
    return {name: json.loads(value) for name, value in pairs}


def test_the_card_of_a_run_says_success_with_its_interval(tmp_path: Path) -> None:
    card = write_model_card(run_folder(tmp_path / "demo"))
    assert card is not None and card == tmp_path / "demo" / "README.md"
    head = head_of(card)
    text = card.read_text()
    assert "| transfer_cube | chunk, test seeds | 200 | 80.0 % (73.9-85.0) | 80.0 % (73.9-85.0) |" in text
    (result,) = head["model-index"][0]["results"]
    assert (
        result["metrics"][0]["value"] == 80.0 and "95 % interval 73.9 to 85.0, n = 200" in result["metrics"][0]["name"]
    )
    assert head["license"] == "mit" and "act" in head["tags"]
    for fact in (
        "| preset | None |",
        "8000 of 9000",
        "| training seed | 3 |",
        "329d63e",
        "top at 240x320",
        "cube (scripted)",
    ):
        assert fact in text
    assert "/home/ada" not in text, "paths of the machine are nobody's business"


def test_few_rollouts_are_called_preliminary(tmp_path: Path) -> None:
    card = write_model_card(run_folder(tmp_path / "demo", n=50))
    assert card and "50 (preliminary)" in card.read_text()


def test_results_of_other_weights_are_not_on_the_card(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "demo")
    run.weights.write_bytes(b"trained further")
    card = write_model_card(run)
    assert card and "80.0 %" not in card.read_text() and "have not been evaluated yet" in card.read_text()
    assert "model-index" not in head_of(card)


def test_a_policy_that_sees_object_poses_says_so(tmp_path: Path) -> None:
    card = write_model_card(run_folder(tmp_path / "demo", spec={"env_state_dim": 7, "qpos_dim": 14, "action_dim": 14}))
    assert card and "only a simulator knows" in card.read_text() and "(privileged)" in card.read_text()


def test_the_card_of_a_data_set_says_what_it_holds(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / "cube", index, attrs={"source": "scripted", "seed": 10 + index, "strict_success": index > 0})
    card = write_dataset_card(tmp_path / "cube")
    assert card is not None
    for fact in (
        f"3, {3 * T} control steps, 0.2 min",
        "| strict success | 2 of 3 |",
        "| seeds | 10 to 12 |",
        "top at 32x48",
    ):
        assert fact in card.read_text()
    assert head_of(card)["license"] == "mit" and head_of(card)["pretty_name"] == "cube"


def test_the_licence_of_a_persons_episodes_is_for_them_to_choose(tmp_path: Path) -> None:
    write(tmp_path / "mine", 0, attrs={"source": "operator"})
    card = write_dataset_card(tmp_path / "mine")
    assert card and head_of(card)["license"] == "other" and "The people who drove decide" in card.read_text()


def test_an_edited_data_set_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "cube", 0)
    copy_episode(make_copy("trim", path, 0, (10, 50)), episode_path(tmp_path / "short", 0))
    card = write_dataset_card(tmp_path / "short")
    assert card and "| edited with | trim |" in card.read_text() and "1, 40 control steps" in card.read_text()


def test_names_from_files_cannot_break_the_card(tmp_path: Path) -> None:
    write(tmp_path / "cube", 0, attrs={"source": "a | b\n---\nlicense: none <script>"})
    card = write_dataset_card(tmp_path / "cube")
    assert card and head_of(card)["license"] == "other"
    assert "| who drove | a \\| b --- license: none &lt;script> |" in card.read_text()


def test_a_card_is_written_again_until_somebody_makes_it_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path / "cube", 0)
    assert main([str(tmp_path / "cube")]) == 0
    write(tmp_path / "cube", 1)
    assert main([str(tmp_path / "cube")]) == 0
    card = tmp_path / "cube" / "README.md"
    assert f"2, {2 * T} control steps" in card.read_text()
    card.write_text(card.read_text().replace(MARK, "") + "\nMine.\n")
    assert main([str(tmp_path / "cube")]) == 0
    assert card.read_text().endswith("Mine.\n") and "is your own; it stays as it is" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "message"), [([], "no folder is given"), (["."], "has neither policy.json nor")])
def test_wrong_input_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_chosen_licence_stays_when_the_card_is_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path / "demo")
    assert write_model_card(run) is not None and 'license: "mit"' in (run.path / "README.md").read_text()
    assert main([str(run.path), "--licence", "apache-2.0"]) == 0
    for _ in range(2):  # eval.py writes the card again
        text = (run.path / "README.md").read_text()
        assert 'license: "apache-2.0"' in text and text.endswith("apache-2.0, chosen by those who share it.\n")
        write_model_card(run)
    assert main([str(run.path), "--licence", "Do what you want"]) == 2
    assert "give the Hub's name" in capsys.readouterr().err


def test_the_card_of_a_lerobot_checkpoint_has_the_results_and_the_licence_of_the_run(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "demo")
    assert main([str(run.path), "--licence", "apache-2.0"]) == 0
    (tmp_path / "card.md").write_text(lerobot_model_card(run))
    head, text = head_of(tmp_path / "card.md"), (tmp_path / "card.md").read_text()
    assert (head["library_name"], head["license"], head["tags"][-1]) == ("lerobot", "apache-2.0", "lerobot")
    assert "80.0 % (73.9-85.0)" in text and "those of the run before its export" in text
    own = head_of(run.path / "README.md")
    assert own["library_name"] == "act-aloha" and "lerobot" not in own["tags"]
