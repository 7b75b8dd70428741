"""Rows of results, one for each training run and mode, and the JSON file that keeps them."""

import hashlib
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from act.data.episodes import find_episodes, read_episode
from act.files import lock_file, whole_file
from act.provenance import provenance
from act.run_folder import RunFolder
from benchmarks.grid.cells import Cell, Mode

RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]


class Results:
    """Rows by key, in a JSON file with one row per line. Several grids may add rows to the same file."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[tuple[Any, ...], Row] = {}
        self._read()

    def _read(self) -> None:
        try:
            self._merge(json.loads(self.path.read_text())["rows"] if self.path.exists() else [])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} holds no results of a grid ({error!r}); give another file") from None

    def _merge(self, rows: Iterable[Row]) -> None:
        """Of two rows with the same key the one with more rollouts stays."""
        for row in rows:
            key = row["recipe"], row["train_seed"], row["mode"], row["n_action_steps"]
            if row["n"] > self.rows.get(key, {"n": 0})["n"]:
                self.rows[key] = row

    def add(self, *rows: Row) -> None:
        """Adds rows, and those that another program has written meanwhile."""
        with lock_file(self.path):
            self._read()
            self._merge(rows)
            lines = ",\n".join(json.dumps(row, allow_nan=False) for row in self.rows.values())
            with whole_file(self.path) as temporary:
                temporary.write_text(f'{{"provenance": {json.dumps(provenance())},\n"rows": [\n{lines}\n]}}\n')

    def take(self, path: Path, cells: Sequence[Cell]) -> None:
        """Adds another file's rows of these cells."""
        if not path.is_file():
            raise ValueError(f"--take {path}: this file does not exist")
        keys = {cell.key(mode) for cell in cells for mode in cell.method.modes}
        if rows := [row for key, row in Results(path).rows.items() if key in keys]:
            for row in rows:
                self.refuse_other_demonstrations(row, path)
            self.add(*rows)

    def missing(self, cell: Cell, rollouts: int) -> list[Mode]:
        """Returns the modes in which the cell is still to be evaluated."""
        return [mode for mode in cell.method.modes if self.rows.get(cell.key(mode), {"n": 0})["n"] < rollouts]

    def refuse_other_demonstrations(self, row: Row, source: Path) -> None:
        """Raises ValueError when rows of the same task and style were trained on other demonstrations."""
        for other in self.rows.values():
            alike = all(other[key] == row[key] for key in ("task", "style"))
            digests = other.get("demonstrations"), row.get("demonstrations")  # old rows have none
            if alike and all(digests) and digests[0] != digests[1]:
                raise ValueError(
                    f"{self.path} holds rows of other demonstrations of {row['task']} {row['style']} ({digests[0]}) "
                    f"than {source} ({digests[1]}); give another --results, or put back the demonstrations of the rows"
                )


def demonstrations_of(cell: Cell) -> Row:
    """Returns task, style, and 16 hexadecimal digits of the actions in the demonstrations, whatever the cameras."""
    actions = hashlib.sha256()
    for path in find_episodes(cell.demonstrations):
        actions.update(read_episode(path).action.tobytes())
    return {"task": cell.task, "style": cell.style, "demonstrations": actions.hexdigest()[:16]}


def row_of(cell: Cell, mode: Mode, commands: Sequence[Sequence[object]]) -> Row:
    """Returns the row of one evaluation. "rewards" and "strict" hold one digit for each rollout."""
    run = RunFolder(cell.run)
    results = json.loads((run.evaluation(cell.execution(mode).folder()) / "results.json").read_text())
    settings, episodes = results["settings"], results["episodes"]
    row = {"method": cell.method.name, "recipe": cell.recipe, "train_seed": cell.seed, "mode": mode}
    row |= demonstrations_of(cell) | {"track": cell.track, "policy": cell.method.policy, "steps": cell.steps}
    row |= {key: settings[key] for key in ("chunk_size", "n_action_steps", "ensemble_m", "seed_set")}
    row |= {key: settings[key] for key in ("backbone_weights", "weights", "train_commit")}
    row |= {"n": results["n"], "first_seed": results["seeds"][0], "stages": [s["name"] for s in results["stages"]]}
    row["rewards"] = "".join(str(int(episode["max_reward"])) for episode in episodes)
    row["strict"] = "".join(str(int(episode["strict_success"])) for episode in episodes)
    last, train_s = 0, 0.0  # of all optimizer steps that were kept, whatever the number of interruptions
    for line in run.metrics():
        train_s, last = train_s + line["seconds_per_step"] * (line["step"] - last), line["step"]
    row |= {"single_query": results["single_query"], "train_s": round(train_s, 1), "eval_s": results["wall_time_s"]}
    row["commands"] = [shlex.join(["python", *map(str, words)]) for words in commands]
    return row | {"provenance": {k: v for k, v in results["provenance"].items() if k != "command"}}
