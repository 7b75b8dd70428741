"""Tables and figures of the grids, made of a few rows, and those of the documentation."""

from pathlib import Path

import numpy as np
import pytest

from act.evaluation.paper import PAPER
from benchmarks import ablations, doc_tables, lecture_table, table1
from benchmarks.grid.cells import Options
from benchmarks.grid.statistics import SETTINGS, Counts, Rows
from tests.fakes.toy_grid import ACT, row


def lines(table: str) -> list[list[str]]:
    """The cells of every row of a table in Markdown."""
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def rows(*made: dict) -> Rows:
    return Rows(made, Options())


def test_every_method_of_the_paper_stands_beside_its_figures():
    methods = [method for method in table1.METHODS if method.label in PAPER["insertion"].methods]
    forms = [(method, mode) for method in methods for mode in method.modes]
    found = rows(*(row(method, "44320", "insertion", mode=mode) for method, mode in forms))
    table = {line[0]: line[1:] for line in lines(table1.setting(found, "state", "insertion", "scripted"))}
    assert {name: line[-1] for name, line in table.items()} == {
        label: f"{stages[-1][0]:g}" for label, stages in PAPER["insertion"].methods.items()
    }
    assert table["ACT"][0] == "" and table["ACT"][1].startswith("**40.0*** (") and table["BeT"][0]


def test_fewer_than_200_rollouts_are_starred_whatever_the_number_of_training_seeds():
    vinn = next(method for method in table1.METHODS if method.label == "VINN")
    made = [row(vinn, "4" * 67, task, style, seed=seed) for task, style in SETTINGS for seed in range(3)]
    table = table1.setting(rows(*made), "state", "insertion", "human")
    assert table.splitlines()[2] == "| VINN | **100.0*** (94.6–100.0), 0.0; 100 100 100 |  |  | 0 |"
    assert "| **100.0** (" in table1.setting(rows(row(ACT, "4" * 200)), "state", "transfer_cube", "scripted")


def test_a_mean_that_lacks_a_setting_is_a_dash():
    tens = ablations.SIZED["VINN"][1]
    some = rows(*(row(tens, "4400", task, style) for task, style in list(SETTINGS)[:3]))
    assert lines(ablations.fig8a(some, "state"))[4] == ["VINN", *"–––––"]


def test_rates_beside_a_paired_test_are_those_of_the_rollouts_it_compares():
    hundred, made = ablations.SIZED["ACT"][2], []
    for task, style in SETTINGS:
        made += [row(hundred, "4" * 100 + "0" * 100, task, style), row(hundred, "4" * 200, task, style, seed=1)]
        made += [row(hundred, "4" * 150 + "0" * 50, task, style, mode="ensemble")]  # training seed 0 only
    _, off, on, p_value = lines(ablations.fig8b(rows(*made), "state"))[0]
    assert (off.split()[0], on.split()[0]) == ("50.0", "75.0") and float(p_value) < 0.05


def test_p_values_are_corrected_within_their_table():
    hundred, made = {name: methods[2] for name, methods in ablations.SIZED.items()}, []
    for method in hundred.values():
        for task, style in SETTINGS:
            made += [
                row(method, "4" * 100 + "0" * 100, task, style),
                row(method, "4" * 102 + "0" * 98, task, style, mode="ensemble"),
            ]
    found = [line[-1] for line in lines(ablations.fig8b(rows(*made), "state"))[::2]]
    assert found == [f"{min(1, 3 * 2 / 2**4):.1g}"] * 3


def test_act_on_all_demonstrations_is_compared_with_table_1s_on_the_training_seeds_of_both():
    usual = [row(table1.METHODS[0], "40" * 100, "insertion", seed=seed) for seed in (0, 1)]
    none = row(ablations.NONE_HELD_OUT, "4" * 200, "insertion", seed=1)
    assert lines(ablations.held_out(rows(*usual), "state")) == []
    assert lines(ablations.held_out(rows(*usual, none), "state")) == [
        ["scripted (chunks of 60)", "50.0 (43.1–56.9)", "100.0 (98.1–100.0)", "2e-30"]
    ]


def test_the_lectures_table_counts_every_stage_beside_the_papers_figures():
    act, cloned = lecture_table.METHODS[0], next(m for m in lecture_table.METHODS if m.policy == "bc_convmlp")
    three = {"task": "slot_battery", "stages": ("grasp", "place", "insert")}
    found = rows(row(act, "3310", **three, mode="ensemble"), row(cloned, "1000", **three))
    table = lines(lecture_table.stages(found, "state", "slot_battery", "scripted"))
    assert table[0][:3] == ["ACT, chunks of 60, ensembled", "75.0", "50.0"] and table[0][3].startswith("**50.0*** (")
    assert table[0][-1] == "100 / 100 / 96" and table[1][-1] == "0 / 0 / 0"
    assert lines(lecture_table.overview(found, "state"))[0][1::2] == ["–", "–"]


# ------------------------------------------------------------------------------------------------------ documentation
@pytest.mark.parametrize("page", doc_tables.PAGES, ids=lambda page: page.stem)
def test_the_tables_of_the_documentation_are_those_of_the_results(page: Path):
    text = page.read_text(encoding="utf-8")
    assert doc_tables.MARK.search(text)
    assert doc_tables.fill(text) == text, "run python -m benchmarks.doc_tables"


