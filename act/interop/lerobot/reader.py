"""Reads the episodes of a LeRobot data set, v3.0, v2.1 or v2.0, whoever wrote or edited it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np

from act.data.images import decode_image
from act.interop.lerobot import videos
from act.interop.lerobot.layout import Layout, read_json_lines, read_layout, safe_path
from act.interop.lerobot.parquet import column_names, iterate_rows, numbers, read_table, texts

# feature -> field of an episode; all but the first two are optional
VECTORS = {
    "observation.state": "qpos",
    "action": "action",
    "observation.velocity": "qvel",
    "observation.environment_state": "env_state",
    "next.reward": "reward",
}
_ROW_COLUMNS = ("episode_index", "frame_index", "timestamp")


@dataclass(frozen=True)
class Entry:
    """One episode of a data set, as its meta files list it."""

    index: int
    length: int
    task: str
    data: Path  # the Parquet file with its rows
    videos: dict[str, tuple[Path, float]]  # camera -> file and the time [s] at which the episode starts in it


class LeRobotFolder:
    """A LeRobot data set. Rows of one Parquet file are in memory at a time, and one image of each camera.

    Raises ValueError, with the file and the reason, for everything that does not fit together.
    """

    def __init__(self, root: Path, cameras: Sequence[str] = ()):
        self.layout = read_layout(root)
        known = self.layout.cameras
        if missing := [camera for camera in cameras if camera not in known]:
            raise ValueError(f"{root}: unknown camera {missing[0]!r}; available: {', '.join(known) or 'none'}")
        self.cameras = {camera: known[camera] for camera in cameras or known}
        self.entries = (
            _entries_v3(self.layout, self.cameras) if self.layout.is_v3 else _entries_v2(self.layout, self.cameras)
        )
        if not self.entries:
            raise ValueError(f"{root} has no episodes")
        if len({entry.index for entry in self.entries}) < len(self.entries):
            raise ValueError(f"{root}: an episode_index stands twice in the list of episodes")
        self._rows: tuple[Path, Any] | None = None

    def vectors(self, entry: Entry) -> dict[str, np.ndarray]:
        """Returns qpos, action and, where the data set has them, qvel, env_state (T, W) and reward (T,), float32."""
        table, chosen = self._table(entry.data), self._place(entry)
        found = {}
        for feature, name in VECTORS.items():
            if feature in self.layout.features:
                values = numbers(table, feature, entry.data)[chosen].reshape(entry.length, -1).astype(np.float32)
                width = int(np.prod(self.layout.features[feature]["shape"]))
                if values.shape[1] != width or not np.isfinite(values).all():
                    raise ValueError(
                        f"{entry.data}: {feature} has {values.shape[1]} columns, expected {width} finite numbers"
                    )
                found[name] = values[:, 0] if name == "reward" else values
        return found

    def frames(self, entry: Entry, camera: str) -> Iterator[np.ndarray]:
        """Yields the images (H, W, 3) uint8 RGB of a camera, one per row."""
        feature = self.layout.features[self.cameras[camera]]
        height_width = tuple(feature["shape"][-2:] if feature["shape"][0] == 3 else feature["shape"][:2])
        if feature["dtype"] == "video":
            path, start = entry.videos[camera]
            source = videos.decode(path, start, entry.length, self.layout.fps)
        else:
            source = self._stored_images(entry, camera)
        for image in source:
            if image.shape[:2] != height_width:
                size, expected = "x".join(map(str, image.shape[:2])), "x".join(map(str, height_width))
                raise ValueError(f"{self.layout.root}: camera {camera} has images of {size}, info.json says {expected}")
            yield image

    def _stored_images(self, entry: Entry, camera: str) -> Iterator[np.ndarray]:
        place = self._place(entry)
        for value in iterate_rows(entry.data, self.cameras[camera], place.start, place.stop):
            yield _decode(value, self.layout.root, entry.data)

    def _table(self, path: Path) -> Any:
        if self._rows is None or self._rows[0] != path:
            self._rows = (path, read_table(path, [*_ROW_COLUMNS, *VECTORS]))
        return self._rows[1]

    def _place(self, entry: Entry) -> slice:
        """Returns the rows of an episode in its file; checks that they are complete, in order and evenly spaced."""
        table = self._table(entry.data)
        rows = np.flatnonzero(numbers(table, "episode_index", entry.data) == entry.index)
        if len(rows) != entry.length or rows[-1] - rows[0] != len(rows) - 1:
            raise ValueError(
                f"{entry.data}: episode {entry.index} has {len(rows)} rows, its meta file says {entry.length}"
            )
        place = slice(int(rows[0]), int(rows[-1]) + 1)
        expected = np.arange(entry.length)
        if not np.array_equal(numbers(table, "frame_index", entry.data)[place], expected):
            raise ValueError(f"{entry.data}: the frames of episode {entry.index} are not in order")
        late = np.abs(numbers(table, "timestamp", entry.data)[place] * self.layout.fps - expected)
        if not late.max() < 0.5:
            raise ValueError(
                f"{entry.data}: timestamps of episode {entry.index} are not 1 / {self.layout.fps:g} s apart"
            )
        return place


def _decode(value: Any, root: Path, path: Path) -> np.ndarray:
    """Returns the image of a cell {"bytes", "path"} of a Parquet file, (H, W, 3) uint8 RGB."""
    if not isinstance(value, dict) or not (value.get("bytes") or value.get("path")):
        raise ValueError(f"{path}: a row has no image")
    data = value.get("bytes") or _file(safe_path(root, str(value["path"]).replace("{", "").replace("}", ""), {}))
    try:
        return decode_image(data, colors="bgr")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: not a readable image ({error})") from None


# --------------------------------------------------------------------------------------------------- lists of episodes
def _entries_v3(layout: Layout, cameras: dict[str, str]) -> list[Entry]:
    """Returns the episodes of meta/episodes/*/*.parquet."""
    files = sorted((layout.root / "meta/episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise ValueError(f"{layout.root}: no meta/episodes/chunk-*/file-*.parquet, so the data set is not complete")
    entries = []
    for file in files:
        table = read_table(file, [name for name in column_names(file) if not name.startswith("stats/")])
        columns = {name: texts(table, name, file) for name in ("episode_index", "length", "tasks")}
        columns |= _columns(table, file, "data", ("chunk_index", "file_index"))
        for key in cameras.values():
            if layout.features[key]["dtype"] == "video":
                columns |= _columns(table, file, f"videos/{key}", ("chunk_index", "file_index", "from_timestamp"))
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        entries += [_entry_v3(layout, cameras, row, file) for row in rows]
    return sorted(entries, key=lambda entry: entry.index)


