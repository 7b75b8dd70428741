"""The benchmark of speed: percentiles and the results file; measured values are never tested."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import __main__ as speed
from benchmarks.speed import parts


def test_percentiles_are_those_of_all_rounds():
    step, rate = speed.rows_of([{"a [ms]": [1.0, 2.0], "b [/s]": [5.0]}, {"a [ms]": [9.0], "b [/s]": [7.0]}])
    assert (step["p50"], step["n"]) == (2.0, 3) and step["p99"] == pytest.approx(np.percentile([1, 2, 9], 99))
    assert (rate["name"], rate["p50"], rate["n"]) == ("b [/s]", 6.0, 2)


def test_wrong_input_ends_with_one_sentence_and_code_2(capsys: pytest.CaptureFixture[str]):
    assert speed.program(["--parts", "cooking"]) == 2
    assert "--parts cooking: choose from recording, recording_pretty" in capsys.readouterr().err


def test_one_part_measured_for_real_is_printed_and_takes_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "speed.json"
    before = {"rows": []}  # also of a part that this benchmark no longer measures
    out.write_text(json.dumps({"dataset": before, "physics": {"rows": ["older"]}}))
    assert speed.program(["--quick", "--parts", "physics", "--out", str(out)]) == 0
    assert "physics of one control step [ms]" in capsys.readouterr().out
    measured = json.loads(out.read_text())
    (row,) = measured["physics"]["rows"]
    assert row["n"] == 300 and 0.01 < row["p50"] <= row["p99"]
    assert measured["physics"]["quick"] is True and "cpu" in measured["physics"]["provenance"]["hardware"]
    assert measured["dataset"] == before


@pytest.mark.parametrize("text", ["half a fi", '{"rows": []}'])
def test_another_file_is_not_overwritten(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "speed.json"
    out.write_text(text)
    assert speed.program(["--parts", "physics", "--out", str(out)]) == 2
    assert "holds no results of this benchmark" in capsys.readouterr().err and out.read_text() == text


def test_every_part_of_the_committed_results_except_one_is_still_measured():
    assert set(json.loads(speed.Options.out.read_text())) - {"dataset"} <= set(parts.PARTS)
