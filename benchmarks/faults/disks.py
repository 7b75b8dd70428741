"""Runs programs on a disk of a few MB that fills up: a tmpfs, which only root may mount on Linux.

A trial is right when the program ends with code 1 or 2 and one sentence that says "no space left on device" and names a
path on that disk, without a traceback, when no file that was there before has changed, and when the same command, on
the same disk with more room, has the result of a program that nobody disturbed.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults.programs import PROGRAMS, End, Program, files, prepare, run_and_kill, run_undisturbed

FILLED = ("recording", "raw recording", "pretraining", "training", "evaluation", "export")
ROOM = "512m"  # of the disk once there is enough
OUTCOMES = ("sentence", "fitted", "wrong")


@dataclass(frozen=True)
class Trial:
    """One program on a disk that was too small."""

    program: str  # a name in PROGRAMS
    room: int  # [bytes] that were free
    outcome: str
    sentence: str = ""  # the last line of the program, or what is wrong


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a tmpfs here."""
    with mounted(folder / "probe", "64k") as mount:
        return mount


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[bool]:
    """Mounts a disk of this size on a new folder; yields whether that was allowed."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder)


def run_disks(
    folder: Path,
    count: int,
    seed: int,
    programs: dict[str, Program] = PROGRAMS,
    filled: tuple[str, ...] = FILLED,
) -> Iterator[Trial]:
    """Yields the outcome of `count` trials, the programs `filled` in turn; the room of trial i depends on (seed, i).

    Raises RuntimeError where no disk can be mounted, and when an undisturbed program fails.
    """
    if not can_mount(folder):
        raise RuntimeError("no tmpfs can be mounted here; run this as root on Linux")
    needed = tuple(name for name in programs if name in filled or name in ("recording", "scenes"))
    for _ in run_undisturbed(folder, needed, programs):
        pass
    for index in range(count):
        name = filled[index % len(filled)]
        yield run_trial(folder, name, programs[name], np.random.default_rng((seed, index)))


def run_trial(folder: Path, name: str, program: Program, rng: np.random.Generator) -> Trial:
    """Runs a program with a random part of the room that it needs, and then again with enough."""
    before = folder / program.begins_with if program.begins_with else None
    start = _bytes(before) if before else 0
    room = start + int((_bytes(folder / name) - start) * rng.uniform(0.02, 0.98)) // 4096 * 4096
    out = folder / "disk"
    with mounted(out, str(max(room, 4096))):
        prepare(program, folder, out)
        kept = files("**/*")(out)
        end = run_and_kill(lambda: program.run(folder, out), None, folder / "log")
        wrong = _wrong(end, out, kept, (folder / "log").read_text(errors="replace"))
        if not wrong:
            subprocess.run(["mount", "-o", f"remount,size={ROOM}", out], check=True)
            again = run_and_kill(lambda: program.run(folder, out), None, folder / "log")
            wrong = f"with enough room it failed: {again.said}" if again.code else ""
            wrong = wrong or ("" if program.result(out) == program.result(folder / name) else "another result")
    outcome = "wrong" if wrong else "sentence" if end.code else "fitted"
    return Trial(name, room, outcome, wrong or end.said)


def _wrong(end: End, out: Path, kept: str, log: str) -> str:
    """What is wrong with how a program ended on a full disk; "" if nothing is."""
    if end.code and (end.code not in (1, 2) or "no space left on device" not in end.said or str(out) not in end.said):
        return f"it ended with code {end.code}: {end.said}"
    if "Traceback (most recent call last)" in log:
        return "it printed a traceback"
    lost = set(kept.splitlines()) - set(files("**/*")(out).splitlines())
    return f"files have changed: {', '.join(sorted(lost))}" if lost else ""


def _bytes(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def make_table(trials: list[Trial]) -> str:
    """Returns the outcomes as a Markdown table."""
    titles = ("one sentence, then an equal result", "the room was enough", "wrong")
    lines = ["| program | full disks | " + " | ".join(titles) + " |", "|---" * 5 + "|"]
    for name in (*dict.fromkeys(trial.program for trial in trials), "all"):
        chosen = [trial for trial in trials if name in (trial.program, "all")]
        outcomes = Counter(trial.outcome for trial in chosen)
        lines.append(f"| {name} | {len(chosen)} | " + " | ".join(str(outcomes[each]) for each in OUTCOMES) + " |")
    return "\n".join(lines)
