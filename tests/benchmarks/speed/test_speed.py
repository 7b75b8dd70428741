"""The benchmark of speed: turns, ratios and the results file; measured values are never tested."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed import __main__ as speed
from benchmarks.speed import ours, peers

FAKE = """
from benchmarks.speed import peers
import itertools
peers.answer({{"step [ms]": [{ms} * k, {ms} * k], "rate [samples/s]": [{rate} / k]}} for k in itertools.count(1))
"""


def fake(ms: float, rate: float) -> list[str]:
    return [sys.executable, "-c", FAKE.format(ms=ms, rate=rate)]


def test_processes_take_turns_and_ratios_say_how_many_times_as_fast_ours_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(speed.ROOT))
    rounds = speed.take_turns({"ours": fake(2, 50), "original": fake(10, 10)}, n_rounds=3)
    assert rounds["ours"] == [{"step [ms]": [2 * k, 2 * k], "rate [samples/s]": [50 / k]} for k in (1, 2, 3)]
    step, rate = speed.rows_of(rounds)
    assert (step.p50, step.n, step.peers, step.ratios) == (4, 6, {"original": 20}, {"original": 5})
    assert (rate.p50, rate.ratios) == (25, {"original": 5})
    assert "original 20: 5x" in str(step)


def test_a_machine_that_gets_slower_does_not_change_a_ratio():
    rounds = {"ours": [{"a [ms]": [1.0]}, {"a [ms]": [9.0]}], "lerobot": [{"a [ms]": [4.0]}, {"a [ms]": [36.0]}]}
    (row,) = speed.rows_of(rounds)
    assert row.ratios == {"lerobot": 4} and row.p99 == pytest.approx(np.percentile([1, 9], 99))


def test_a_measurement_that_a_peer_does_not_have_stands_alone():
    (row,) = speed.rows_of({"ours": [{"a [ms]": [1.0]}], "lerobot": [{"b [ms]": [4.0]}]})
    assert row.peers == {} and str(row).split() == ["a", "[ms]", "1"]


def test_a_process_that_dies_is_named():
    with pytest.raises(RuntimeError, match=r"(?s)lerobot died; its output: .*No module named 'nowhere'"):
        speed.take_turns({"lerobot": [sys.executable, "-c", "import nowhere"]}, n_rounds=1)


def test_every_part_has_a_measurement_and_peers_are_asked_only_when_given(tmp_path: Path):
    assert set(speed.PARTS) == set(ours.MEASUREMENTS)
    (tmp_path / "policy.py").touch()
    assert set(speed.Options().commands("training_paper")) == {"ours"}
    both = speed.Options(original=tmp_path, lerobot=Path(sys.executable))
    assert set(both.commands("training_paper")) == {"ours", "original", "lerobot"}
    assert both.commands("query_fast")["lerobot"][-2:] == ["lerobot", "query_fast"]
    for part, asked in speed.PARTS.items():
        for peer, measurement in asked.items():
            assert hasattr({"original": peers.Original, "lerobot": peers.LeRobot}[peer], measurement), part


def test_wrong_input_ends_with_one_sentence_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert speed.program(["--parts", "cooking"]) == 2
    assert "--parts cooking: choose from rendering, physics" in capsys.readouterr().err
    assert speed.program(["--original", str(tmp_path)]) == 2
    assert "has no policy.py: give a checkout of tonyzhaozh/act" in capsys.readouterr().err


def test_one_part_measured_for_real_is_printed_and_takes_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "speed.json"
    before = {"rows": []}  # also of a part that this benchmark no longer measures
    out.write_text(json.dumps({"dataset": before, "physics": {"rows": ["older"]}}))
    assert speed.program(["--quick", "--parts", "physics", "--out", str(out)]) == 0
    assert "physics of one control step [ms]" in capsys.readouterr().out
    parts = json.loads(out.read_text())
    (row,) = parts["physics"]["rows"]
    assert row["n"] == 2 * 50 and 0.01 < row["p50"] <= row["p99"]
    assert parts["physics"]["quick"] is True and "cpu" in parts["physics"]["provenance"]["hardware"]
    assert parts["dataset"] == before


@pytest.mark.parametrize("text", ["half a fi", '{"rows": []}'])
def test_another_file_is_not_overwritten(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "speed.json"
    out.write_text(text)
    assert speed.program(["--parts", "physics", "--out", str(out)]) == 2
    assert "holds no results of this benchmark" in capsys.readouterr().err and out.read_text() == text


def test_the_command_line_in_the_results_has_no_paths_of_this_machine(tmp_path: Path):
    options = speed.Options(original=tmp_path / "act", lerobot=tmp_path / "bin" / "python")
    said = options.anonymous(f"python -m benchmarks.speed --original {tmp_path}/act --lerobot {tmp_path}/bin/python")
    assert said == "python -m benchmarks.speed --original PATH --lerobot PYTHON"


def test_our_episodes_are_recorded_at_both_qualities_beside_the_originals():
    assert speed.PARTS["recording"] == speed.PARTS["recording_pretty"] == {"original": "recording"}
    for name, quality in (("recording", "fast"), ("recording_pretty", "pretty")):
        seen: list[str] = []

        def record_one(folder: Path, recording: Any, seen: list[str] = seen) -> float:
            seen.append(recording.quality)
            return 2.0

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ours, "record_one", record_one)
            patch.setattr(ours, "record", lambda *arguments: None)
            measured = next(ours.MEASUREMENTS[name](True))
        assert seen == [quality]
        suffix = ", pretty" if quality == "pretty" else ""
        assert measured[f"record one episode 480x640{suffix} [s]"] == [2.0]
