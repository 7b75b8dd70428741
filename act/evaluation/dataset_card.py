"""The cards of data sets: folders of episodes, and LeRobot data sets that were made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from act.data.editing.copying import edits_of
from act.data.episodes import Episode, find_episodes, read_episode
from act.evaluation.card_text import CARD, PROJECT, card, earlier_licence, licence_text, table, write
from act.types import CONTROL_TIMESTEP

SIMULATED = ("scripted", "human")  # sources whose episodes were made by programs alone
OPERATORS = "The people who drove decide. Write their choice here and above before you share the episodes."


@dataclass(frozen=True)
class Summary:
    """What a card says of one episode, without its arrays: a data set may be larger than the memory."""

    attrs: dict[str, Any]
    length: int  # control steps
    cameras: tuple[str, ...]
    image_size: tuple[int, int] | None  # (H, W)

    @classmethod
    def of(cls, episode: Episode) -> Self:
        return cls(episode.attrs, len(episode), tuple(episode.cameras), episode.image_size)


@dataclass(frozen=True)
class Format:
    """How a card describes the files of a data set, and what the Hub shall know of them."""

    lines: tuple[str, ...]
    commands: tuple[str, ...]
    head: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


HDF5 = Format(
    lines=(
        "One HDF5 file per episode in ALOHA's layout: joints in radians, grippers from 0 (closed) to 1 (open), 50 Hz",
        "unless the files say otherwise. The JPEGs were written by OpenCV from RGB arrays, so other programs must",
        "swap red and blue (attribute `jpeg_colors`).",
    ),
    commands=(
        "hf download USER/NAME --repo-type dataset \\",
        "    --local-dir data/downloaded",
        "python -m act view data/downloaded       # a page about the episodes",
        "python -m act convert data/downloaded lerobot/downloaded   # as a LeRobot data set",
    ),
)
LEROBOT = Format(
    lines=(
        "A LeRobot data set of version v3.0: joints in radians, grippers from 0 (closed) to 1 (open); an action is the",
        "targets of the joints. Attributes of the episodes are in `meta/act_episodes.jsonl`.",
    ),
    commands=(
        "lerobot-train --dataset.repo_id=USER/NAME --policy.type=act --policy.push_to_hub=false",
        "hf download USER/NAME --repo-type dataset --local-dir lerobot/downloaded",
        "python -m act convert lerobot/downloaded data/downloaded   # as ALOHA's HDF5 files",
    ),
    head={"configs": [{"config_name": "default", "data_files": "data/*/*.parquet"}]},
    tags=("LeRobot",),
)


def write_dataset_card(directory: Path, licence: str | None = None) -> Path | None:
    """Writes DIR/README.md and returns its path; None where somebody has written their own.

    licence: the Hub's name of it, e.g. "apache-2.0"; None keeps that of an earlier card.

    Raises ValueError for a folder without episodes, and for an episode that cannot be read.
    """
    paths = find_episodes(directory)
    if not paths:
        raise ValueError(
            f"{directory} has neither policy.json nor episode_<i>.hdf5; give a run or a folder of episodes"
        )
    path, episodes = directory / CARD, [Summary.of(read_episode(path)) for path in paths]
    return write(path, dataset_card(directory.resolve().name, episodes, licence or earlier_licence(path)))


def dataset_card(name: str, episodes: Sequence[Summary], licence: str | None = None, files: Format = HDF5) -> str:
    """The card of a data set as Markdown. Without a licence it is MIT if programs alone made it, otherwise "other"."""
    sources = _different(episodes, "source")
    ours = all(source in SIMULATED for source in sources) and all(e.attrs.get("sim") for e in episodes)
    task = ", ".join(_different(episodes, "task_name"))
    tags = ["robotics", "imitation-learning", "aloha", *files.tags, *_different(episodes, "task_name")]
    licence = licence or ("mit" if ours else "other")
    head = {"license": licence, "task_categories": ["robotics"], "pretty_name": name, "tags": tags, **files.head}
    where = "in simulation" if all(episode.attrs.get("sim") for episode in episodes) else "on robots"
    lines = [f"# {name}", "", f"{len(episodes)} episodes of two robot arms, task `{task}`, {where}, by {PROJECT}.", ""]
    lines += ["## The episodes", "", *table(_facts(episodes, sources)), ""]
    lines += ["## Format", "", *files.lines, "", "```", *files.commands, "```", ""]
    return card(head, [*lines, "## Licence", "", OPERATORS if licence == "other" else licence_text(licence)])


def _facts(episodes: Sequence[Summary], sources: Sequence[str]) -> dict[str, Any]:
    steps = [float(e.attrs.get("control_timestep", CONTROL_TIMESTEP)) for e in episodes]
    seconds = sum(e.length * step for e, step in zip(episodes, steps, strict=True))
    known = [e.attrs["strict_success"] for e in episodes if "strict_success" in e.attrs]
    size = episodes[0].image_size
    seeds = [e.attrs["seed"] for e in episodes if "seed" in e.attrs]
    edits = sorted({str(edit.get("command")) for e in episodes for edit in edits_of(e.attrs)})
    return {
        "episodes": f"{len(episodes)}, {sum(e.length for e in episodes)} control steps, {seconds / 60:.1f} min",
        "who drove": ", ".join(sources),
        "cameras": f"{' '.join(episodes[0].cameras)} at {size[0]}x{size[1]}" if size else "none",
        "strict success": f"{sum(map(bool, known))} of {len(known)}" if known else "not said",
        "seeds": f"{min(seeds)} to {max(seeds)}" if seeds else "not said",
        "edited with": ", ".join(edits) or "nothing",
        "versions": ", ".join(f"{k} {v}" for k, v in (episodes[0].attrs.get("versions") or {}).items()) or "not said",
    }


def _different(episodes: Sequence[Summary], attribute: str) -> list[str]:
    return list(dict.fromkeys(str(episode.attrs.get(attribute, "unknown")) for episode in episodes))
