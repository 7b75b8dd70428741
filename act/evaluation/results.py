"""Finished evaluations: results.json as a report reads it, the learning curve of its run, and a name for each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from act.evaluation.execution import Execution
from act.evaluation.results_form import misfit
from act.files import read_json
from act.run_folder import RunFolder
from act.types import task_of

# Keys that every results.json has.
NEEDED = ("task", "n", "preliminary", "success", "strict_success", "stages", "mean_return", "episodes", "seeds")
NEEDED += ("wall_time_s", "rollouts_per_min", "settings", "provenance")


@dataclass(frozen=True)
class Evaluation:
    """One results.json, with what a report shows beside it.

    folder: where results.json and the videos are.
    results: content of results.json, see act.evaluation.evaluate.write_results.
    metrics: lines of metrics.jsonl of the run; none where there is no such file.
    run_path: folder of the run, or where the settings say that it was.
    starts: poses of the objects at the beginning of every training episode of the run; none where nobody wrote them.
    run: name of the run on the page.
    execution: how chunks were executed; None where the settings do not say it.
    """

    folder: Path
    results: dict[str, Any]
    metrics: list[dict[str, Any]] = field(default_factory=list)
    run_path: Path = Path()
    starts: list[list[float]] = field(default_factory=list)
    run: str = ""
    execution: Execution | None = None

    @property
    def name(self) -> str:
        """The run and how it was executed; two evaluations of a run that differ in execution have different names."""
        settings = self.results["settings"]
        run = self.run or Path(settings.get("run") or "").name
        execution = str(self.execution) if self.execution else ""
        seeds = "validation seeds" if settings.get("seed_set") == "validation" else ""
        return " · ".join(filter(None, (run, execution, settings.get("engine"), seeds))) or "run"

    @property
    def backbone_weights(self) -> str:
        """Where the visual backbone was pretrained: "sim", "imagenet", ..., or "none"."""
        return self.results["settings"].get("backbone_weights") or "none"

    @property
    def paper_column(self) -> int | None:
        """Column of the paper's table: 0 for scripted demonstrations, 1 for human ones, None for all others."""
        return {"scripted": 0, "human": 1}.get(self.results["settings"].get("demo_style"))


def load(path: Path) -> list[Evaluation]:
    """Every results.json in `path` (a file, or a folder and all below it).

    Raises ValueError where there is none, and for one that eval.py has not written.
    """
    files = [path] if path.is_file() else sorted(path.rglob("results.json"))
    if not files:
        raise ValueError(f"{path} holds no results.json: run `python eval.py {path}` first")
    return [_read(file) for file in files]


def with_run_names(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The same evaluations, each with `run`: the shortest end of its path that differs from those of other runs."""
    paths = [evaluation.run_path for evaluation in evaluations]
    longest = max((len(path.parts) for path in paths), default=1)
    names = [["/".join(path.parts[-count:]) for path in paths] for count in range(1, longest + 1)]
    distinct = next((some for some in names if len(set(some)) == len(set(paths))), names[-1] if names else [])
    return [replace(evaluation, run=name) for evaluation, name in zip(evaluations, distinct, strict=True)]


def _read_results(file: Path) -> dict[str, Any]:
    try:
        results = read_json(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is not whole JSON ({error}): delete it and run eval.py again") from None
    missing = [key for key in NEEDED if key not in results]
    missing += [key for key in ("settings", "provenance") if not isinstance(results.get(key, {}), dict)]
    if missing:
        raise ValueError(f"{file} lacks {', '.join(missing)}: it was not written by eval.py of this repository")
    if wrong := misfit(results):
        raise ValueError(f"{file} cannot be read: {wrong}, which eval.py of this repository does not write")
    return results


def _read(file: Path) -> Evaluation:
    """The run is the nearest folder with a metrics.jsonl, at most three folders up; else the one in the settings."""
    results = _read_results(file)
    settings, above = results["settings"], (file.parent.resolve(), *list(file.resolve().parents)[1:4])
    named = Path(settings.get("run") or file.parent).resolve()
    run_path, metrics = next(((path, found) for path in above if (found := RunFolder(path).metrics())), (named, []))
    try:
        execution = Execution.from_settings(settings) if settings.get("mode") else None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: its settings describe no execution ({error})") from None
    same_task = task_of(settings.get("trained_on") or results["task"]) == results["task"]
    starts = RunFolder(run_path).starts() if same_task else []  # those of another task say nothing about these rollouts
    return Evaluation(file.parent, results, metrics, run_path, starts, execution=execution)
