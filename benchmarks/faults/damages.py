"""Damages recorded episodes at random, and judges what `validate` and training make of each damaged file.

A file is right when it is refused with one sentence that names it, or accepted with every array, image and attribute
unchanged. Each file is read in a process of its own with a time and a memory limit, so that crashes and endless loops
are counted, too.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from act.data.episodes import read_episode, write_episode
from act.data.inspection import Finding, Inspector, examine

KINDS = ("flip", "truncate", "zero", "swap", "splice")
FORMS = ("JPEG", "raw", "JPEG with labels", "raw with labels")
OUTCOMES = ("refused", "unchanged", "changed", "bad sentence", "crash, hang or traceback")
STEPS, SIZE, CAMERAS = 12, (24, 32), ("cam_high", "cam_low")
CPU_SECONDS = 20.0  # for one file that is read in milliseconds


@dataclass(frozen=True)
class Damage:
    """One damaged file."""

    kind: str
    form: str
    by_validate: str  # an outcome
    by_training: str  # an outcome
    sentence: str  # of the first of both that is not as it should be, else ""


# ----------------------------------------------------------------------------------------------------------- episodes
def write_originals(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Writes two episodes of every form, with the code that records; the second one is what is spliced in."""
    pairs = {}
    for number, form in enumerate(FORMS):
        paths = [folder / f"original_{number}_{copy}.hdf5" for copy in range(2)]
        for copy, path in enumerate(paths):
            write_episode(path, **_content(np.random.default_rng((number, copy)), form))
        pairs[form] = (paths[0], paths[1])
    return pairs


def _content(rng: np.random.Generator, form: str) -> dict[str, Any]:
    vectors = {name: rng.normal(size=(STEPS, 14)) for name in ("qpos", "qvel", "action")}
    images = {camera: rng.integers(0, 256, (STEPS, *SIZE, 3), dtype=np.uint8) for camera in CAMERAS}
    attrs = {"task_name": "toy", "seed": 3, "stage_names": ["half", "there"], "versions": {"numpy": "2"}}
    labels: dict[str, Any] = {}
    if "labels" in form:
        labels = {"executed_action": rng.normal(size=(STEPS, 14)), "intervention": np.arange(STEPS) > STEPS // 2}
        labels |= {"action_chunk": rng.normal(size=(3, 5, 14)), "action_chunk_t": np.array([1, 4, 9])}
    vectors |= {"reward": np.arange(STEPS), "env_state": rng.normal(size=(STEPS, 7))}
    return vectors | labels | {"images": images, "attrs": attrs, "compress": form.startswith("JPEG")}


# ----------------------------------------------------------------------------------------------------------- damaging
def damage(rng: np.random.Generator, kind: str, data: bytes, other: bytes) -> bytes:
    """Returns `data` with one random damage. `other` is a file of the same form, of which splices take bytes."""
    size = len(data)
    start = int(rng.integers(size))
    length = int(min(size - start, np.exp(rng.uniform(0, np.log(size)))))  # short and long ranges alike
    if kind == "truncate":
        return data[:start]
    if kind == "zero":
        return data[:start] + bytes(length) + data[start + length :]
    if kind == "splice":
        at = start if rng.random() < 0.5 else int(rng.integers(len(other)))
        return data[:start] + other[at : at + length] + data[start + length :]
    if kind == "swap":
        return _swapped(data, start, int(rng.integers(size)), length)
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        changed[int(rng.integers(size))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _swapped(data: bytes, one: int, other: int, length: int) -> bytes:
    """Returns `data` with two ranges exchanged that do not overlap."""
    first, second = min(one, other), max(one, other)
    length = min(length, second - first, len(data) - second)
    a, b = data[first : first + length], data[second : second + length]
    return data[:first] + b + data[first + length : second] + a + data[second + length :]


# ------------------------------------------------------------------------------------------------------------ judging
def run_damages(folder: Path, count: int, seed: int) -> Iterator[Damage]:
    """Yields the outcome of `count` random damages, all kinds and forms in turn; damage i depends on (seed, i)."""
    originals = write_originals(folder)
    path = folder / "episode_0.hdf5"
    with Inspector(cpu_seconds=CPU_SECONDS, wall_seconds=CPU_SECONDS) as inspector:
        for index in range(count):
            kind = KINDS[index % len(KINDS)]
            form = FORMS[index // len(KINDS) % len(FORMS)]
            original, other = originals[form]
            rng = np.random.default_rng((seed, index))
            path.write_bytes(damage(rng, kind, original.read_bytes(), other.read_bytes()))
            yield _judged(inspector, kind, form, path, original)


def _judged(inspector: Inspector, kind: str, form: str, path: Path, original: Path) -> Damage:
    outcomes = []
    for function in (by_validate, by_training):
        finding = inspector.inspect(function, path, original)
        outcomes.append((finding.line or OUTCOMES[-1], finding.problem or ""))
    wrong = [sentence for outcome, sentence in outcomes if outcome not in OUTCOMES[:2]]
    return Damage(kind, form, outcomes[0][0], outcomes[1][0], wrong[0] if wrong else "")


def by_validate(path: Path, original: Path) -> Finding:
    """What `validate` says of a file."""
    finding = examine(path)
    return _finding(path, original, finding.problem)


def by_training(path: Path, original: Path) -> Finding:
    """What training gets from a file when it reads all of it."""
    try:
        episode = read_episode(path)
        for camera in episode.cameras:
            for t in range(len(episode)):
                episode.read_images(camera, t, t + 1)
    except ValueError as error:
        return _finding(path, original, str(error))
    return _finding(path, original, None)


def _finding(path: Path, original: Path, problem: str | None) -> Finding:
    """Returns the outcome as the line of a finding."""
    if problem is None:
        same = _everything(path) == _original(original)
        return Finding(path, line=OUTCOMES[1] if same else OUTCOMES[2])
    good = str(path) in problem and "\n" not in problem
    return Finding(path, problem, line=OUTCOMES[0] if good else OUTCOMES[3])


@functools.cache
def _original(path: Path) -> dict[str, Any]:
    return _everything(path)


def _everything(path: Path) -> dict[str, Any]:
    """Returns all arrays, images and attributes of an episode in a form that `==` compares."""
    episode = read_episode(path)
    arrays = {name: value for name, value in vars(episode).items() if isinstance(value, np.ndarray)}
    arrays |= {camera: episode.read_images(camera) for camera in episode.cameras}
    return {"attrs": episode.attrs, "cameras": episode.cameras} | {
        name: (array.shape, array.dtype.str, array.tobytes()) for name, array in arrays.items()
    }


# ------------------------------------------------------------------------------------------------------------- tables
def count_outcomes(damages: list[Damage]) -> list[tuple[str, Counter[str], Counter[str]]]:
    """Returns (kind, outcomes of validate, outcomes of training) of every kind, and of all damages."""
    rows = []
    for kind in (*KINDS, "all"):
        chosen = [each for each in damages if kind in (each.kind, "all")]
        rows.append((kind, Counter(d.by_validate for d in chosen), Counter(d.by_training for d in chosen)))
    return rows


def make_table(damages: list[Damage]) -> str:
    """Returns the outcomes as a Markdown table, those of `validate` and of training beside each other."""
    lines = ["| damage | files | " + " | ".join(OUTCOMES) + " |", "|---" * (len(OUTCOMES) + 2) + "|"]
    for kind, validate, training in count_outcomes(damages):
        cells = [f"{validate[outcome]} / {training[outcome]}" for outcome in OUTCOMES]
        lines.append(f"| {kind} | {sum(validate.values())} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
