"""What meta/info.json of a LeRobot data set says: version, frame rate, features, and where its files are.

    v3.0: data/chunk-000/file-000.parquet        many episodes in one file, row by row
          videos/KEY/chunk-000/file-000.mp4      many episodes in one file, one behind the other
          meta/episodes/chunk-000/file-000.parquet, meta/tasks.parquet, meta/stats.json
    v2.1: data/chunk-000/episode_000017.parquet, videos/chunk-000/KEY/episode_000017.mp4
          meta/episodes.jsonl, meta/tasks.jsonl, meta/episodes_stats.jsonl

A data set may come from anybody. Therefore paths in info.json are filled in only with plain names and numbers, and
they must stay inside the folder.
"""

import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from reprlib import repr as short
from typing import Any

from act.files import check_regular

INFO = "meta/info.json"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
OUR_VERSION = "v3.0"
VERSIONS = ("v2.0", "v2.1", "v3.0")
CHUNK_SIZE = 1000  # files in a folder chunk-000
_IMAGE_PREFIXES = ("observation.images.", "observation.")
_PLAIN_NAME = re.compile(r"\w[\w .-]*")
_PLAIN_SPEC = re.compile(r"(0?\d)?d?")


@dataclass(frozen=True)
class Layout:
    """The parts of info.json that a reader needs; made by `read_layout`, which checks them."""

    root: Path
    version: str  # one of VERSIONS
    fps: float
    features: dict[str, dict[str, Any]]
    data_template: str
    video_template: str
    chunk_size: int

    @property
    def is_v3(self) -> bool:
        return self.version.startswith("v3")

    @property
    def cameras(self) -> dict[str, str]:
        """Returns the key of every camera: {"top": "observation.images.top"}. Depth maps are no cameras here."""
        return {
            camera_name(key): key
            for key, feature in self.features.items()
            if feature["dtype"] in ("video", "image") and not is_depth(feature)
        }

    def data_path(self, **values: str | int) -> Path:
        return safe_path(self.root, self.data_template, values)

    def video_path(self, **values: str | int) -> Path:
        return safe_path(self.root, self.video_template, values)


def is_lerobot(folder: Path) -> bool:
    """Returns whether a folder is a LeRobot data set, by its meta/info.json."""
    return (folder / INFO).is_file()


def read_layout(root: Path) -> Layout:
    """Reads and checks info.json of a data set. Raises ValueError for one that cannot be read, with the reason."""
    path = root / INFO
    info = read_json(path)
    version = info.get("codebase_version")
    if version not in VERSIONS:
        raise ValueError(f"{path}: codebase_version {short(version)} is unknown; {', '.join(VERSIONS)} can be read")
    fps = info.get("fps")
    if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not 0 < fps <= 10_000:
        raise ValueError(f"{path}: fps {short(fps)} must be a number of frames per second")
    features = _features(info.get("features"), path)
    templates = [info.get(name) for name in ("data_path", "video_path")]
    has_video = any(feature["dtype"] == "video" for feature in features.values())
    if not isinstance(templates[0], str) or (has_video and not isinstance(templates[1], str)):
        raise ValueError(f"{path}: data_path {short(templates[0])} and video_path {short(templates[1])} must be texts")
    chunk_size = info.get("chunks_size", CHUNK_SIZE)
    if not isinstance(chunk_size, int) or chunk_size < 1:
        raise ValueError(f"{path}: chunks_size {short(chunk_size)} must be a whole number above 0")
    return Layout(root, version, float(fps), features, templates[0], templates[1] or VIDEO_PATH, chunk_size)


def _features(features: Any, path: Path) -> dict[str, dict[str, Any]]:
    """Returns the features of info.json after a check of their form."""
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise ValueError(f"{path}: features must be an object with one object per feature")
    for name, feature in features.items():
        shape = feature.get("shape")
        if not isinstance(shape, list) or not all(isinstance(side, int) and side > 0 for side in shape):
            raise ValueError(f"{path}: feature {name!r} has shape {short(shape)}, expected a list of whole numbers")
        if not isinstance(feature.get("dtype"), str):
            raise ValueError(f"{path}: feature {name!r} has dtype {short(feature.get('dtype'))}, expected a text")
    for name in ("observation.state", "action"):
        if name not in features:
            raise ValueError(f"{path}: no feature {name!r}; it has {', '.join(features)}")
    looking = [name for name, feature in features.items() if feature["dtype"] in ("video", "image")]
    names = [camera_name(name) for name in looking]
    for name, camera in zip(looking, names, strict=True):
        if not _PLAIN_NAME.fullmatch(camera) or names.count(camera) > 1:
            raise ValueError(f"{path}: {name!r} gives no usable camera name; it must be unique letters and digits")
    return features


def camera_name(key: str) -> str:
    """Returns "top" for "observation.images.top", "image" for "observation.image"."""
    for prefix in _IMAGE_PREFIXES:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Returns whether a feature of images holds distances, not colours."""
    details = feature.get("info") or feature.get("video_info") or {}
    return isinstance(details, dict) and bool(details.get("is_depth_map") or details.get("video.is_depth_map"))


def safe_path(root: Path, template: str, values: Mapping[str, str | int]) -> Path:
    """Returns root / template with its {fields} filled in.

    Raises ValueError for a template with anything but known fields, and for a path that would leave `root`.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{root / INFO}: path {short(template)} cannot be filled in ({error})") from None
    for _, field, spec, conversion in parts:
        if field is not None and (field not in values or conversion or not _PLAIN_SPEC.fullmatch(spec or "")):
            raise ValueError(f"{root / INFO}: path {short(template)} has an unknown field; known: {', '.join(values)}")
    try:
        relative = PurePosixPath(template.format(**values))
    except ValueError as error:
        raise ValueError(f"{root / INFO}: path {short(template)} cannot be filled in ({error})") from None
    if relative.is_absolute() or ".." in relative.parts or "\0" in str(relative) or "\\" in str(relative):
        raise ValueError(f"{root / INFO}: path {short(str(relative))} leads out of the folder, so it is refused")
    return root / relative


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. Raises ValueError, with the path and the reason, for anything else."""
    try:
        check_regular(path)
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds {type(values).__name__}, expected a JSON object")
    return values


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file with one JSON object per line. Raises ValueError like `read_json`."""
    try:
        check_regular(path)
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable JSON lines ({error})") from None
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError(f"{path}: every line must be a JSON object")
    return lines
