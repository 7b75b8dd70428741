"""Writes and reads episodes, one HDF5 file each, in ALOHA's layout. (act/data/repair.py is `python -m act episodes`.)

    episode_17.hdf5                      T control steps, 0.02 s apart
      attrs: sim=True, compress=True     and task_name, seed, source, success, strict_success, control_timestep,
                                         stage_names, camera_names, versions, recording (lists and dicts are JSON text),
                                         jpeg_colors="rgb" (act/data/images.py), checksums (act/data/checksums.py)
      /observations/qpos        (T, 14) float32    the observation of the agent at t
      /observations/qvel        (T, 14) float32    absent where a robot measures none
      /observations/env_state   (T, 7n) float32    privileged object poses; absent in files of the original code
      /observations/images/CAM  (T, padded_len) uint8    JPEG bytes, zeros behind; or raw (T, H, W, 3)
      /compress_len             (cameras, T) int32       bytes used of each row; cameras in alphabetical order
      /action                   (T, 14) float32    absolute joint targets: the label that policies learn
      /reward                   (T,)    float32    the result of the action; absent in files of the original code
    only in episodes that a policy took part in (DAgger):
      /executed_action          (T, 14) float32    the targets that were sent to the robot, where /action is a label
      /intervention             (T,)    bool       whether the expert or the operator drove at t
      /action_chunk             (n, K, 14) float32 what the expert would have done from n control steps on
      /action_chunk_t           (n,)    int32      those control steps, increasing

The JPEGs are made by act/data/images.py. The same content always gives the same bytes, and every byte has a checksum.
act/data/writing.py writes this layout.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from act.data.cameras import NONE, Cameras, find_cameras, read_rows
from act.data.checksums import ATTRIBUTE
from act.data.images import Colors, decode_image, encode_image, resize_image
from act.data.source import Source, open_hdf5, read_attributes
from act.data.vectors import read_labels, read_vectors
from act.data.writing import FRAMES_PER_CHUNK, LABELS, versions, write_episode
from act.types import known_camera

__all__ = ["FRAMES_PER_CHUNK", "LABELS", "Episode", "decode_image", "encode_image", "episode_index", "episode_path"]
__all__ += ["files_left_out", "find_episodes", "read_episode", "versions", "write_episode"]

_NAME = re.compile(r"episode_([0-9]{1,6})\.hdf5")  # 0 to 999999


@dataclass(frozen=True)
class Episode:
    """One episode: its vectors are in memory (float32), its images are read from disk on request.

    An episode holds no open file and is cheap to pickle.
    """

    path: Path
    qpos: np.ndarray  # (T, 14)
    qvel: np.ndarray | None  # (T, 14)
    action: np.ndarray  # (T, 14); files with another width are read, too, and users of the width must check it
    env_state: np.ndarray | None  # (T, 7n)
    reward: np.ndarray | None  # (T,)
    cameras: tuple[str, ...]
    compressed: bool  # the images of all cameras are JPEG or PNG
    attrs: dict[str, Any]
    executed_action: np.ndarray | None = None  # (T, 14)
    intervention: np.ndarray | None = None  # (T,) bool
    action_chunk: np.ndarray | None = None  # (n, K, 14)
    action_chunk_t: np.ndarray | None = None  # (n,) int32
    notes: tuple[str, ...] = ()  # sentences on what the file holds beside this, and on what looks wrong
    jpeg_colors: Colors = "rgb"
    stored: Cameras = NONE  # how the frames of `cameras` are stored

    def __len__(self) -> int:
        return len(self.action)

    def read_images(
        self,
        camera: str,
        start: int = 0,
        stop: int | None = None,
        image_size: tuple[int, int] | None = None,
        stride: int = 1,
    ) -> np.ndarray:
        """Returns every `stride`-th frame of start..stop-1, (n, H, W, 3) uint8 RGB, resized to `image_size` (H, W).

        Raises ValueError for an unknown camera and for images that cannot be read or differ from their checksum.
        """
        start, stop, _ = slice(start, stop).indices(len(self))
        try:
            rows = read_rows(self.path, self.stored, self._known(camera), start, stop)
            return np.stack(
                [self._decoded(row, image_size) for row in rows[::stride]]
            )  # strided reads by HDF5 are 90 x slower
        except (OSError, ValueError) as error:
            reason = str(error).removeprefix(f"{self.path}: ")
            message = f"{self.path}: camera {camera}, steps {start} to {stop}: {reason}"
            raise (type(error) if isinstance(error, ValueError) else ValueError)(message) from None

    def _decoded(self, row: Any, image_size: tuple[int, int] | None) -> np.ndarray:
        if isinstance(row, np.ndarray) and row.ndim == 3:
            return resize_image(row, image_size)
        return decode_image(_row_bytes(row), image_size, self.jpeg_colors)

    def encoded(self, t: int) -> dict[str, bytes]:
        """Returns the JPEG or PNG bytes of every camera at t, not decoded.

        Raises ValueError for a file with raw images and for images that cannot be read.
        """
        if not self.compressed:
            raise ValueError(f"{self.path}: images are raw, not JPEG; use read_images")
        return {camera: self.read_stored(camera, t) for camera in self.cameras}  # type: ignore[misc]

    def read_stored(self, camera: str, t: int) -> bytes | np.ndarray:
        """Returns the frame of a camera at t as it is stored: JPEG or PNG bytes, or an array (H, W, 3) uint8.

        Raises ValueError for images that cannot be read or differ from their checksum.
        """
        try:
            row = read_rows(self.path, self.stored, camera, t, t + 1)[0]
        except (OSError, ValueError) as error:
            reason = str(error).removeprefix(f"{self.path}: ")
            message = f"{self.path}: images of step {t}: {reason}"
            raise (type(error) if isinstance(error, ValueError) else ValueError)(message) from None
        return row if self.stored.stored[camera].encoded is False else _row_bytes(row)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Returns the (H, W) of the first camera, or None for an episode without cameras."""
        return self.read_images(self.cameras[0], 0, 1).shape[1:3] if self.cameras else None

    def _known(self, camera: str) -> str:
        return known_camera(camera, self.cameras, self.path)


