"""Kills programs at random moments, and compares what they leave with an undisturbed run.

A program and its workers get SIGKILL, once or twice; then the same command is run to its end. A trial is right when the
command ends with code 0 and its result is equal to that of a program that nobody killed.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults.programs import PROGRAMS, Program, prepare, run_and_kill, run_undisturbed

TWICE = 0.3  # share of the trials in which the program is killed again while it goes on
KILLED = ("recording", "scenes", "pretraining", "training", "co-training", "evaluation", "conversion")


@dataclass(frozen=True)
class Trial:
    """One program that was killed, and how it ended afterwards."""

    program: str  # a name in PROGRAMS
    kills: int  # that hit it; 0 when it was done before
    outcome: str  # "equal", "another result", or how it failed
    sentence: str = ""  # the last line of a program that failed


def run_kills(
    folder: Path,
    count: int,
    seed: int,
    programs: dict[str, Program] = PROGRAMS,
    killed: tuple[str, ...] = KILLED,
) -> Iterator[Trial]:
    """Yields the outcome of `count` trials, the programs `killed` in turn, after all have run undisturbed once.

    When a trial is killed depends on (seed, trial), and where that finds the program on the machine.
    Raises RuntimeError when an undisturbed program fails.
    """
    needed = tuple(name for name in programs if name in killed or name == "resnet18")
    durations = dict(run_undisturbed(folder, needed, programs))
    for index in range(count):
        name = killed[index % len(killed)]
        yield run_trial(folder, name, programs[name], durations[name], np.random.default_rng((seed, index)))


def run_trial(folder: Path, name: str, program: Program, duration: float, rng: np.random.Generator) -> Trial:
    """Kills one program at random moments of `duration` [s], and lets it end."""
    out, kills = folder / "trial", 0
    try:
        prepare(program, folder, out)
        for _ in range(1 + int(rng.random() < TWICE)):
            moment = rng.uniform(0, duration)
            kills += run_and_kill(lambda: program.run(folder, out), moment, folder / "log").killed
        end = run_and_kill(lambda: program.run(folder, out), None, folder / "log")
        if end.code:
            return Trial(name, kills, "failed", end.said)
        same = program.result(out) == program.result(folder / name)
        return Trial(name, kills, "equal" if same else "another result")
    finally:
        shutil.rmtree(out, ignore_errors=True)


def make_table(trials: list[Trial]) -> str:
    """Returns the outcomes as a Markdown table."""
    lines = ["| program | trials | kills | equal result | another result | failed |", "|---" * 6 + "|"]
    for name in (*dict.fromkeys(trial.program for trial in trials), "all"):
        chosen = [trial for trial in trials if name in (trial.program, "all")]
        outcomes, kills = Counter(trial.outcome for trial in chosen), sum(trial.kills for trial in chosen)
        counts = [len(chosen), kills, *(outcomes[outcome] for outcome in ("equal", "another result", "failed"))]
        lines.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)
