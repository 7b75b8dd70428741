"""Random damages of recorded files are refused, or change nothing; and the programme notices when that is not so."""

from pathlib import Path

import numpy as np
import pytest

from act.data.inspection import Finding
from benchmarks.faults import damages
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
    assert main(["--count", "2", "--out", str(tmp_path / "out.json")]) == 1
    shown = capsys.readouterr()
    assert "damage 0, flip, JPEG: it crashed" in shown.err and "| all | 2 | 2 / 0 |" in shown.out
    assert "2 of 2 files, seed 0" in shown.out and "it crashed" in (tmp_path / "out.json").read_text()
    assert main(["--count", "0"]) == 2
