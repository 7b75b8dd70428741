"""Shows episodes: `python -m act view EPISODE|DIR|RUN` writes a page about them, and with --rrd a file for Rerun."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from act import command_line
from act.data.episodes import find_episodes
from act.evaluation.dataset_page import render
from act.evaluation.dataset_statistics import measure
from act.evaluation.policy_chunks import ask, load_run
from act.evaluation.rerun_file import load_rerun, write_rerun
from act.files import whole_file
from act.run_folder import RunFolder


@dataclass(frozen=True)
class Options:
    """One call of `python -m act view`."""

    source: Annotated[Path, Positional, arg(metavar="EPISODE|DIR|RUN")]
    """An episode, a folder of episodes, or a run: the episodes that it was trained on."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: beside what is shown)")] = None
    """The page to write."""
    rrd: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Also write a file for the viewer of Rerun (`pip install act-aloha[view]`): cameras, joints, actions, stages."""
    episodes: Annotated[int, arg(metavar="N")] = 5
    """Episodes in the file of --rrd, the first ones."""
    chunks: Annotated[int, arg(metavar="N")] = 0
    """With a run: ask its policy about the first N episodes, and show its chunks beside what was done."""


@dataclass(frozen=True)
class Source:
    """What is shown: its files, the folder that commands name, the title and the place of the page."""

    paths: Sequence[Path]
    directory: Path
    title: str
    page: Path


def find_source(path: Path) -> list[Source]:
    """Returns what a path names; a run may have several data sets. Raises ValueError for what shows no episodes."""
    if path.is_file():
        return [Source([path], path.parent, path.stem.replace("_", " "), path.with_suffix(".html"))]
    if (path / "config.json").is_file():
        return [_folder(directory, path / f"{name}.html") for name, directory in _trained_on(RunFolder(path)).items()]
    return [_folder(path, path / "dataset.html")]


def _folder(directory: Path, page: Path) -> Source:
    paths = find_episodes(directory)
    if not paths:
        raise ValueError(f"{directory} has no episode_<i>.hdf5; give an episode, a folder of episodes, or a run")
    return Source(paths, directory, directory.resolve().name, page)


def _trained_on(run: RunFolder) -> dict[str, Path]:
    """Returns the name of a page -> the folder of episodes, for all data sets of a training."""
    listed = run.config().get("dataset_dir") or []
    folders = [Path(folder) for folder in ([listed] if isinstance(listed, str) else listed)]
    if not folders:
        raise ValueError(f"{run.path}/config.json names no dataset_dir; give the folder of the episodes itself")
    return {"dataset" if len(folders) == 1 else f"dataset_{i}": folder for i, folder in enumerate(folders)}


def view(options: Options) -> None:
    """Writes the pages and the file for Rerun. Raises ValueError where there is nothing to show."""
    sources = find_source(options.source)
    check(options, sources)
    policy = load_run(options.source) if options.chunks else None
    for source in sources:
        data = measure(source.paths)
        if not data.episodes:
            raise ValueError(f"no episode of {source.directory} can be read; the first reason: {data.broken[0]}")
        asked = data.episodes[: options.chunks] if policy else []
        chunks = {one.number: ask(policy, one.episode) for one in asked} if policy else {}
        out = options.out or source.page
        with whole_file(out) as temporary:
            temporary.write_text(render(data, source.directory, source.title, chunks), encoding="utf-8")
        print(f"wrote {out}")
        if options.rrd is not None:
            write_rerun(data.episodes[: options.episodes], options.rrd, chunks)
            print(f"wrote {options.rrd}; show it with: rerun {options.rrd}")


def check(options: Options, sources: Sequence[Source]) -> None:
    """Raises ValueError for a flag that is wrong or has no effect, before anything is measured."""
    if options.chunks < 0:
        raise ValueError(f"--chunks {options.chunks}: must be 0 or more")
    if not (options.source / "config.json").is_file():
        refused = {"chunks": "with a run, whose policy is asked"}
        command_line.refuse_without_effect(options, Options(options.source), refused)
    for flag, value in (("--out", options.out), ("--rrd", options.rrd)):
        if value and len(sources) > 1:
            raise ValueError(
                f"{flag} {value}: {options.source} has {len(sources)} data sets; name one of their folders"
            )
    if options.rrd is None:
        default = Options(options.source)
        command_line.refuse_without_effect(options, default, {"episodes": "with --rrd"})
        return
    if options.episodes < 1:
        raise ValueError(f"--episodes {options.episodes}: must be at least 1")
    load_rerun()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when the page is there, 2 for wrong input, 130 after Ctrl-C."""
    return command_line.run("view", lambda: view(parse(arguments)))


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line."""
    return command_line.parse(
        Options,
        arguments,
        program="python -m act view",
        description="Writes one HTML page about episodes: filmstrips, joints, outliers, starts, and what to repair.",
        example="python -m act view data/sim_transfer_cube_scripted",
        page="docs/episodes.md",
    )