def _columns(table: Any, file: Path, prefix: str, names: Sequence[str]) -> dict[str, list[Any]]:
    return {f"{prefix}/{name}": texts(table, f"{prefix}/{name}", file) for name in names}


def _entry_v3(layout: Layout, cameras: dict[str, str], row: dict[str, Any], file: Path) -> Entry:
    index, length = _whole(row["episode_index"], 0, file), _whole(row["length"], 1, file)
    numbers_of = {name: _whole(row[f"data/{name}"], 0, file) for name in ("chunk_index", "file_index")}
    places = {}
    for camera, key in cameras.items():
        if layout.features[key]["dtype"] == "video":
            found = {name: _whole(row[f"videos/{key}/{name}"], 0, file) for name in ("chunk_index", "file_index")}
            start = row[f"videos/{key}/from_timestamp"]
            if not isinstance(start, float) or not 0 <= start < 1e9:
                raise ValueError(f"{file}: from_timestamp {short(start)} of episode {index} must be a time in seconds")
            places[camera] = (layout.video_path(video_key=key, **found), start)
    return Entry(index, length, _text(row["tasks"]), layout.data_path(**numbers_of), places)


def _entries_v2(layout: Layout, cameras: dict[str, str]) -> list[Entry]:
    """Returns the episodes of meta/episodes.jsonl."""
    file = layout.root / "meta/episodes.jsonl"
    entries = []
    for line in read_json_lines(file):
        index, length = _whole(line.get("episode_index"), 0, file), _whole(line.get("length"), 1, file)
        place = {"episode_index": index, "episode_chunk": index // layout.chunk_size}
        found = {
            camera: (layout.video_path(video_key=key, **place), 0.0)
            for camera, key in cameras.items()
            if layout.features[key]["dtype"] == "video"
        }
        entries.append(Entry(index, length, _text(line.get("tasks")), layout.data_path(**place), found))
    return sorted(entries, key=lambda entry: entry.index)


def _whole(value: Any, least: int, file: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**40:
        raise ValueError(f"{file}: {short(value)} stands where a whole number of at least {least} is expected")
    return value


def _text(tasks: Any) -> str:
    """Returns the sentence of a task; an episode with several gets them all."""
    return " ".join(map(str, tasks)) if isinstance(tasks, list) else str(tasks or "")
