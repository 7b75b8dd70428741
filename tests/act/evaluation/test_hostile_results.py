"""A report is made of files that anybody may have written: it is right, or one sentence says which value cannot be."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from act.evaluation import report, results
from tests.act.evaluation.test_report import page_of, write_run

GONE = object()
WRONG = (GONE, None, "../x", 1e308, [])


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values in JSON; of a list, those of the first item."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


def changed(values: Any, at: tuple[Any, ...], value: Any) -> Any:
    values = copy.deepcopy(values)
    inner = values
    for key in at[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return values


@pytest.mark.slow
def test_a_results_file_with_one_wrong_value_makes_a_page_or_a_sentence_that_names_the_file(tmp_path: Path):
    run = write_run(tmp_path / "demo", n=2)
    file, refused = run / "eval" / "chunk" / "results.json", 0
    good = json.loads(file.read_text())
    for at in places(good):
        for value in WRONG:
            file.write_text(json.dumps(changed(good, at, value)))
            try:
                report.render(results.load(file), tmp_path)
            except ValueError as error:
                assert str(error).startswith(f"{file} "), (at, value)
                refused += 1
    assert refused > 120


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (("success", "rate"), "x", "success.rate is 'x'"),
        (("stages", 0), GONE, "transfer_cube has 4 stages, and this file 3"),
        (("episodes", 0, "seed"), None, r"episodes\[0\].seed is None"),
        (("provenance", "time"), GONE, "provenance.time is missing"),
        (("settings", "mode"), "5", "describe no execution .unknown mode '5'"),
        (("seeds",), [], "seeds is empty"),
    ],
)
def test_the_value_that_cannot_be_is_named(tmp_path: Path, at: tuple[Any, ...], value: Any, said: str):
    file = write_run(tmp_path / "demo", n=2) / "eval" / "chunk" / "results.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), at, value)))
    with pytest.raises(ValueError, match=said):
        report.render(results.load(file), tmp_path)


@pytest.mark.parametrize("line", ['{"step": 5, "loss": 1e999}', f'{{"step": 1{"0" * 400}, "loss": 2}}'])
def test_metrics_that_no_axis_can_show_are_left_out_of_the_curves(tmp_path: Path, line: str):
    run = write_run(tmp_path / "demo", n=2)
    expected = page_of(run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    assert page_of(run) == expected


def test_a_link_or_a_fifo_in_place_of_a_video_is_not_put_on_the_page(tmp_path: Path):
    run = write_run(tmp_path / "demo", n=2)
    expected, videos = page_of(run), run / "eval" / "chunk"
    (tmp_path / "secret").write_text("a private key")
    (videos / "seed_2000000.mp4").symlink_to(tmp_path / "secret")
    os.mkfifo(videos / "seed_2000001.mp4")
    assert page_of(run) == expected
