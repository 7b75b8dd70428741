"""Damaged files, hostile messages and killed programs change nothing; and the programme notices when that is not so."""

from pathlib import Path

import numpy as np
import pytest

from act.data.inspection import Finding
from benchmarks.faults import damages, kills, messages
from benchmarks.faults.__main__ import main


@pytest.mark.slow
def test_300_random_damages_are_refused_or_change_nothing(tmp_path: Path) -> None:
    found = list(damages.run_damages(tmp_path, 300, seed=1))
    assert len(found) == 300 and [each for each in found if each.sentence] == []
    outcomes = {each.by_validate for each in found} | {each.by_training for each in found}
    assert outcomes == {"refused", "unchanged"}  # a range of zeros may replace zeros
    refused = sum(each.by_validate == each.by_training == "refused" for each in found)
    assert refused > 270


def test_every_kind_of_damage_changes_bytes_and_depends_on_its_seed() -> None:
    data, other = (np.random.default_rng(seed).bytes(5000) for seed in (0, 1))
    for kind in damages.KINDS:
        first, again, second = (damages.damage(np.random.default_rng(seed), kind, data, other) for seed in (3, 3, 4))
        assert first == again != data and first != second, kind
        assert (len(first) < len(data)) == (kind == "truncate") or kind == "splice"


def test_a_file_that_is_accepted_with_other_content_counts_as_changed(tmp_path: Path) -> None:
    originals = damages.write_originals(tmp_path)
    one, other = originals["JPEG"]
    assert damages.by_training(one, one).line == damages.by_validate(one, one).line == "unchanged"
    assert damages.by_training(other, one).line == damages.by_validate(other, one).line == "changed"


def test_a_wrong_outcome_is_printed_with_its_number_and_ends_with_code_1(monkeypatch, capsys, tmp_path: Path) -> None:
    def crash(path: Path, original: Path) -> Finding:
        return Finding(path, "it crashed")

    monkeypatch.setattr(damages, "by_training", crash)
    monkeypatch.setattr(damages.Inspector, "inspect", lambda self, function, *arguments: function(*arguments))
    assert main(["--parts", "damages", "--count", "2", "--out", str(tmp_path / "out.json")]) == 1
    shown = capsys.readouterr()
    assert "damages 0: " in shown.err and "it crashed" in shown.err and "| all | 2 | 2 / 0 |" in shown.out
    assert "2 of 2 files, seed 0" in shown.out and "it crashed" in (tmp_path / "out.json").read_text()
    assert main(["--count", "0"]) == 2 and main(["--parts", "kills", "kills"]) == 2


# ------------------------------------------------------------------------------------------------------------- messages
@pytest.mark.slow
def test_a_server_answers_hostile_messages_with_sentences_and_goes_on(tmp_path: Path) -> None:
    answers = list(messages.run_messages(tmp_path, 5 * len(messages.KINDS), seed=1))
    assert [answer for answer in answers if answer.outcome == "wrong"] == []
    assert len(answers) == 5 * len(messages.KINDS) and sum(a.outcome == "sentence" for a in answers) > 20
    assert {answer.outcome for answer in answers if answer.kind == "no token"} == {"connection ended"}


def test_a_message_depends_on_its_seed() -> None:
    for kind in messages.KINDS:
        first, again, *others = (messages.make_message(np.random.default_rng(seed), kind) for seed in (3, 3, 4, 5, 6))
        assert first == again and any(first != other for other in others), kind


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"error": "qpos[3] is nan"}, "sentence"),
        ({"chunks": np.zeros((1, messages.K, messages.A), np.float32)}, "sound chunks"),
        ({"chunks": np.full((1, messages.K, messages.A), np.nan, np.float32)}, "wrong"),
        ({"chunks": np.zeros((1, messages.K, 3), np.float32)}, "wrong"),
        ({"error": "Traceback (most recent call last): ..."}, "wrong"),
        ({"error": ""}, "wrong"),
        ({}, "wrong"),
    ],
)
def test_only_a_sentence_or_finite_chunks_of_the_right_size_are_right(answer: dict, outcome: str) -> None:
    assert messages.judge("noise", answer).outcome == outcome


# ---------------------------------------------------------------------------------------------------------------- kills
COUNTING = """
import sys, time
from pathlib import Path
path = Path(sys.argv[1]) / "out"
path.mkdir(parents=True, exist_ok=True)
for number in range(4):
    (path / str(number)).write_text("done" if len(sys.argv) < 3 else str(time.time()))
    time.sleep(0.05)
"""


def use_program(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    def result(folder: Path) -> str:
        return "".join(path.read_text() for path in sorted((folder / "out").iterdir()))

    program = (lambda folder: ["-c", COUNTING, str(folder), *words], result, "out")
    monkeypatch.setattr(kills, "PROGRAMS", {"counting": program})


def test_a_program_that_goes_on_after_kills_has_an_equal_result(monkeypatch, tmp_path: Path) -> None:
    use_program(monkeypatch)
    trials = list(kills.run_kills(tmp_path, 3, seed=0))
    assert [trial.outcome for trial in trials] == ["equal"] * 3 and sum(trial.kills for trial in trials) > 0
    assert f"| all | 3 | {sum(trial.kills for trial in trials)} | 3 | 0 | 0 |" in kills.make_table(trials)


def test_another_result_after_a_kill_and_a_program_that_fails_are_noticed(monkeypatch, tmp_path: Path) -> None:
    use_program(monkeypatch, "with times")
    assert next(kills.run_kills(tmp_path, 1, seed=0)).outcome == "another result"
    monkeypatch.setattr(kills, "PROGRAMS", {"failing": (lambda folder: ["-c", "1 / 0"], lambda folder: "", "out")})
    with pytest.raises(RuntimeError, match="failing failed, although nobody killed it: ZeroDivisionError"):
        next(kills.run_kills(tmp_path, 1, seed=0))