def _row_bytes(row: Any) -> bytes:
    """Returns the bytes of one encoded frame, without the zeros behind it: a JPEG ends in FF D9, a PNG in 60 82."""
    return (row if isinstance(row, bytes) else row.tobytes()).rstrip(b"\0")


# ----------------------------------------------------------------------------------------------------------- finding
def episode_path(directory: Path | str, index: int) -> Path:
    """Returns DIRECTORY/episode_17.hdf5 for index 17."""
    return Path(directory) / f"episode_{index}.hdf5"


def find_episodes(directory: Path | str) -> list[Path]:
    """Returns all episode_<i>.hdf5 of a directory in the order of i, which is 0 to 999999.

    Raises ValueError for a missing directory, and for two files of one number, such as episode_1 and episode_01.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory; record episodes with record_sim_episodes.py")
    found = sorted((p for p in directory.glob("episode_*.hdf5") if _NAME.fullmatch(p.name)), key=episode_index)
    for path, following in pairwise(found):
        if episode_index(path) == episode_index(following):
            names = " and ".join(sorted((path.name, following.name)))
            raise ValueError(f"{directory}: {names} have the same number; rename one of them")
    return found


def files_left_out(directory: Path | str) -> list[Path]:
    """Returns the *.hdf5 files of a directory that `find_episodes` does not take, without scenes.hdf5."""
    found = (path for path in Path(directory).glob("*.hdf5") if not path.name.startswith("."))
    return sorted(path for path in found if not _NAME.fullmatch(path.name) and path.name != "scenes.hdf5")


def episode_index(path: Path) -> int:
    """Returns 17 for episode_17.hdf5."""
    return int(path.stem[8:])


# ----------------------------------------------------------------------------------------------------------- reading
def read_episode(
    path: Path | str,
    cameras: Sequence[str] | None = None,
    jpeg_colors: Colors | None = None,
    base_action: bool = False,
) -> Episode:
    """Reads an episode of this project, ALOHA, ACT or act++, after its checksums, if it has any, were verified.

    Args:
        cameras: chooses cameras and their order, by this project's names or those of act++ ("left_wrist"), and only
            these are judged; None takes all cameras of the file whose frames fit, in the recorded order.
        jpeg_colors: the order in which OpenCV returns the channels of its JPEGs; None takes what the file says, or
            "rgb" where it says nothing, as in files of act++.
        base_action: appends the velocities of a mobile base (T, 2) to the actions, as act++ does.

    What is not asked for and does not fit is left out, and `Episode.notes` says so.

    Raises ValueError, with the path and the reason, for a file that is not an episode or holds what cannot be true, and
    its subclass DamagedFile for one that is truncated or damaged.
    """
    path = Path(path)
    with open_hdf5(path) as source:
        return _read(source, cameras, jpeg_colors, base_action)


def _read(source: Source, cameras: Sequence[str] | None, jpeg_colors: Colors | None, base_action: bool) -> Episode:
    vectors, notes = read_vectors(source, base_action)
    attrs, unreadable = read_attributes(source)
    found, beside = find_cameras(source, cameras, attrs, len(vectors["action"]))
    if source.seal is None and ATTRIBUTE in source.root.attrs:
        notes.append("another program changed the file and removed its checksums; `episodes seal` adds new ones")
    return Episode(
        source.path,
        vectors["qpos"],
        vectors.get("qvel"),
        vectors["action"],
        vectors.get("env_state"),
        vectors.get("reward"),
        cameras=tuple(found.stored),
        compressed=bool(found.stored) and all(camera.encoded for camera in found.stored.values()),
        attrs=attrs,
        **read_labels(source, *vectors["action"].shape),
        notes=(*notes, *unreadable, *beside),
        jpeg_colors=jpeg_colors or ("bgr" if attrs.get("jpeg_colors") == "bgr" else "rgb"),
        stored=found,
    )
