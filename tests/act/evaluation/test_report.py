"""The report: one page that holds everything, needs no network, and says how certain its numbers are."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from act.evaluation import charts, learning_curves, report
from act.evaluation.charts import Placement, Series
from act.evaluation.evaluate import Latency, LoggedEpisode, summarize, write_results
from act.evaluation.workspace import ALOHA
from act.types import EnvSpec, RolloutResult

CUBE_STAGES = ("touched", "lifted", "received", "transfer")


def episode(index: int, objects: int) -> LoggedEpisode:
    poses = [v for i in range(objects) for v in (0.01 * (index % 20) + 0.2 * i, 0.4 + 0.004 * index, 0.02, 1, 0, 0, 0)]
    won = index % 5 != 0
    stages = [20, 40, 60, 80 if won else None]
    made = RolloutResult(2_000_000 + index, 400, 4.0 if won else 3.0, 600.0, won, won, stages, poses)
    return LoggedEpisode(made, [0.004], 1.0)


def write_run(
    run: Path, task: str = "transfer_cube", objects: tuple[str, ...] = ("cube",), n: int = 50, **execution: object
) -> Path:
    mode = str(execution.get("mode", "chunk"))
    summary = summarize(
        EnvSpec(task, CUBE_STAGES, 400, objects=objects), [episode(i, len(objects)) for i in range(n)], 8
    )
    settings = {"run": str(run), "mode": mode, "seed_set": "test", "backbone_weights": "sim", "demo_style": "scripted"}
    settings |= execution
    write_results(run / "eval" / mode / "results.json", summary, settings, Latency.of([0.009] * 10, 1))
    lines = [{"step": step, "loss": 1 / (1 + step), "success": step / 1000} for step in range(0, 1000, 10)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def page_of(*runs: Path) -> str:
    out = runs[0] / "report.html"
    report.write_report(runs, out)
    return out.read_text()


def test_the_headline_stands_beside_the_papers_figures(tmp_path: Path):
    page = page_of(write_run(tmp_path / "demo"))
    assert "80.0 %" in page and "95 % interval 67.0–88.8" in page
    for method, success in (("ACT", 86), ("BeT", 27), ("RT-1", 2), ("VINN", 3), ("BC-ConvMLP", 1)):
        row = re.search(rf"<th>{method} <small>\(paper\)</small></th>(.*?)</tr>", page)
        assert row and re.findall(r"<td>(.*?)</td>", row[1])[4] == str(success)


def test_rows_of_different_backbone_weights_are_in_different_tables(tmp_path: Path):
    runs = [write_run(tmp_path / weights, backbone_weights=weights) for weights in ("sim", "none")]
    page = page_of(*runs)
    for weights, other in (("sim", "none"), ("none", "sim")):
        table = page.split(f"beside the paper, backbone weights: {weights}")[1].split("</section>")[0]
        assert f"<th>{weights} · chunk</th>" in table and f"<th>{other} · chunk</th>" not in table
    assert "beside the paper, backbone" not in page_of(runs[0])


def test_few_rollouts_are_called_preliminary(tmp_path: Path):
    assert "preliminary" in page_of(write_run(tmp_path / "few"))
    assert "preliminary" not in page_of(write_run(tmp_path / "many", n=200))


def test_runs_of_the_same_name_have_different_names_on_the_page_and_keep_their_curves(tmp_path: Path):
    runs = [write_run(tmp_path / name / "round1" / "run") for name in ("bc_seed0", "dagger_seed0")]
    (runs[1] / "metrics.jsonl").write_text('{"step": 0, "loss": 9}\n{"step": 1, "loss": 8}\n')
    page = page_of(*runs)
    for name in ("bc_seed0", "dagger_seed0"):
        assert f"<th>{name}/round1/run · chunk</th>" in page and f"{name}/round1/run loss" in page
    assert "<th>run · chunk</th>" in page_of(runs[0])


def test_the_page_needs_no_network(tmp_path: Path):
    run = write_run(tmp_path / "demo")
    page = page_of(run)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page) and "@import" not in page
    assert "prefers-color-scheme: dark" in page


def test_every_drawing_is_whole_and_the_page_balanced(tmp_path: Path):
    page = page_of(write_run(tmp_path / "cube"), write_run(tmp_path / "pegs", "insertion", objects=("peg", "socket")))
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 2 + 2 + (1 + 1) + (1 + 2)  # headlines, curves, table tops with one and two regions
    for drawing in drawings:
        assert "nan" not in drawing and ElementTree.fromstring(drawing).tag == "svg"
    for tag in ("section", "table", "tr", "td", "div", "figure"):
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>") > 0


def test_small_videos_are_embedded_and_large_ones_linked(tmp_path: Path):
    run = write_run(tmp_path / "demo")
    videos = run / "eval" / "chunk" / "videos"
    videos.mkdir()
    (videos / "transfer_cube_seed_2000000.mp4").write_bytes(b"small")
    with (videos / "transfer_cube_seed_2000001.mp4").open("wb") as file:
        file.truncate(report.EMBEDDED_VIDEO_BYTES)
    page = page_of(run)
    assert 'src="data:video/mp4;base64,c21hbGw="' in page
    assert 'src="eval/chunk/videos/transfer_cube_seed_2000001.mp4"' in page
    assert "seed 2000000, reached stage 3" in page and "seed 2000001, success" in page


def test_a_task_the_paper_does_not_know_is_reported_too(tmp_path: Path):
    page = page_of(write_run(tmp_path / "cup", "peg_in_cup", objects=("peg", "saucer")))
    assert "Peg in cup" in page and "<figcaption>saucer</figcaption>" in page and "beside the paper" not in page


def test_starts_of_training_episodes_are_drawn_for_the_task_that_the_run_was_trained_on(tmp_path: Path):
    own = write_run(tmp_path / "own", trained_on="sim_transfer_cube_scripted")
    other = write_run(tmp_path / "other", "insertion", ("peg", "socket"), trained_on="sim_transfer_cube_scripted")
    for run in (own, other):
        (run / "starts.json").write_text(json.dumps({"train": [[0.05, 0.45, 0.02, 1, 0, 0, 0]]}))
    assert page_of(own).count('class="start"') == 1
    assert page_of(other).count('class="start"') == 0


def test_objects_of_results_that_do_not_name_them_are_numbered(tmp_path: Path):
    run = write_run(tmp_path / "old", objects=("peg", "socket"))
    file = run / "eval" / "chunk" / "results.json"
    results = json.loads(file.read_text())
    del results["objects"]
    file.write_text(json.dumps(results))
    assert "<figcaption>object 2</figcaption>" in page_of(run)


def test_names_from_outside_are_escaped(tmp_path: Path):
    page = page_of(write_run(tmp_path / "a<script>b"))
    assert "<script>" not in page and "a&lt;script&gt;b" in page


def test_a_run_without_results_and_a_call_without_runs_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert report.main([str(tmp_path)]) == 2
    assert f"report: {tmp_path} holds no results.json: run `python eval.py {tmp_path}` first" in capsys.readouterr().err
    assert report.main([]) == 2
    assert "no run is given" in capsys.readouterr().err


def test_losses_below_zero_are_drawn_too(tmp_path: Path):
    run = write_run(tmp_path / "gmm")
    lines = [{"step": step, "loss": 5 - step} for step in range(10)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (curve,) = re.findall(r'<path[^>]* d="(M[^"]*)"', page_of(run).split("<h2>Learning</h2>")[1].split("</section>")[0])
    assert curve.count("L") == 9


def test_the_program_writes_beside_the_first_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = write_run(tmp_path / "demo")
    assert report.main([str(run)]) == 0
    assert (run / "report.html").exists() and str(run / "report.html") in capsys.readouterr().out


def test_curves_keep_what_was_measured():
    assert charts.line_chart([Series("loss", [0, 1], [0.0, -1.0])], "step", "loss", log_y=True) == ""
    assert "circle" in charts.line_chart([Series("one point", [5], [0.5])], "step", "loss")
    assert learning_curves.binned([(x, 2.0 * x) for x in range(700)])[0] == (1.0, 2.0)


def test_failures_differ_from_successes_by_shape_not_only_colour():
    drawing = charts.region_zoom([Placement(0.1, 0.5, True), Placement(0.15, 0.55, False)])
    assert drawing.count('<circle class="good"') == 1 and drawing.count('<path class="bad"') == 1


def test_marks_that_lie_together_share_a_label():
    assert charts._grouped([("ACT", 0.86), ("VINN", 0.03), ("RT-1", 0.02)]) == [
        ("RT-1, VINN 2–3", pytest.approx(0.025)),
        ("ACT 86", 0.86),
    ]


def test_the_drawn_table_is_the_one_of_the_simulator():
    assets = Path(__file__).parents[3] / "assets"
    (table,) = ElementTree.parse(assets / "table.xml").getroot().findall(".//geom[@name='table']")
    x, y, _ = map(float, table.attrib["pos"].split())
    half_x, half_y, _ = map(float, table.attrib["size"].split())
    assert (ALOHA.centre, ALOHA.size) == ((x, y), (2 * half_x, 2 * half_y))
    arms = ElementTree.parse(assets / "bimanual.xml").getroot()
    for side in ("left", "right"):
        (mount,) = arms.findall(f".//frame[@name='{side}_mount']")
        assert ALOHA.arm_bases[f"{side} arm"] == tuple(map(float, mount.attrib["pos"].split()[:2]))
