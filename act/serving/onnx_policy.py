"""Runs an exported policy with ONNX Runtime; it has the interface of a policy and works without torch.

    agent = PolicyAgent(OnnxPolicy.load("runs/demo"), ensemble_m=0.01)      # after: python -m act export runs/demo

It needs numpy, OpenCV and onnxruntime. docs/realtime.md shows how to install only these on a robot.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act.data.images import resize_image
from act.run_folder import RunFolder
from act.types import Observation, PolicySpec
from act.workers import available_cores

FILES = {"onnx": "policy.onnx", "int8": "policy.int8.onnx"}  # engine -> graph; its description is FILE.json
ERRORS_ONLY = 3  # log severity of ONNX Runtime


class OnnxPolicy:
    """Computes one history at a time, each on `threads` cores (None: all cores this process may use)."""

    def __init__(self, graph: Path, about: Mapping[str, Any], threads: int | None = None):
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.log_severity_level = ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.chunk_size, self.n_obs_steps = int(about["chunk_size"]), int(about["n_obs_steps"])
        self.spec = PolicySpec.from_json(about["spec"])

    @classmethod
    def load(cls, run: Path | str, engine: str = "onnx", threads: int | None = None) -> "OnnxPolicy":
        """Loads the exported policy of a run; `engine` is "onnx" or "int8".

        Raises ValueError when the run has no such graph, when the graph was made from other weights than the run has
        now, and when it cannot be opened. The message names the command that exports it again.
        """
        run = Path(run)
        if engine not in FILES:
            raise ValueError(f"unknown engine {engine!r}; available: {', '.join(FILES)}")
        graph, command = run / FILES[engine], f"python -m act export {run}{' --int8' if engine == 'int8' else ''}"
        try:
            about = json.loads(about_path(graph).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{run} has no {graph.name} ({error}); run {command}") from None
        folder = RunFolder(run)
        if folder.weights.exists() and folder.digest() != about["weights"]:
            raise ValueError(f"{graph} was made from other weights than those in {folder.weights}; run {command}")
        try:
            return cls(graph, about, threads)
        except Exception as error:  # the errors of ONNX Runtime have no common class
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            reason = str(error).splitlines()[0]
            raise ValueError(f"{graph} cannot be opened ({reason}); run {command}") from None

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


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ValueError("the engines onnx and int8 need onnxruntime: pip install 'act-aloha[onnx]'") from None
    return onnxruntime
