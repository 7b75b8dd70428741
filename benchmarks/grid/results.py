"""What the cells of a grid came to: rows made of what train.py and eval.py leave, and the file that keeps them."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from act.data.episodes import find_episodes, read_episode
from act.files import lock_file, whole_file
from act.provenance import provenance
from act.run_folder import read_metrics
from benchmarks.grid.cells import Cell, Options, modes_of

RESULTS = Path(__file__).parents[1] / "results"
NEEDED = {"method", "recipe", "train_seed", "mode", "n_action_steps", "track", "n", "first_seed"}  # in a row
NEEDED |= {"task", "style", "stages", "rewards", "strict", "single_query", "commands", "provenance"}
Row = dict[str, Any]


class Results:
    """Rows by key, in a JSON file with one row per line; each addition writes it whole or not at all.

    Grids may share the file: whoever adds a row takes over what others have added meanwhile.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[tuple[Any, ...], Row] = {}
        self._read()

    def _read(self) -> None:
        try:
            rows = json.loads(self.path.read_text())["rows"]
            lacking = {name for row in rows for name in NEEDED - row.keys()}
            if lacking:
                raise KeyError(", ".join(sorted(lacking)))
            self.rows |= {key_of(row): row for row in rows}
        except FileNotFoundError:
            return
        except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.path} holds no results of a grid ({error!r}); give another file") from None

    def has(self, cell: Cell, mode: str, rollouts: int) -> bool:
        return self.rows.get(cell.key(mode), {"n": 0})["n"] >= rollouts

    def take(self, path: Path, cells: Sequence[Cell]) -> None:
        """Adds another file's rows of these cells that are not here, or are here with fewer rollouts."""
        keys = {cell.key(mode) for cell in cells for mode in cell.method.modes}
        rows = [row for key, row in Results(path).rows.items() if key in keys]
        for row in rows:
            if "demonstrations" in row:
                self.refuse_others(row["task"], row["style"], row["demonstrations"], path)
        self.add(*rows, better=True)

    def refuse_others(self, task: str, style: str, demonstrations: str, source: Path) -> None:
        """ValueError where rows here learned from other demonstrations of a task and style than those of `source`."""
        alike = [row for row in self.rows.values() if (row["task"], row["style"]) == (task, style)]
        known = {row["demonstrations"] for row in alike if "demonstrations" in row}  # older rows do not tell
        if other := known - {demonstrations}:
            raise ValueError(
                f"{self.path} holds rows of other demonstrations of {task} {style} ({', '.join(other)}) than {source} "
                f"({demonstrations}): give another --results, or the --data they learned from"
            )

    def add(self, *rows: Row, better: bool = False) -> None:
        """Writes rows over those of the same key; with `better` only where these have more rollouts."""
        if not rows:
            return
        with lock_file(self.path):
            self._read()
            known = {key: row["n"] for key, row in self.rows.items() if better}
            self.rows |= {key_of(row): row for row in rows if row["n"] > known.get(key_of(row), 0)}
            lines = ",\n".join(json.dumps(row, allow_nan=False) for row in self.rows.values())
            with whole_file(self.path) as temporary:
                temporary.write_text(f'{{"provenance": {json.dumps(provenance())},\n"rows": [\n{lines}\n]}}\n')


def key_of(row: Row) -> tuple[Any, ...]:
    return row["recipe"], row["train_seed"], row["mode"], row["n_action_steps"]


def digest(demos: Path) -> str:
    """16 digits that tell what demonstrations teach: no other actions have them, whatever was filmed."""
    actions = hashlib.sha256()
    for path in find_episodes(demos):
        actions.update(read_episode(path).action.tobytes())
    return actions.hexdigest()[:16]


def row_of(cell: Cell, mode: str, run: Path, demos: Path, commands: Sequence[Sequence[str]]) -> Row:
    """What one evaluation came to: a digit per rollout for the highest stage, one for strict success."""
    results = json.loads(results_file(cell, mode, run).read_text())
    settings, episodes = results["settings"], results["episodes"]
    row = {"method": cell.method.name, "recipe": cell.recipe, "train_seed": cell.seed, "mode": mode}
    row |= {"task": cell.task, "style": cell.style, "track": cell.track}
    row |= {"policy": cell.method.policy, "steps": cell.steps, "demonstrations": digest(demos)}
    row |= {key: settings[key] for key in ("chunk_size", "n_action_steps", "ensemble_m", "seed_set")}
    row |= {key: settings[key] for key in ("backbone_weights", "weights", "train_commit")}
    row |= {"n": results["n"], "first_seed": results["seeds"][0], "stages": [s["name"] for s in results["stages"]]}
    row["rewards"] = "".join(str(int(episode["max_reward"])) for episode in episodes)
    row["strict"] = "".join(str(int(episode["strict_success"])) for episode in episodes)
    row |= {"single_query": results["single_query"], "train_s": training_time(run), "eval_s": results["wall_time_s"]}
    row["commands"] = [shlex.join(["python", *command[1:]]) for command in commands]
    return row | {"provenance": {k: v for k, v in results["provenance"].items() if k != "command"}}


def results_file(cell: Cell, mode: str, run: Path) -> Path:
    every = "" if mode == "chunk" else f"_every{cell.every(mode)}"
    return run / "eval" / f"test_{mode}{every}" / "results.json"


def rollouts_done(cell: Cell, mode: str, run: Path) -> int:
    """Rollouts of a finished evaluation of the policy that is there."""
    path, weights = results_file(cell, mode, run), run / "policy.safetensors"
    if not path.exists() or path.stat().st_mtime < weights.stat().st_mtime:
        return 0
    return json.loads(path.read_text())["n"]


def training_time(run: Path) -> float:
    """Seconds of all optimizer steps that were kept, whatever the number of interruptions."""
    done, total = 0, 0.0
    for line in read_metrics(run):
        total += line["seconds_per_step"] * (line["step"] - done)
        done = line["step"]
    return round(total, 1)


def missing(cell: Cell, options: Options, results: Results) -> list[str]:
    """Those among them that are not in the results."""
    return [mode for mode in modes_of(cell, options) if not results.has(cell, mode, options.rollouts)]
