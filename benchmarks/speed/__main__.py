"""Measures how fast everything is, beside the original ACT and LeRobot; one table, and benchmarks/results/speed.json.

Our measurements (ours.py) and the peers' (peers.py) run in processes of their own and take turns, round by round
(A B A B). A ratio is the median over rounds of how many times as fast ours is. Weights are random, because speed does
not depend on them. Every part of the file keeps its own commit, hardware and time; results are rough when other
programs compute on the machine, so that the load before the start is kept, too.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from act.files import lock_file, whole_file
from act.provenance import provenance
from benchmarks.programs import main
from benchmarks.speed.peers import Round

ROOT = Path(__file__).parents[2]
PATIENCE = 20  # [s] that a process has to end
BUSY = 0.5  # processes that want to run; above that, other programs compute
PARTS: dict[str, dict[str, str]] = {  # part -> peer: the peer's measurement in it
    "rendering": {"original": "rendering"},
    "physics": {},
    "recording": {"original": "recording"},
    "recording_pretty": {"original": "recording"},  # with shadows and multisampling, as the original
    "training_paper": {"original": "training", "lerobot": "training"},
    "training_fast": {},
    "query_paper": {"original": "query_paper", "lerobot": "query_paper"},
    "query_fast": {"lerobot": "query_fast"},
    "evaluation": {},
    "realtime": {},
}


@dataclass(frozen=True)
class Options:
    """What is measured."""

    quick: bool = False
    """Few repetitions: under 3 minutes without recording_pretty, on a machine that does nothing else."""
    original: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Checkout of github.com/tonyzhaozh/act to compare with."""
    lerobot: Annotated[Path | None, tyro.conf.arg(metavar="PYTHON")] = None
    """Python interpreter with LeRobot to compare with."""
    parts: tuple[str, ...] = tuple(PARTS)
    """Parts to measure; the others stay in the file as they are."""
    out: Path = ROOT / "benchmarks" / "results" / "speed.json"
    """JSON file of the results."""

    def check(self) -> None:
        """Raises ValueError for what cannot be measured."""
        for part in self.parts:
            if part not in PARTS:
                raise ValueError(f"--parts {part}: choose from {', '.join(PARTS)}")
        if self.original is not None and not (self.original / "policy.py").is_file():
            raise ValueError(f"--original {self.original} has no policy.py: give a checkout of tonyzhaozh/act")
        if self.lerobot is not None and not self.lerobot.is_file():
            raise ValueError(f"--lerobot {self.lerobot} is no file: give an interpreter, e.g. venv/bin/python")

    def commands(self, part: str) -> dict[str, list[str]]:
        """Returns the command of every process that takes turns in a part."""
        peers = str(Path(__file__).with_name("peers.py"))
        program = f"from benchmarks.speed import ours, peers; peers.answer(ours.MEASUREMENTS[{part!r}]({self.quick}))"
        commands = {"ours": [sys.executable, "-c", program]}
        for peer, measurement in PARTS[part].items():
            if peer == "original" and self.original is not None:
                commands[peer] = [sys.executable, peers, peer, measurement, str(self.original)]
            if peer == "lerobot" and self.lerobot is not None:
                commands[peer] = [str(self.lerobot), peers, peer, measurement]
        return commands

    def anonymous(self, command: str) -> str:
        """Returns the command line without the peers' places on this machine."""
        for place, name in ((self.original, "PATH"), (self.lerobot, "PYTHON")):
            command = command if place is None else command.replace(str(place), name)
        return command


class Process:
    """A process that answers rounds; its other output is shown only when it dies."""

    def __init__(self, name: str, command: Sequence[str]):
        self.name, self._output = name, tempfile.TemporaryFile("w+")  # noqa: SIM115 (see close)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} if name == "ours" else None
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._output}
        self._process = subprocess.Popen(command, text=True, env=environment, **pipes)

    def round(self) -> Round:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            self._output.seek(0)
            raise RuntimeError(f"{self.name} died; its output: {self._output.read()[-2000:].strip() or 'none'}")
        return json.loads(line)

    def close(self) -> None:
        """Closes its input, so that it ends."""
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._output.close()


def take_turns(commands: dict[str, list[str]], n_rounds: int) -> dict[str, list[Round]]:
    """Returns the rounds of every process, taken A B A B. Raises RuntimeError when one dies."""
    processes = [Process(name, command) for name, command in commands.items()]
    rounds: dict[str, list[Round]] = {name: [] for name in commands}
    try:
        for _ in range(n_rounds):
            for process in processes:
                rounds[process.name].append(process.round())
    finally:
        for process in processes:
            process.close()
    return rounds


@dataclass
class Row:
    """One line of the table; `peers` are medians and `ratios` how many times as fast ours is, by name."""

    name: str
    p50: float
    p99: float
    n: int
    peers: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        p99 = f"p99 {self.p99:.4g}" if self.n > 1 and self.name.endswith("s]") and "/s]" not in self.name else ""
        peers = "; ".join(f"{peer} {value:.4g}: {self.ratios[peer]:.3g}x" for peer, value in self.peers.items())
        return f"{self.name:58s} {self.p50:10.4g}  {p99:14s} {peers}".rstrip()


def rows_of(rounds: dict[str, list[Round]]) -> list[Row]:
    """Returns percentiles over all rounds, and ratios by round, because a slower machine then slows both."""
    rows = []
    for name in rounds["ours"][0]:
        values = np.concatenate([turn[name] for turn in rounds["ours"]])
        row = Row(name, float(np.median(values)), float(np.percentile(values, 99)), len(values))
        for peer, turns in rounds.items():
            if peer != "ours" and name in turns[0]:
                row.peers[peer] = float(np.median(np.concatenate([turn[name] for turn in turns])))
                peers, own = ([float(np.median(turn[name])) for turn in found] for found in (turns, rounds["ours"]))
                ratios = np.array(peers) / np.array(own)
                row.ratios[peer] = float(np.median(1 / ratios if name.endswith(("/s]", "/min]")) else ratios))
        rows.append(row)
    return rows


def measure(options: Options) -> None:
    """Measures the parts one after another, prints them, and writes the file after each."""
    options.check()
    load = os.getloadavg()[0]
    read_parts(options.out)
    if load > BUSY:
        print(f"load {load:.1f} before the start: other programs compute, so results are rough, and ratios less so")
    for part in tqdm(options.parts, unit="part", disable=None):
        rows = rows_of(take_turns(options.commands(part), 2 if options.quick else 5))
        made = provenance()
        made["command"] = options.anonymous(made["command"])
        measured = {
            "rows": [vars(row) for row in rows],
            "quick": options.quick,
            "load_before": load,
            "provenance": made,
        }
        with lock_file(options.out), whole_file(options.out) as temporary:
            parts = read_parts(options.out) | {part: measured}
            temporary.write_text(json.dumps(parts, indent=1) + "\n")
        tqdm.write("\n".join(map(str, rows)))


def read_parts(path: Path) -> dict[str, Any]:
    """Returns the parts that the file holds. Raises ValueError for a file of something else."""
    try:
        parts = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError):
        parts = None
    if not isinstance(parts, dict) or not all(isinstance(part, dict) and "rows" in part for part in parts.values()):
        raise ValueError(f"{path} holds no results of this benchmark; give another --out")
    return parts


def program(argv: Sequence[str] | None = None) -> int:
    return main("speed", Options, measure, __doc__, "docs/results.md", argv, stopped="finished parts are kept")


if __name__ == "__main__":
    sys.exit(program())
