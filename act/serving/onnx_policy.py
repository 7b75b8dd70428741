"""Runs an exported policy with ONNX Runtime; it has the interface of a policy and works without torch.

    agent = PolicyAgent(OnnxPolicy.load("runs/demo"), ensemble_m=0.01)      # after: python -m act export runs/demo

It needs numpy, OpenCV and onnxruntime. docs/realtime.md shows how to install only these on a robot.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act.data.images import resize_image
from act.files import read_json
from act.run_folder import RunFolder, file_digest
from act.serving.onnx_session import check_query, check_sizes, open_session
from act.types import Observation, PolicySpec

FILES = {"onnx": "policy.onnx", "int8": "policy.int8.onnx"}  # engine -> graph; its description is FILE.json


class OnnxPolicy:
    """Computes one history at a time, each on `threads` cores (None: all cores this process may use).

    Raises ValueError, in one sentence, for a graph whose inputs, outputs or first answer are not those that `about`
    describes, and TypeError or KeyError when `about` describes no graph.
    """

    def __init__(self, graph: Path, about: Mapping[str, Any], threads: int | None = None):
        self.chunk_size, self.n_obs_steps = check_sizes(about)
        self.spec = PolicySpec.from_json(about["spec"])
        check_query(self.spec, self.n_obs_steps)
        chunk = (1, self.chunk_size, self.spec.action_dim)
        self._session = open_session(graph, self.inputs([self._zeros()] * self.n_obs_steps), chunk, threads)

    @classmethod
    def load(cls, run: Path | str, engine: str = "onnx", threads: int | None = None) -> "OnnxPolicy":
        """Loads the exported policy of a run; `engine` is "onnx" or "int8".

        Raises ValueError when the run has no such graph, when the graph was made from other weights than the run has
        now, when it was changed, when it cannot be opened, and when it answers anything but finite chunks of the
        described shape. The message names the command that exports it again.
        """
        run = Path(run)
        if engine not in FILES:
            raise ValueError(f"unknown engine {engine!r}; available: {', '.join(FILES)}")
        graph, command = run / FILES[engine], f"python -m act export {run}{' --int8' if engine == 'int8' else ''}"
        try:
            about = read_json(about_path(graph))
        except FileNotFoundError:
            raise ValueError(f"{run} has no {graph.name} (and no description of it); run {command}") from None
        except ValueError as error:
            raise ValueError(f"{error}; run {command}") from None
        try:
            _check_digests(graph, about, RunFolder(run))
            return cls(graph, about, threads)
        except FileNotFoundError:
            raise ValueError(f"{graph} cannot be opened (it does not exist); run {command}") from None
        except (KeyError, TypeError, AttributeError, MemoryError) as error:
            raise ValueError(f"{about_path(graph)} describes no graph ({error!r}); run {command}") from None
        except ValueError as error:
            if str(error).startswith(str(graph)):
                raise ValueError(f"{error}; run {command}") from None
            raise ValueError(f"{graph} cannot be opened ({error}); run {command}") from None

    @property
    def needs_images(self) -> bool:
        return bool(self.spec.cameras)

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        """Returns chunks (B, K, A) float32 in physical units for B histories of n_obs_steps observations, oldest first.

        Raises ValueError when an observation lacks the image of a camera.
        """
        return np.concatenate([self._session.run(None, self.inputs(history))[0] for history in histories])

    def inputs(self, history: Sequence[Observation]) -> dict[str, np.ndarray]:
        """Returns the inputs of the graph for one history of T observations; their shapes are in export.py."""
        values = {"qpos": np.asarray([[obs["qpos"] for obs in history]], np.float32)}
        if self.spec.env_state_dim:
            values["env_state"] = np.asarray([[obs["env_state"] for obs in history]], np.float32)
        if self.needs_images:
            values["images"] = np.asarray([[self._images(obs) for obs in history]])
        return values

    def _zeros(self) -> Observation:
        """An observation with the sizes of the spec, to ask the graph for the first time."""
        image = np.zeros((*self.spec.image_size, 3), np.uint8)
        vectors = {"qpos": np.zeros(self.spec.qpos_dim), "env_state": np.zeros(self.spec.env_state_dim)}
        return {**vectors, "images": dict.fromkeys(self.spec.cameras, image)}

    def _images(self, obs: Observation) -> list[np.ndarray]:
        images = obs.get("images", {})
        missing = [camera for camera in self.spec.cameras if camera not in images]
        if missing:
            available = ", ".join(images) or "no images"
            raise ValueError(f"the policy needs camera {missing[0]!r}, but the observation has {available}")
        return [resize_image(images[camera], self.spec.image_size) for camera in self.spec.cameras]


def about_path(graph: Path) -> Path:
    """Returns the path of a graph's description: policy.onnx.json for policy.onnx."""
    return graph.with_name(f"{graph.name}.json")


def _check_digests(graph: Path, about: Mapping[str, Any], folder: RunFolder) -> None:
    """Raises ValueError when the graph was made from other weights than the run has, or has changed since."""
    if folder.weights.exists() and folder.digest() != about["weights"]:
        raise ValueError(f"{graph} was made from other weights than those in {folder.weights}")
    expected = about.get("graph")  # earlier versions have none
    if expected is not None and file_digest(graph) != expected:
        raise ValueError(f"{graph} was changed or damaged: its digest is not the one in {about_path(graph).name}")
