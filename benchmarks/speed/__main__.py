"""How fast is everything: `python -m benchmarks.speed [--quick] [--original PATH] [--lerobot PYTHON]`.

One table, one file (benchmarks/results/speed.json). Ours (subjects.py) and the peers (peers.py) run in processes of
their own and take turns, round by round (A B A B); a ratio is the median over rounds of peer / ours, or of ours / peer
for rates: always "times as fast". Weights are random: speed does not depend on them. A part (`--parts query_fast`) can
be measured anew by itself: each keeps its own commit, hardware and time.

--original is a checkout of github.com/tonyzhaozh/act, --lerobot an interpreter that has LeRobot (see peers.py). Figures
measured while others compute on the machine are rough; the load before the start is written down and told.
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
from benchmarks.speed.peers import Round

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
QUICK_ROUNDS, ROUNDS = 2, 5
PATIENCE = 20  # [s]
BUSY = 0.5  # processes wanting to run: above that, somebody else computes


GROUPS: dict[str, dict[str, str]] = {  # part, and ours in it -> peer: the peer's subject in it
    "rendering": {"original": "rendering"},
    "physics": {},
    "recording": {"original": "recording"},
    "dataset": {},
    "training_paper": {"original": "training", "lerobot": "training"},
    "training_fast": {},
    "query_paper": {"original": "query_paper", "lerobot": "query_paper"},
    "query_fast": {"lerobot": "query_fast"},
    "evaluation": {},
    "realtime": {},
}


@dataclass(frozen=True)
class Options:
    """Measures the speed of everything."""

    quick: bool = False
    """Few repetitions: under 3 minutes on a machine that does nothing else."""
    original: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Checkout of github.com/tonyzhaozh/act to compare with."""
    lerobot: Annotated[Path | None, tyro.conf.arg(metavar="PYTHON")] = None
    """Interpreter that has LeRobot to compare with."""
    parts: tuple[str, ...] = tuple(GROUPS)
    """What to measure."""
    out: Path = RESULTS
    """Where the figures go; those of other parts stay as they are."""

    def check(self) -> None:
        """ValueError for what cannot be measured."""
        for part in self.parts:
            if part not in GROUPS:
                raise ValueError(f"--parts {part} is unknown; choose from {', '.join(GROUPS)}")
        if self.original is not None and not (self.original / "policy.py").is_file():
            raise ValueError(
                f"--original {self.original} has no policy.py: give a checkout of github.com/tonyzhaozh/act"
            )
        if self.lerobot is not None and not self.lerobot.is_file():
            raise ValueError(f"--lerobot {self.lerobot} is no file: give an interpreter, e.g. venv/bin/python")

    def commands(self, part: str) -> dict[str, list[str]]:
        """Who takes turns in a part, and how each is started."""
        peers = str(Path(__file__).with_name("peers.py"))
        known = {"original": [sys.executable, peers, "original"], "lerobot": [str(self.lerobot), peers, "lerobot"]}
        paths = {"original": [str(self.original)], "lerobot": []}
        asked = {"original": self.original is not None, "lerobot": self.lerobot is not None}
        program = f"from benchmarks.speed import ours, peers; peers.answer(ours.SUBJECTS[{part!r}]({self.quick}))"
        return {"ours": [sys.executable, "-c", program]} | {
            peer: [*known[peer], subject, *paths[peer]] for peer, subject in GROUPS[part].items() if asked[peer]
        }

    def anywhere(self, command: str) -> str:
        """The command line with the peers' places on this machine called what the help calls them."""
        for place, name in ((self.original, "PATH"), (self.lerobot, "PYTHON")):
            command = command if place is None else command.replace(str(place), name)
        return command


