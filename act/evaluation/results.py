"""What an evaluation left behind: results.json, the learning curve of its run, and a name that tells it from others."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from act.run_folder import read_metrics

NEEDED = ("task", "n", "preliminary", "success", "strict_success", "stages", "mean_return", "episodes", "seeds")
NEEDED += ("wall_time_s", "rollouts_per_min", "settings", "provenance")  # of a results.json


@dataclass(frozen=True)
class Evaluation:
    """One results.json: where it lies, what it holds, the curve of its run, and what tells that from others."""

    folder: Path
    results: dict[str, Any]
    metrics: list[dict[str, Any]] = field(default_factory=list)
    home: Path = Path()  # of its run
    run: str = ""

    @property
    def name(self) -> str:
        """The run and how it was executed; two evaluations of a run that differ in execution have different names."""
        settings = self.results["settings"]
        mode, steps, m = (settings.get(key) for key in ("mode", "n_action_steps", "ensemble_m"))
        if mode == "chunk" and steps != settings.get("chunk_size"):
            mode = f"chunk, {steps} steps of it"
        elif mode == "ensemble" and steps != 1:
            mode = f"ensemble, every {steps} steps"
        weight = "" if m in (None, 0.01) else f"m {m:g}"
        seeds = "validation seeds" if settings.get("seed_set") == "validation" else ""
        parts = (self.run or Path(settings.get("run") or "").name, mode, weight, settings.get("engine"), seeds)
        return " · ".join(filter(None, parts)) or "run"

    @property
    def eyes(self) -> str:
        """Where the policy learned to see."""
        return self.results["settings"].get("backbone_weights") or "none"

    @property
    def style(self) -> int | None:
        """Column of the paper's table: 0 trained on scripted demonstrations, 1 on human ones, None on others."""
        return {"scripted": 0, "human": 1}.get(self.results["settings"].get("demo_style"))


def load(path: Path) -> list[Evaluation]:
    """Every results.json in `path` (a file, or a folder and all below it), with the metrics.jsonl of its run."""
    files = [path] if path.is_file() else sorted(path.rglob("results.json"))
    if not files:
        raise ValueError(f"{path} holds no results.json: run `python eval.py {path}` first")
    return [_read(file) for file in files]


def with_run_names(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The same with `run`, the end of their run's path that no other run's on the page has."""
    homes = [evaluation.home for evaluation in evaluations]
    longest = max((len(home.parts) for home in homes), default=1)
    names = [["/".join(home.parts[-count:]) for home in homes] for count in range(1, longest + 1)]
    found = next((some for some in names if len(set(some)) == len(set(homes))), names[-1] if names else [])
    return [replace(evaluation, run=name) for evaluation, name in zip(evaluations, found, strict=True)]


def _read_results(file: Path) -> dict[str, Any]:
    try:
        results = json.loads(file.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is not whole JSON ({error}): delete it and run eval.py again") from None
    results = results if isinstance(results, dict) else {}
    missing = [key for key in NEEDED if key not in results]
    missing += [key for key in ("settings", "provenance") if not isinstance(results.get(key, {}), dict)]
    if missing:
        raise ValueError(f"{file} lacks {', '.join(missing)}: it was not written by eval.py of this repository")
    return results


def _read(file: Path) -> Evaluation:
    """Its run is where the nearest metrics.jsonl is, at most three folders up; else what the settings say."""
    results, places = _read_results(file), (file.parent.resolve(), *list(file.resolve().parents)[1:4])
    known = Path(results["settings"].get("run") or file.parent).resolve()
    home, metrics = next(((place, found) for place in places if (found := read_metrics(place))), (known, []))
    return Evaluation(file.parent, results, metrics, home)
