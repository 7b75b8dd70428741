"""Writes episodes for the viewer of Rerun (rerun.io): cameras, joints beside their targets, stages, corrections.

It needs the extra `view` (rerun-sdk). Open the file with `rerun FILE.rrd`.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act.data.episodes import Episode
from act.data.images import encode_image
from act.data.motion import executed_action
from act.evaluation.dataset_statistics import EpisodeStatistics, control_timestep
from act.evaluation.policy_chunks import Chunks
from act.files import whole_file
from act.types import JOINT_NAMES

COLUMNS = 7  # joints beside one another, an arm per row


def write_rerun(measured: Sequence[EpisodeStatistics], out: Path, chunks: Mapping[int, Chunks] | None = None) -> None:
    """Writes episodes into one file; each is a branch of its own, and all begin at time 0.

    `chunks` are answers of a policy about some episodes, by their numbers: a curve per query beside the joints.

    JPEGs whose colours other programs read right are stored as they are. OpenCV has written most of them from RGB
    arrays (`Episode.jpeg_colors` is "rgb"), and they are encoded again, because Rerun would show red as blue.

    Raises ValueError where rerun-sdk is not installed.
    """
    rerun = load_rerun()
    recording = rerun.RecordingStream("act episodes")
    with whole_file(out) as temporary:
        recording.save(str(temporary), default_blueprint=_blueprint(measured[0]))
        for one in measured:
            _write_episode(rerun, recording, one)
            _write_chunks(rerun, recording, one, (chunks or {}).get(one.number, {}))
        recording.flush()
        recording.disconnect()


def load_rerun() -> Any:
    """Returns the module `rerun`. Raises ValueError, with the command that installs it, where there is none."""
    try:
        return importlib.import_module("rerun")
    except ImportError:
        raise ValueError("--rrd needs rerun-sdk, which is not installed: pip install 'act-aloha[view]'") from None


def _root(measured: EpisodeStatistics) -> str:
    return f"episode_{measured.number}"


def _blueprint(measured: EpisodeStatistics) -> Any:
    """Cameras above, one plot per joint below: measured and commanded."""
    layout, root = importlib.import_module("rerun.blueprint"), _root(measured)
    cameras = [layout.Spatial2DView(origin=f"{root}/cameras/{camera}") for camera in measured.episode.cameras]
    joints = _joint_names(measured.episode.action.shape[1])
    plots = [layout.TimeSeriesView(origin=f"{root}/joints/{joint}", name=joint) for joint in joints]
    return layout.Blueprint(layout.Vertical(layout.Horizontal(*cameras), layout.Grid(*plots, grid_columns=COLUMNS)))


def _joint_names(width: int) -> list[str]:
    return [JOINT_NAMES[i] if width >= len(JOINT_NAMES) > i else f"joint_{i}" for i in range(width)]


def _write_episode(rerun: Any, recording: Any, measured: EpisodeStatistics) -> None:
    episode, root = measured.episode, _root(measured)
    seconds = np.arange(len(episode)) * control_timestep(episode)
    clock = rerun.TimeColumn("time", duration=seconds)

    def send(path: str, values: np.ndarray) -> None:
        recording.send_columns(f"{root}/{path}", [clock], rerun.Scalars.columns(scalars=values.astype(float)))

    targets = executed_action(episode)
    for i, joint in enumerate(_joint_names(targets.shape[1])):
        send(f"joints/{joint}/commanded", targets[:, i])
        if i < episode.qpos.shape[1]:
            send(f"joints/{joint}/measured", episode.qpos[:, i])
    if episode.intervention is not None:
        send("corrected", episode.intervention)
    if episode.reward is not None:
        send("reward", episode.reward)
        for t, name in stages(episode):
            recording.set_time("time", duration=float(seconds[t]))
            recording.log(f"{root}/stages", rerun.TextLog(name))
    for camera in episode.cameras:
        frames = [viewable(episode, camera, t) for t in range(len(episode))]
        kinds = ["image/png" if frame.startswith(b"\x89PNG") else "image/jpeg" for frame in frames]
        columns = rerun.EncodedImage.columns(blob=[np.frombuffer(f, np.uint8) for f in frames], media_type=kinds)
        recording.send_columns(f"{root}/cameras/{camera}", [clock], columns)


def _write_chunks(rerun: Any, recording: Any, measured: EpisodeStatistics, chunks: Chunks) -> None:
    step, length = control_timestep(measured.episode), len(measured.episode)
    for t, chunk in chunks.items():
        actions = chunk[: length - t]
        clock = rerun.TimeColumn("time", duration=(t + np.arange(len(actions))) * step)
        for i, joint in enumerate(_joint_names(actions.shape[1])):
            values = rerun.Scalars.columns(scalars=actions[:, i].astype(float))
            recording.send_columns(f"{_root(measured)}/joints/{joint}/chunk_at_{t}", [clock], values)


def stages(episode: Episode) -> list[tuple[int, str]]:
    """Returns the control step at which each stage was reached first, and its name."""
    names = episode.attrs.get("stage_names")
    if episode.reward is None or not isinstance(names, list):
        return []
    reached = [(number, np.flatnonzero(episode.reward >= number + 1)) for number in range(len(names))]
    return [(int(at[0]), str(names[number])) for number, at in reached if len(at)]


def viewable(episode: Episode, camera: str, t: int) -> bytes:
    """Returns a frame as a JPEG or PNG whose colours are right in any program."""
    if episode.compressed:
        data = episode.encoded(t)[camera]
        if episode.jpeg_colors == "bgr" or data.startswith(b"\x89PNG"):
            return data
    image = episode.read_images(camera, t, t + 1)[0]
    return encode_image(np.ascontiguousarray(image[..., ::-1]), 95)
