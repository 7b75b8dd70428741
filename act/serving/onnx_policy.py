"""A policy run by ONNX Runtime: what `python -m act export` wrote, in the shape of a policy, without torch.

    agent = PolicyAgent(OnnxPolicy.load("runs/demo"), ensemble_m=0.01)

What else is known of a run without torch is read here, too: its policy.json, and the fingerprint of its weights.

Needs numpy, OpenCV and onnxruntime: this is what runs beside a robot (docs/realtime.md says how to install it).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act.data.images import resize_image
from act.run_folder import file_digest
from act.types import Observation, PolicySpec
from act.workers import available_cores

FILES = {"onnx": "policy.onnx", "int8": "policy.int8.onnx"}  # engine -> graph, with a .json beside it


class OnnxPolicy:
    """Answers one history at a time, each on all `threads`."""

    def __init__(self, graph: Path, about: Mapping[str, Any], threads: int | None = None):
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.chunk_size, self.n_obs_steps = int(about["chunk_size"]), int(about["n_obs_steps"])
        self.spec = PolicySpec.from_json(about["spec"])

    @classmethod
    def load(cls, run: Path | str, engine: str = "onnx", threads: int | None = None) -> "OnnxPolicy":
        """The exported policy of a run. Raises ValueError when there is none, or one of other weights."""
        run = Path(run)
        if engine not in FILES:
            raise ValueError(f"engine {engine!r} is unknown; choose one of {', '.join(FILES)}")
        graph, again = run / FILES[engine], f"python -m act export {run}{' --int8' if engine == 'int8' else ''}"
        try:
            about = json.loads(about_path(graph).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{run} holds no {graph.name} ({error}); {again} makes one") from None
        weights = run / "policy.safetensors"
        if weights.exists() and file_digest(weights) != about["weights"]:
            raise ValueError(f"{graph} was made from other weights than {weights} holds now; {again} makes it anew")
        try:
            return cls(graph, about, threads)
        except Exception as error:  # ONNX Runtime's have no class of their own
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise ValueError(
                f"{graph} cannot be opened ({str(error).splitlines()[0]}); {again} makes it anew"
            ) from None

    @property
    def needs_images(self) -> bool:
        return bool(self.spec.cameras)

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        """Chunks (B, K, A) float32 in physical units for B histories of n_obs_steps observations, oldest first."""
        return np.concatenate([self._session.run(None, self.inputs(history))[0] for history in histories])

    def inputs(self, history: Sequence[Observation]) -> dict[str, np.ndarray]:
        """What the graph is fed for one history of T observations."""
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
            have = ", ".join(images) or "no images"
            raise ValueError(f"The policy looks through camera {missing[0]!r}, but the observation has {have}.")
        return [resize_image(images[camera], self.spec.image_size) for camera in self.spec.cameras]


def about_path(graph: Path) -> Path:
    """policy.onnx -> policy.onnx.json"""
    return graph.with_name(f"{graph.name}.json")


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ValueError("the engines onnx and int8 need onnxruntime: pip install 'act-aloha[onnx]'") from None
    return onnxruntime