class Subject:
    """A process that answers rounds; what else it says is only shown when it dies."""

    def __init__(self, name: str, command: Sequence[str]):
        self.name, self._said = name, tempfile.TemporaryFile("w+")  # noqa: SIM115 (see close)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} if name == "ours" else None
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True, env=environment
        )

    def round(self) -> Round:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            raise RuntimeError(f"{self.name} died and said: {self._said.read()[-2000:].strip() or 'nothing'}")
        return json.loads(line)

    def close(self) -> None:
        """Ends its input, upon which it tidies up and goes."""
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._said.close()


def take_turns(commands: dict[str, list[str]], rounds: int) -> dict[str, list[Round]]:
    """The rounds of everybody, taken A B A B. RuntimeError when one dies."""
    subjects = [Subject(name, command) for name, command in commands.items()]
    told: dict[str, list[Round]] = {name: [] for name in commands}
    try:
        for _ in range(rounds):
            for subject in subjects:
                told[subject.name].append(subject.round())
    finally:
        for subject in subjects:
            subject.close()
    return told


@dataclass
class Row:
    """One line of the table; `peers` and `ratios` by name."""

    name: str
    p50: float
    p99: float
    n: int
    peers: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)


def rows_of(told: dict[str, list[Round]]) -> list[Row]:
    """Percentiles over all rounds; ratios by round, so that a machine that gets slower slows both."""
    rows = []
    for name in told["ours"][0]:
        values = np.concatenate([turn[name] for turn in told["ours"]])
        row = Row(name, float(np.median(values)), float(np.percentile(values, 99)), len(values))
        for peer, turns in told.items():
            if peer != "ours" and name in turns[0]:
                row.peers[peer] = float(np.median(np.concatenate([turn[name] for turn in turns])))
                pairs = [(np.median(a[name]), np.median(b[name])) for a, b in zip(told["ours"], turns, strict=True)]
                faster = [ours / theirs if name.endswith(("/s]", "/min]")) else theirs / ours for ours, theirs in pairs]
                row.ratios[peer] = float(np.median(faster))
        rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> str:
    """One line per figure: median, 99th percentile where there is one, and what peers need."""
    lines = []
    for row in rows:
        p99 = f"p99 {row.p99:.4g}" if row.n > 1 and row.name.endswith("s]") and "/s]" not in row.name else ""
        peers = "; ".join(f"{peer} {value:.4g}: {row.ratios[peer]:.3g}x" for peer, value in row.peers.items())
        lines.append(f"{row.name:58s} {row.p50:10.4g}  {p99:14s} {peers}".rstrip())
    return "\n".join(lines)


def measure(options: Options) -> list[Row]:
    """The parts asked for, one after another; the file is rewritten after each and keeps what it has of others."""
    options.check()
    load, rows = os.getloadavg()[0], []
    read_parts(options.out)
    if load > BUSY:
        print(f"load {load:.1f} before the start: others compute here, so figures are rough and ratios less so")
    for part in tqdm(options.parts, unit="part", disable=None):
        measured = rows_of(take_turns(options.commands(part), QUICK_ROUNDS if options.quick else ROUNDS))
        made = provenance()
        made["command"] = options.anywhere(made["command"])
        how = {"quick": options.quick, "load_before": load, "provenance": made}
        told = {"rows": [vars(row) for row in measured], **how}
        with lock_file(options.out), whole_file(options.out) as temporary:
            parts = read_parts(options.out) | {part: told}
            temporary.write_text(json.dumps({name: parts[name] for name in GROUPS if name in parts}, indent=1) + "\n")
        rows += measured
    return rows


def read_parts(path: Path) -> dict[str, Any]:
    """What is known of each part. ValueError for a file of something else."""
    if not path.exists():
        return {}
    try:
        parts = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no figures of this program ({error}); give another --out") from None
    if not isinstance(parts, dict) or set(parts) - set(GROUPS):
        raise ValueError(f"{path} holds no figures of this program; give another --out")
    return parts


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        print(
            table(measure(tyro.cli(Options, args=arguments, prog="python -m benchmarks.speed", use_underscores=True)))
        )
    except (ValueError, RuntimeError, OSError) as error:
        print(f"speed: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        print("\nspeed: stopped; the parts that are done are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
