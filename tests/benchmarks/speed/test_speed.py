"""The speed benchmark: who takes turns, what ratios mean, what is written; figures themselves are never tested."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import __main__ as speed
from benchmarks.speed import ours as subjects
from benchmarks.speed import peers

FAKE = """
from benchmarks.speed import peers
import itertools
peers.answer({{"step [ms]": [{ms} * k, {ms} * k], "rate [samples/s]": [{rate} / k]}} for k in itertools.count(1))
"""


def fake(ms: float, rate: float) -> list[str]:
    return [sys.executable, "-c", FAKE.format(ms=ms, rate=rate)]


def test_everybody_answers_in_turn_and_ratios_say_how_many_times_as_fast_we_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(speed.ROOT))
    told = speed.take_turns({"ours": fake(2, 50), "original": fake(10, 10)}, rounds=3)
    assert told["ours"] == [{"step [ms]": [2 * k, 2 * k], "rate [samples/s]": [50 / k]} for k in (1, 2, 3)]
    step, rate = speed.rows_of(told)
    assert (step.p50, step.n, step.peers, step.ratios) == (4, 6, {"original": 20}, {"original": 5})
    assert (rate.p50, rate.ratios) == (25, {"original": 5})
    assert "original 20: 5x" in speed.table([step, rate])


def test_a_machine_that_gets_slower_does_not_change_a_ratio():
    told = {"ours": [{"a [ms]": [1.0]}, {"a [ms]": [9.0]}], "lerobot": [{"a [ms]": [4.0]}, {"a [ms]": [36.0]}]}
    (row,) = speed.rows_of(told)
    assert row.ratios == {"lerobot": 4} and row.p99 == pytest.approx(np.percentile([1, 9], 99))


def test_figures_that_a_peer_does_not_have_stand_alone():
    (row,) = speed.rows_of({"ours": [{"a [ms]": [1.0]}], "lerobot": [{"b [ms]": [4.0]}]})
    assert row.peers == {} and speed.table([row]).split() == ["a", "[ms]", "1"]


def test_whoever_dies_is_named():
    with pytest.raises(RuntimeError, match=r"(?s)lerobot died and said: .*No module named 'nowhere'"):
        speed.take_turns({"lerobot": [sys.executable, "-c", "import nowhere"]}, rounds=1)


def test_every_part_has_a_subject_and_peers_are_asked_only_when_given(tmp_path: Path):
    assert set(speed.GROUPS) == set(subjects.SUBJECTS)
    (tmp_path / "policy.py").touch()
    assert set(speed.Options().commands("training_paper")) == {"ours"}
    both = speed.Options(original=tmp_path, lerobot=Path(sys.executable))
    assert set(both.commands("training_paper")) == {"ours", "original", "lerobot"}
    assert both.commands("query_fast")["lerobot"][-2:] == ["lerobot", "query_fast"]
    for part, asked in speed.GROUPS.items():
        for peer, subject in asked.items():
            assert hasattr({"original": peers.Original, "lerobot": peers.LeRobot}[peer], subject), part


def test_wrong_input_ends_with_one_sentence_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert speed.main(["--parts", "cooking"]) == 2
    assert "--parts cooking is unknown; choose from rendering, physics" in capsys.readouterr().err
    assert speed.main(["--original", str(tmp_path)]) == 2
    assert "has no policy.py: give a checkout of github.com/tonyzhaozh/act" in capsys.readouterr().err


def test_one_part_measured_for_real_is_printed_and_takes_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "speed.json"
    out.write_text('{"rendering": "as it was", "physics": "older"}')
    assert speed.main(["--quick", "--parts", "physics", "--out", str(out)]) == 0
    assert "physics of one control step [ms]" in capsys.readouterr().out
    parts = json.loads(out.read_text())
    (row,) = parts["physics"]["rows"]
    assert row["n"] == 2 * 50 and 0.01 < row["p50"] <= row["p99"]
    assert parts["physics"]["quick"] is True and "cpu" in parts["physics"]["provenance"]["hardware"]
    assert parts["rendering"] == "as it was"


@pytest.mark.parametrize("text", ["half a fi", '{"rows": []}'])
def test_another_file_is_not_overwritten(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "speed.json"
    out.write_text(text)
    assert speed.main(["--parts", "physics", "--out", str(out)]) == 2
    assert "holds no figures of this program" in capsys.readouterr().err and out.read_text() == text


def test_the_command_line_that_is_kept_names_no_place_of_this_machine(tmp_path: Path):
    options = speed.Options(original=tmp_path / "act", lerobot=tmp_path / "bin" / "python")
    said = options.anywhere(f"python -m benchmarks.speed --original {tmp_path}/act --lerobot {tmp_path}/bin/python")
    assert said == "python -m benchmarks.speed --original PATH --lerobot PYTHON"
