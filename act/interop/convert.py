"""Converts data sets: `python -m act convert SOURCE TARGET`, ALOHA episodes -> LeRobot v3.0 or LeRobot -> episodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from act.command_line import parse, refuse_without_effect, run
from act.interop.exporting import Export, export_episodes
from act.interop.importing import JPEG_QUALITY, Import, OtherRate, import_episodes
from act.interop.lerobot.layout import is_lerobot
from act.interop.lerobot.videos import DEFAULT_CRF, Encoder
from act.workers import available_cores

OF_EXPORT = ("video", "crf", "qvel", "env_state", "robot_type")
OF_IMPORT = ("other_fps", "jpeg_quality")
LARGEST_CRF = {"h264": 51, "av1": 63}


@dataclass(frozen=True)
class Options:
    """The options of the program."""

    source: Annotated[Path, Positional, arg(metavar="SOURCE")]
    """Folder with episode_*.hdf5, or a LeRobot data set (a folder with meta/info.json)."""
    target: Annotated[Path, Positional, arg(metavar="TARGET")]
    """New folder: a LeRobot data set, or episodes."""
    task_name: str | None = None
    """Name of the task (default: as the source says; for episodes that do not say, the name of their folder)."""
    cameras: tuple[str, ...] = ()
    """Cameras to convert (default: all)."""
    workers: int | None = None
    """Episodes that are converted at a time (default: one per processor core)."""
    video: Literal["h264", "av1", "none"] = "h264"
    """To LeRobot: how images are stored; none: as PNG images, without loss."""
    crf: int | None = None
    """To LeRobot: quality of the video, lower is better and larger (default: 18)."""
    qvel: bool = True
    """To LeRobot: include joint velocities as observation.velocity."""
    env_state: bool = False
    """To LeRobot: include object poses. LeRobot's ACT looks at them without being asked, so they make it privileged."""
    robot_type: str = "aloha"
    """To LeRobot: the robot that info.json names."""
    other_fps: OtherRate = "refuse"
    """From LeRobot: what to do with a data set that does not have 50 frames per second."""
    jpeg_quality: int = JPEG_QUALITY
    """From LeRobot: quality of the stored images, 1 to 100."""


def convert(options: Options) -> None:
    """Converts in the direction that the source decides. Raises ValueError for wrong input and for useless flags."""
    default, workers = Options(options.source, options.target), options.workers or available_cores()
    _check(options)
    if not options.source.is_dir():
        raise ValueError(f"{options.source} is not a folder; give one with episode_*.hdf5 or with meta/info.json")
    if is_lerobot(options.source):
        refuse_without_effect(options, default, dict.fromkeys(OF_EXPORT, "when SOURCE is a folder of episodes"))
        kept = {name: getattr(options, name) for name in ("task_name", "cameras", "other_fps", "jpeg_quality")}
        steps = import_episodes(Import(options.source, options.target, **kept), workers)
        print(
            f"wrote {steps} control steps to {options.target}; check them: python -m act episodes info {options.target}"
        )
        return
    refuse_without_effect(options, default, dict.fromkeys(OF_IMPORT, "when SOURCE is a LeRobot data set"))
    if options.video == "none":
        refuse_without_effect(options, default, {"crf": "with --video h264 or --video av1"})
    frames = export_episodes(_export(options), workers)
    print(f"wrote {frames} frames to {options.target}; LeRobot reads them with root={options.target}")


def _check(options: Options) -> None:
    """Raises ValueError for values out of range."""
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers {options.workers} must be at least 1")
    if not 1 <= options.jpeg_quality <= 100:
        raise ValueError(f"--jpeg_quality {options.jpeg_quality} must be in 1 to 100")
    if options.crf is not None and not 1 <= options.crf <= LARGEST_CRF.get(options.video, 63):
        raise ValueError(f"--crf {options.crf} must be in 1 to {LARGEST_CRF.get(options.video, 63)}")
    if len(set(options.cameras)) < len(options.cameras):
        raise ValueError(f"--cameras {' '.join(options.cameras)}: name each once")


def _export(options: Options) -> Export:
    encoder = None
    if options.video != "none":
        encoder = Encoder(options.video, DEFAULT_CRF[options.video] if options.crf is None else options.crf)
    kept = {name: getattr(options, name) for name in ("task_name", "cameras", "qvel", "env_state", "robot_type")}
    return Export(options.source, options.target, encoder, **kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when the target is there, 2 for wrong input, 130 after Ctrl-C."""

    def work() -> None:
        options = parse(
            Options,
            arguments,
            program="python -m act convert",
            description="Converts episodes (ALOHA's HDF5) to a LeRobot data set (v3.0), or a LeRobot data set back.",
            example="python -m act convert data/sim_transfer_cube_scripted lerobot/transfer_cube",
            page="docs/lerobot.md",
        )
        convert(options)

    return run("convert", work, stopped="the same command continues")
