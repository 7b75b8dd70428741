"""What the pages, tables and figures of the grids say of their rows."""

import re
from pathlib import Path

import numpy as np
import pytest

from act.evaluation.paper import PAPER
from benchmarks import ablations, doc_tables, table1
from benchmarks.grid import figures as grid_figure
from benchmarks.grid.cells import Options
from benchmarks.grid.statistics import SETTINGS, Rows, Tally
from benchmarks.grid.tables import Entry
from tests.fakes.toy_grid import ACT, row


def test_every_method_of_the_paper_stands_beside_its_figures():
    methods = [method for method in table1.METHODS if method.label in PAPER["insertion"].methods]
    forms = [(method, mode) for method in methods for mode in method.modes]
    found = Rows([row(method, "44320", "insertion", mode=mode) for method, mode in forms], Options())
    table = table1.stages(found, "state", "insertion")
    heads = [(name.text, name.small) for name, _, _ in table.rows]
    after = heads.index(("ACT", "chunks of 60, ensembled"))
    assert heads[after + 1] == ("paper", "")
    assert [entry.text for entry in table.rows[after + 1][1]][:6] == ["93", "76", "90", "66", "32", "20"]
    assert [entry.text for entry in table.rows[after][1]][0::2] == ["80.0*", "60.0*", "40.0*", "0.0*"]
    assert heads.count(("paper", "")) == 5


def test_fewer_than_200_rollouts_are_starred_and_missing_cells_are_dashes():
    found = Rows([row(ACT, "4" * 200), row(ACT, "4" * 199, "insertion")], Options())
    entries = table1.overview(found, "state").rows[0][1]
    assert [entry.text for entry in entries] == ["100.0", "100.0*", "–", "–"]


def test_a_method_may_train_longer_than_the_others_but_not_than_it_is_told():
    (slow,) = [method for method in table1.METHODS if method.length > 1]
    assert Options().steps_of(slow, "insertion") > Options().steps_of(ACT, "insertion")
    assert Options(steps=10).steps_of(slow, "insertion") == 10


def test_what_is_shown_beside_a_paired_test_are_the_rollouts_it_compares():
    hundred, made = ablations.SIZED["ACT"][2], []
    for task, style in SETTINGS:
        made += [row(hundred, "4" * 100 + "0" * 100, task, style), row(hundred, "4" * 200, task, style, seed=1)]
        made += [row(hundred, "4" * 150 + "0" * 50, task, style, mode="ensemble")]  # training seed 0 only
    (_, (off, on, test), _), *_ = ablations.ensembling(Rows(made, Options()), "state").rows
    assert (off.text, on.text) == ("50.0", "75.0") and test.style == "good-text"


def test_a_method_that_is_better_on_shared_rollouts_is_not_called_worse():
    pooled = Tally((row(ACT, "4" * 100 + "0" * 100), row(ACT, "4" * 200, seed=1)))
    better, worse = Tally((row(ACT, "4" * 140 + "0" * 60),)), Tally((row(ACT, "4" * 40 + "0" * 160),))
    found = {Entry("pooled"): pooled, Entry("better"): better, Entry("worse"): worse}
    assert table1.leading(found) == {Entry("pooled"), Entry("better")}


def test_what_was_never_compared_with_the_best_is_not_called_as_good():
    best, other = Tally((row(ACT, "4" * 200),)), Tally((row(ACT, "0" * 200, seed=1),))
    assert table1.leading({Entry("best"): best, Entry("other"): other}) == {Entry("best")}


def test_rollouts_of_few_starts_are_preliminary_whatever_the_number_of_seeds(monkeypatch):
    vinn = next(method for method in table1.METHODS if method.label == "VINN")
    made = [row(vinn, "4" * 67, task, style, seed=seed) for task, style in SETTINGS for seed in range(3)]
    rows = Rows(made, Options())
    entries = [entry for _, entries, _ in table1.overview(rows, "state").rows for entry in entries]
    assert {entry.text for entry in entries} == {"100.0*"}
    monkeypatch.setattr(doc_tables, "results", lambda name: rows)
    (_, (*cells, _), _), *_ = doc_tables.overview("state").rows
    assert all(cell.text.startswith("**100.0*** (") for cell in cells), "in the documents, too"


def test_p_values_of_fig8_are_corrected_within_their_table():
    hundred, made = {name: methods[2] for name, methods in ablations.SIZED.items()}, []
    for method in hundred.values():
        for task, style in SETTINGS:
            made += [
                row(method, "4" * 100 + "0" * 100, task, style),
                row(method, "4" * 102 + "0" * 98, task, style, mode="ensemble"),
            ]
    found = [test.text for _, (*_, test), _ in ablations.ensembling(Rows(made, Options()), "state").rows[::2]]
    assert found == [f"{min(1, 3 * 2 / 2**4):.1g}"] * 3


@pytest.mark.parametrize("path", doc_tables.PAGES, ids=lambda path: path.name)
def test_the_tables_of_the_documentation_are_what_the_results_say(path: Path):
    text = path.read_text(encoding="utf-8")
    assert doc_tables.MARK.search(text)
    assert doc_tables.fill(text) == text, "python -m benchmarks.doc_tables"