def test_tables_of_the_documentation_are_replaced_under_their_marks(monkeypatch: pytest.MonkeyPatch):
    flow = next(method for method in table1.METHODS if method.label == "Flow matching")
    single = next(method for method in table1.METHODS if method.label == "BeT" and method.chunk_size == 1)
    tens, hundreds = (ablations.SIZED["ACT"][i] for i in (1, 2))
    found = [row(flow, "4" * 9 + "0", seed=seed) for seed in (0, 1)] + [row(single, "40")]
    found += [row(tens, "4000"), row(hundreds, "4400", mode="ensemble"), row(ablations.CVAE[1], "4440")]
    monkeypatch.setattr(doc_tables, "results", lambda name: rows(*found))
    marks = [f"<!-- {name}: state transfer_cube scripted -->\n\n" for name in ("setting", "sizes")]
    marks += [f"<!-- {name}: state -->\n\n" for name in ("overview", "cvae")]
    text = doc_tables.fill("| old | table |\n\n".join(marks) + "the end\n")
    assert "old" not in text and doc_tables.fill(text) == text and text.endswith("|\n\nthe end\n")
    last = doc_tables.fill("the end\n\n<!-- cvae: state -->\n")
    assert "| Cube transfer, scripted |" in last and last.endswith("|\n") and doc_tables.fill(last) == last
    setting, sizes, overview, cvae = (
        [line for line in part.split("\n") if "|" in line] for part in text.split("<!")[1:]
    )
    assert setting[2].startswith("| BeT | **50.0*** (9.5–90.5), 0.0 |  |  | 27 |")
    assert setting[3].startswith("| Flow matching |  | **90.0*** (59.6–98.2), 0.0; 90 90 |  |")
    assert sizes[0] == "|  | 1 | 10 | 100 | 200 | 400 | 100, ensembled |"
    assert sizes[2] == "| ACT |  | 25.0* (4.6–69.9) |  |  |  | 50.0* (15.0–85.0) |"
    assert overview[2] == "| BeT, single step | **50.0*** (9.5–90.5) |  |  |  | 27 / 3 / 1 / 0 |"
    assert cvae[2] == "| Cube transfer, scripted |  | 75.0* (30.1–95.4), 0.0 |  |  |"


@pytest.mark.parametrize(
    "mark", ["grades: state", "setting: smells insertion human", "setting: state insertion dog", "sizes: state"]
)
def test_an_unknown_mark_is_named(mark: str):
    with pytest.raises(ValueError, match=f"^<!-- {mark} --> names no table; choose from overview, latency"):
        doc_tables.fill(f"<!-- {mark} -->\n")


@pytest.mark.parametrize("track", ["state", "images"])
@pytest.mark.parametrize("program", [table1, ablations, lecture_table])
def test_all_tables_of_a_grid_have_rows_of_equal_length(program, track: str):
    made = [
        row(method, "4440" * 5, task, style, mode=mode, track=track)
        for method in program.METHODS
        if track in method.tracks
        for mode in method.modes
        for task, style in program.SETTINGS
    ]
    for some in (made, made[:1], []):
        found = [table(rows(*some), track) for table in program.TABLES.values()]
        for table in program.SETTING_TABLES.values():
            found += [table(rows(*some), track, *where) for where in program.SETTINGS]
        assert "nan" not in "".join(found) and ("75.0*" in "".join(found)) == bool(some)
        for table in found:
            assert len({line.count("|") for line in table.splitlines()}) == 1


# ------------------------------------------------------------------------------------------------------------ figures
def test_the_figure_of_table_1_shows_every_form_with_its_interval_beside_the_papers(tmp_path: Path):
    bet = next(method for method in table1.METHODS if method.label == "BeT" and method.chunk_size == 1)
    found = [row(table1.METHODS[0], "4" * 150 + "0" * 50, mode="ensemble"), row(bet, "40"), row(bet, "44", seed=1)]
    figure = table1.figure(rows(*found), "state")
    panel, empty = figure.axes
    assert (panel.get_title(), empty.axison) == ("Cube transfer, scripted", False)
    assert [label.get_text() for label in panel.get_yticklabels()] == ["ACT", "BeT"]
    xs = [np.asarray(line.get_xdata()) for line in panel.lines]
    drawn = [tuple(x.tolist()) for x in xs if x.size]  # the legend's have no data
    low, high = (100 * getattr(Counts((found[0],)).rate(), end) for end in ("low", "high"))
    assert drawn[:3] == [(low, high), (75.0,), (86.0,)]  # ours, and the paper's
    assert drawn[4:] == [(75.0,), (50.0, 100.0), (27.0,)]  # of two training seeds each one's, too
    figure.savefig(tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_of_fig_8_leaves_out_means_that_lack_a_setting():
    single, tens = (ablations.SIZED["VINN"][i] for i in (0, 1))
    found = [row(tens, "4400", task, style) for task, style in SETTINGS] + [row(single, "44")]
    sizes = ablations.figure(rows(*found), "state").axes[0]
    here, paper = [line for line in sizes.lines if line.get_color() == ablations.COLOURS["VINN"]][:2]
    np.testing.assert_array_equal(here.get_ydata(), [np.nan, 50.0, np.nan, np.nan, np.nan])
    assert tuple(np.asarray(paper.get_ydata())) == ablations.PAPER_SIZES["VINN"]


def test_the_figure_of_fig_8_compares_on_the_training_seeds_that_both_have():
    (without, with_cvae), found = ablations.CVAE, []
    for task in ("transfer_cube", "insertion"):
        found += [row(method, "4400", task, "human", mode="ensemble") for method in (without, with_cvae)]
        found += [row(with_cvae, "4444", task, "human", mode="ensemble", seed=1)]
    cvae = ablations.figure(rows(*found), "state").axes[2]
    here = next(line for line in cvae.lines if line.get_color() == ablations.COLOURS["varied"])
    assert tuple(np.asarray(here.get_ydata())) == (50.0, 50.0)
