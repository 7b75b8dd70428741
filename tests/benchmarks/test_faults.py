"""Damages, hostile messages, kills and full disks change nothing; and the programme notices when that is not so."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from act.data.inspection import Finding
from benchmarks.faults import damages, disks, kills, messages
from benchmarks.faults.__main__ import main
from benchmarks.faults.programs import Program, run_and_kill


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
def count(write: Callable[[Path], str]) -> Program:
    """A program that makes four files, 0.05 s each, and `write(path)` says what is in them."""

    def run(inputs: Path, out: Path) -> int:
        for number in range(4):
            (out / str(number)).write_text(write(out / str(number)))
            time.sleep(0.05)
        return 0

    return Program(run, lambda out: "".join(path.read_text() for path in sorted(out.iterdir())))


def trials_of(program: Program, folder: Path, count: int) -> list[kills.Trial]:
    return list(kills.run_kills(folder, count, 0, {"counting": program}, ("counting",)))


def test_a_program_that_goes_on_after_kills_has_an_equal_result(tmp_path: Path) -> None:
    trials = trials_of(count(lambda path: "done"), tmp_path, 4)
    hit = sum(trial.kills for trial in trials)
    assert [trial.outcome for trial in trials] == ["equal"] * 4 and hit > 0
    assert f"| all | 4 | {hit} | 4 | 0 | 0 |" in kills.make_table(trials)


def test_another_result_after_a_kill_and_a_program_that_fails_are_noticed(tmp_path: Path) -> None:
    assert trials_of(count(lambda path: str(time.time())), tmp_path, 1)[0].outcome == "another result"
    with pytest.raises(RuntimeError, match="counting failed, although nobody disturbed it: ZeroDivisionError"):
        trials_of(Program(lambda inputs, out: 1 // 0, str), tmp_path / "failing", 1)


def test_a_program_is_killed_with_its_children_and_leaves_its_last_line(tmp_path: Path) -> None:
    def wait() -> int:
        subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(2); open({str(tmp_path / 'late')!r}, 'w')"])
        print("a first line\nthe last line", flush=True)
        time.sleep(60)
        return 0

    end = run_and_kill(wait, 0.5, tmp_path / "log")
    assert end.killed and end.code == -signal.SIGKILL and end.said == "the last line"
    time.sleep(2)
    assert not (tmp_path / "late").exists()
    assert run_and_kill(lambda: 7, None, tmp_path / "log").code == 7


# ---------------------------------------------------------------------------------------------------------------- disks
def fill(path_in_sentence: bool = True, spoil: bool = False) -> Program:
    """A program that writes 200 kB, and says in one sentence, if the disk is full, which file did not fit."""

    def run(inputs: Path, out: Path) -> int:
        if spoil:
            (out / "before").write_text("other")
        try:
            (out / "large").write_bytes(bytes(200_000))
        except OSError:
            print(f"fill: no space left on device: {out / 'large' if path_in_sentence else ''}", file=sys.stderr)
            return 2
        return 0

    return Program(run, lambda out: str((out / "large").stat().st_size), "before")


@pytest.fixture
def before(tmp_path: Path) -> Path:
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "before").write_text("here")
    if not disks.can_mount(tmp_path):
        pytest.skip("mounting a tmpfs needs root on Linux")
    return tmp_path


def trial_on_disk(program: Program, folder: Path) -> disks.Trial:
    return next(disks.run_disks(folder, 1, 0, {"filling": program}, ("filling",)))


def test_a_full_disk_that_is_named_and_continued_is_right(before: Path) -> None:
    trial = trial_on_disk(fill(), before)
    assert trial.outcome == "sentence" and trial.room < 200_000
    assert "| all | 1 | 1 | 0 | 0 |" in disks.make_table([trial])


def test_a_full_disk_without_a_path_or_with_a_changed_file_is_wrong(before: Path) -> None:
    assert "it ended with code 2" in trial_on_disk(fill(path_in_sentence=False), before).sentence
    assert "files have changed: before" in trial_on_disk(fill(spoil=True), before).sentence
