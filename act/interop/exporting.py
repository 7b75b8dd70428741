"""ALOHA episodes (HDF5) -> a LeRobot data set of version v3.0."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import h5py
from tqdm import tqdm

from act.data.episodes import Episode, find_episodes, read_episode
from act.evaluation.card_text import CARD, earlier_licence
from act.evaluation.dataset_card import LEROBOT, Summary, dataset_card
from act.files import whole_folder
from act.interop.lerobot.folder import FolderWriter
from act.interop.lerobot.parquet import arrow
from act.interop.lerobot.parts import VECTORS, ExportOptions, Part, make_part
from act.interop.lerobot.videos import Encoder
from act.interop.work_folder import emptied, fingerprint, in_threads
from act.types import CONTROL_TIMESTEP

CARRIED = ("action", "reward", "compress_len", *(f"observations/{name}" for name in ("qpos", "qvel", "env_state")))


@dataclass(frozen=True)
class Export:
    """What to export, and how."""

    source: Path
    target: Path
    encoder: Encoder | None  # None: PNG images
    task_name: str | None = None
    cameras: tuple[str, ...] = ()  # empty: all of the first episode
    qvel: bool = True
    env_state: bool = False
    robot_type: str = "aloha"


@dataclass(frozen=True)
class _Found:
    """What the exporter remembers of an episode after the first look at all of them."""

    path: Path
    length: int
    task: str
    summary: Summary


def export_episodes(export: Export, workers: int) -> int:
    """Writes `export.target` and returns its number of frames. Memory does not grow with the number of episodes.

    Raises ValueError for a folder without episodes and for episodes that do not fit together.
    """
    arrow()  # says at once when it is missing
    paths = find_episodes(export.source)
    if not paths:
        raise ValueError(f"{export.source} has no episode_*.hdf5 and no meta/info.json, so there is nothing to convert")
    options, episodes = look(export, paths)
    for name in sorted(set().union(*map(not_carried_over, paths))):
        print(f"note: /{name} is not carried over")
    with whole_folder(export.target) as folder:
        order = {episode.path: index for index, episode in enumerate(episodes)}
        total = sum(episode.length for episode in episodes)
        parts: dict[int, Part] = {}
        with tqdm(total=total, unit="frame", dynamic_ncols=True, desc=f"{len(paths)} episodes") as bar:
            for path, part in in_threads(_jobs(episodes, options, folder / "parts"), workers):
                parts[order[path]] = part
                bar.update(part.length)
        in_order = [parts[index] for index in range(len(parts))]
        FolderWriter(emptied(folder / "result"), in_order, options, export.robot_type).write()
        (folder / "result" / CARD).write_text(_card(export, episodes), encoding="utf-8")
    return total


def _card(export: Export, episodes: Sequence[_Found]) -> str:
    """Returns the README.md of the data set; its licence is that of the source's card."""
    licence = earlier_licence(export.source / CARD)
    return dataset_card(export.target.resolve().name, [episode.summary for episode in episodes], licence, LEROBOT)


def _jobs(
    episodes: Sequence[_Found], options: ExportOptions, folder: Path
) -> Iterator[Callable[[], tuple[Path, Part]]]:
    """Yields the conversion of every episode; a part is named after all that decides its content."""

    def job(episode: _Found, place: Path) -> tuple[Path, Part]:
        return episode.path, make_part(episode.path, episode.task, options, place)

    for episode in episodes:
        name = fingerprint(asdict(options), episode.task, files=[episode.path])
        yield partial(job, episode, folder / name)


# ------------------------------------------------------------------------------------------------------ the first look
def look(export: Export, paths: Sequence[Path]) -> tuple[ExportOptions, list[_Found]]:
    """Reads the numbers of all episodes, checks that they fit together, and decides what is exported.

    Raises ValueError that names the episode that does not fit.
    """
    first = read_episode(paths[0], export.cameras or None)
    vectors = dict(VECTORS)
    vectors |= {"observation.velocity": "qvel"} if export.qvel and first.qvel is not None else {}
    vectors |= {"observation.environment_state": "env_state"} if export.env_state else {}
    vectors |= {"next.reward": "reward"} if first.reward is not None else {}
    options = ExportOptions(first.cameras, frame_rate(first), export.encoder, vectors)
    shape = _shape(first, options)
    found = []
    for path in paths:
        episode = read_episode(path, options.cameras)
        _check_optional(episode, first, export)
        if (other := _shape(episode, options)) != shape:
            difference = next(
                f"{name} {other[name]}, not {shape[name]}" for name in shape if other[name] != shape[name]
            )
            raise ValueError(f"{path}: differs from {paths[0].name}: {difference}; keep them in different folders")
        found.append(_Found(path, len(episode), _task(episode, export), Summary.of(episode)))
    if export.encoder and (
        odd := [camera for camera, size in first_sizes(first).items() if size[0] % 2 or size[1] % 2]
    ):
        raise ValueError(
            f"{paths[0]}: camera {odd[0]} has an odd height or width, no video can hold it; use --video none"
        )
    return options, found


def _check_optional(episode: Episode, first: Episode, export: Export) -> None:
    """Raises ValueError where only one of two episodes has what all would get: nothing is left out silently."""
    for name, advice in {"qvel": "give --no_qvel", "reward": "keep them in different folders"}.items():
        if (getattr(episode, name) is None) != (getattr(first, name) is None) and (name != "qvel" or export.qvel):
            raise ValueError(f"{episode.path}: only one of this and {first.path.name} has a {name}; {advice}")


def first_sizes(episode: Episode) -> dict[str, tuple[int, ...]]:
    """Returns the (H, W) of every camera."""
    return {camera: episode.read_images(camera, 0, 1).shape[1:3] for camera in episode.cameras}


def _shape(episode: Episode, options: ExportOptions) -> dict[str, object]:
    """Returns what all episodes of a data set must share."""
    arrays = {name: getattr(episode, name) for name in options.vectors.values()}
    missing = [name for name, array in arrays.items() if array is None]
    if missing:
        raise ValueError(f"{episode.path} has no {missing[0]}; keep such episodes in another folder")
    widths = {f"width of {name}": array.shape[1:] for name, array in arrays.items()}
    sizes = {f"size of camera {camera}": size for camera, size in first_sizes(episode).items()}
    return {"rate": frame_rate(episode), **widths, **sizes}


def frame_rate(episode: Episode) -> int:
    """Returns the frames per second of an episode; 50 where the file does not say.

    Raises ValueError for a rate that is not a whole number, because LeRobot counts frames in whole numbers.
    """
    step = float(episode.attrs.get("control_timestep", CONTROL_TIMESTEP))
    rate = round(1 / step) if step > 0 else 0
    if rate < 1 or abs(rate * step - 1) > 1e-3:
        raise ValueError(
            f"{episode.path}: control_timestep {step} s is not one over a whole number of frames per second"
        )
    return rate


def _task(episode: Episode, export: Export) -> str:
    """Returns the sentence that names the task of an episode."""
    found = export.task_name or episode.attrs.get("language") or episode.attrs.get("task_name")
    return str(found or export.source.resolve().name)


def not_carried_over(path: Path) -> list[str]:
    """Returns the names of data sets in an episode file that LeRobot's format has no place for."""
    names: list[str] = []
    with h5py.File(path, "r") as root:
        root.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return [name for name in names if name not in CARRIED and not name.startswith("observations/images/")]