def test_tables_of_the_documentation_are_drawn_anew_under_their_marks(monkeypatch: pytest.MonkeyPatch):
    flow = next(method for method in table1.METHODS if method.label == "Flow matching")
    single = next(method for method in table1.METHODS if method.label == "BeT" and method.chunk_size == 1)
    tens, hundreds = (ablations.SIZED["ACT"][i] for i in (1, 2))
    found = [row(flow, "4" * 9 + "0", seed=seed) for seed in (0, 1)] + [row(single, "40")]
    found += [row(tens, "4000"), row(hundreds, "4400", mode="ensemble"), row(ablations.CVAE[1], "4440")]
    monkeypatch.setattr(doc_tables, "results", lambda name: Rows(found, Options()))
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


def test_act_on_all_demonstrations_is_compared_with_table_1s_on_the_training_seeds_of_both():
    usual = [row(table1.METHODS[0], "40" * 100, "insertion", seed=seed) for seed in (0, 1)]
    every = row(ablations.NONE_HELD_OUT, "4" * 200, "insertion", seed=1)
    assert ablations.held_out(Rows(usual, Options()), "state") is None
    table = ablations.held_out(Rows([*usual, every], Options()), "state")
    assert table and table.lines().splitlines()[2:] == [
        "| scripted (chunks of 60) | 50.0 (43.1–56.9) | 100.0 (98.1–100.0) | 2e-30 |"
    ]


def test_the_figure_of_table_1_shows_every_form_with_its_interval_beside_the_papers(tmp_path: Path):
    bet = next(method for method in table1.METHODS if method.label == "BeT" and method.chunk_size == 1)
    act = table1.METHODS[0]
    found = [row(act, "4" * 150 + "0" * 50, mode="ensemble"), row(bet, "40"), row(bet, "44", seed=1)]
    figure = grid_figure.dots(Rows(found, Options()), "state")
    panel, empty = figure.axes
    assert (panel.get_title(), empty.axison) == ("Cube transfer, scripted", False)
    assert [label.get_text() for label in panel.get_yticklabels()] == ["ACT", "BeT"]
    lines = [np.asarray(line.get_xdata()) for line in panel.lines]
    drawn = [tuple(xs.tolist()) for xs in lines if xs.size]  # the legend's have no data
    low, high = (100 * getattr(Tally((found[0],)).success, end) for end in ("low", "high"))
    assert drawn[:3] == [(low, high), (75.0,), (86.0,)]  # ours, and the paper's
    assert drawn[4:] == [(75.0,), (50.0, 100.0), (27.0,)]  # of two training seeds each one's, too
    grid_figure.save(figure, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_of_fig_8_leaves_out_means_that_lack_a_setting():
    single, tens = (ablations.SIZED["VINN"][i] for i in (0, 1))
    found = [row(tens, "4400", task, style) for task, style in SETTINGS] + [row(single, "44")]
    sizes = grid_figure.fig8(Rows(found, Options()), "state").axes[0]
    ours, theirs = [line for line in sizes.lines if line.get_color() == grid_figure.COLOURS["VINN"]][:2]
    nothing = np.nan
    np.testing.assert_array_equal(ours.get_ydata(), [nothing, 50.0, nothing, nothing, nothing])
    assert tuple(np.asarray(theirs.get_ydata())) == ablations.PAPER_SIZES["VINN"]


def test_the_figure_of_fig_8_compares_on_the_training_seeds_that_both_have():
    (without, with_cvae), found = ablations.CVAE, []
    for task in ("transfer_cube", "insertion"):
        found += [row(method, "4400", task, "human", mode="ensemble") for method in (without, with_cvae)]
        found += [row(with_cvae, "4444", task, "human", mode="ensemble", seed=1)]
    cvae = grid_figure.fig8(Rows(found, Options()), "state").axes[2]
    ours = next(line for line in cvae.lines if line.get_color() == grid_figure.COLOURS["human"])
    assert tuple(np.asarray(ours.get_ydata())) == (50.0, 50.0)


@pytest.mark.parametrize(
    "mark", ["grades: state", "setting: smells insertion human", "setting: state insertion dog", "sizes: state"]
)
def test_a_mark_that_names_no_table_is_named(mark: str):
    with pytest.raises(ValueError, match=f"<!-- {mark} --> names no table; there is overview, setting"):
        doc_tables.fill(f"<!-- {mark} -->\n")


@pytest.mark.parametrize("program", [table1, ablations])
def test_pages_are_whole_and_need_no_network(program, tmp_path: Path):
    made = [
        row(method, "4440" * 5, task, style, mode=mode)
        for method in program.METHODS
        for mode in method.modes
        for task in PAPER
        for style in ("scripted", "human")
    ]
    for some in (made, made[:1], []):
        html, text = program.draw(some, Options())
        assert "nan" not in html and not re.search(r"""(src|href)=["']?(https?:)?//""", html)
        for tag in ("section", "table", "tr", "td", "th", "span", "svg"):
            assert len(re.findall(rf"<{tag}[ >]", html)) == html.count(f"</{tag}>")
        assert len({line.count("|") for line in text.split("###")[-1].splitlines() if line.startswith("|")}) <= 1
    assert "75.0" in program.draw(made, Options())[1]
