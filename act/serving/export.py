"""A trained policy as an ONNX graph: `python -m act export RUN [--int8]`; onnx_policy.py runs it without torch.

    RUN/policy.onnx        one history of T observations in, one chunk out, both in physical units (act/types.py):
                             qpos (1, T, 14) float32; env_state (1, T, E) float32; images (1, T, N, H, W, 3) uint8
                             chunk (1, K, 14) float32
    RUN/policy.onnx.json   the same in words, the weights it was made from, and how far its answers are from torch's
    RUN/policy.int8.onnx   with --int8: its convolutions in 8 bits, scaled by frames of the demonstrations

What the policy does to its inputs (normalisation, scaling of images) is in the graph.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.dataset import find
from act.data.episodes import read_episode
from act.files import whole_file, write_json
from act.nn import device
from act.policies.base.policy import Policy
from act.run_folder import read_about
from act.serving.loading import open_run
from act.serving.onnx_policy import FILES, OnnxPolicy, about_path
from act.types import Observation

OPSET = 20
TOLERANCE = 1e-3  # [rad, or 1 of a gripper's opening]: a graph whose answers differ by more is not kept
N_PROBES = 8  # random observations that compare the graph with torch
N_CALIBRATION, N_HELD_OUT = 32, 16  # histories from demonstrations that scale the 8 bits, and that judge them
UNITS = {"qpos": "rad, gripper 0 to 1", "env_state": "m, quaternion wxyz", "images": "RGB, 0 to 255"}

History = list[Observation]


@dataclass(frozen=True)
class Options:
    """Exports a trained policy to ONNX."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the training run."""
    int8: bool = False
    """Convolutions in 8 bits: faster, a little off (the difference is measured and told)."""
    dataset_dir: Path | None = None
    """Demonstrations for --int8; those the run was trained on if not given."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = tyro.cli(Options, args=arguments, prog="python -m act export", use_underscores=True)
    try:
        check_installed()
        graph = export_int8(options.run, options.dataset_dir) if options.int8 else export(options.run)
    except (ValueError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nexport: stopped; what was there before is there still", file=sys.stderr)
        return 130
    print(f"wrote {graph}; {describe(json.loads(about_path(graph).read_text()))}")
    return 0


def check_installed() -> None:
    """Raises ValueError naming what is missing and how to get it."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ValueError(f"exporting needs {', '.join(missing)}: pip install 'act-aloha[onnx]'")


def export(run: Path) -> Path:
    """Writes RUN/policy.onnx and its JSON. Raises ValueError where torch cannot trace the policy, or answers differ."""
    policy, _, weights = open_run(run, device="cpu")
    probes = random_histories(policy, N_PROBES)
    graph = run / FILES["onnx"]
    with whole_file(graph) as temporary, plain_arithmetic():
        write_graph(policy, temporary)
        about = describe_graph(policy, weights, "fp32")
        about["error"] = error = differences(policy, OnnxPolicy(temporary, about), probes)
        if error is not None and not error["max"] <= TOLERANCE:  # also where it answers NaN
            raise ValueError(f"{run}: the graph's answers differ from torch's by {error['max']:.2g} rad; not written")
    write_json(about_path(graph), about)
    return graph


def export_int8(run: Path, dataset_dir: Path | None = None) -> Path:
    """Writes RUN/policy.int8.onnx and its JSON."""
    from onnxruntime import quantization  # slow, and noisy about what it could do better

    policy, _, weights = open_run(run, device="cpu")
    if not policy.needs_images:
        raise ValueError(f"{run} sees no images: there are no convolutions to put into 8 bits")
    try:
        exact = OnnxPolicy.load(run)
    except ValueError:  # none yet, or one of other weights
        export(run)
        exact = OnnxPolicy.load(run)
    histories = recorded_histories(policy, dataset_dir or demonstrations_of(run), N_CALIBRATION + N_HELD_OUT)
    inputs = [exact.inputs(history) for history in histories[:N_CALIBRATION]]
    graph, about = run / FILES["int8"], describe_graph(policy, weights, "int8")
    with tempfile.TemporaryDirectory() as folder, whole_file(graph) as temporary:
        prepared = Path(folder) / "prepared.onnx"
        quantization.quant_pre_process(run / FILES["onnx"], prepared, skip_symbolic_shape=True)
        reader: Any = _Frames(inputs)
        unsigned = quantization.QuantType.QUInt8  # times signed weights: what AVX512-VNNI multiplies; twice as fast
        quantization.quantize_static(
            prepared, temporary, reader, op_types_to_quantize=["Conv"], per_channel=True, activation_type=unsigned
        )
        with plain_arithmetic():
            about["error"] = differences(policy, OnnxPolicy(temporary, about), histories[N_CALIBRATION:])
    write_json(about_path(graph), about)
    return graph


class Graph(nn.Module):
    """Tensors in the order of `names`, in physical units -> chunk (1, K, A) in physical units."""

    def __init__(self, policy: Policy, names: Sequence[str]):
        super().__init__()
        self.policy, self.names = policy, tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor:
        batch = Batch(**dict(zip(self.names, tensors, strict=True)))
        return self.policy.normalizer.decode("action", self.policy.predict(batch).float())


def write_graph(policy: Policy, path: Path) -> None:
    """Traces the policy for one history, in fp32."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # not what it could not simplify
    inputs = example(policy)
    graph = Graph(policy, tuple(inputs)).eval()
    graph(*inputs.values())  # what the policy keeps for later must not be the tracer's
    try:
        program = torch.onnx.export(
            graph, tuple(inputs.values()), input_names=tuple(inputs), output_names=("chunk",), opset_version=OPSET,
            dynamo=True, verbose=False,
        )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        name, reason = type(policy).__module__.rsplit(".", 1)[-1], str(error.__cause__ or error).strip()
        raise ValueError(f"policy {name} cannot be traced: {reason.splitlines()[0]}") from error
    assert program is not None
    program.save(path)


@contextmanager
def plain_arithmetic() -> Iterator[None]:
    """fp32 in one thread: ONNX Runtime's CPU kernels know no bf16, and a trace cannot follow threads."""
    fast, threads = device.bf16_is_fast, torch.get_num_threads()
    device.bf16_is_fast = lambda device: False
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        device.bf16_is_fast = fast
        torch.set_num_threads(threads)


def example(policy: Policy) -> dict[str, Tensor]:
    """Zeros in the shape of the graph's inputs."""
    spec, steps = policy.spec, policy.n_obs_steps
    inputs = {"qpos": torch.zeros(1, steps, spec.qpos_dim)}
    if spec.env_state_dim:
        inputs["env_state"] = torch.zeros(1, steps, spec.env_state_dim)
    if spec.cameras:
        inputs["images"] = torch.zeros(1, steps, len(spec.cameras), *spec.image_size, 3, dtype=torch.uint8)
    return inputs


def describe_graph(policy: Policy, weights: str, precision: str) -> dict[str, Any]:
    """What stands in the JSON beside a graph."""
    inputs = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch."), "unit": UNITS[name]}
        for name, value in example(policy).items()
    }
    chunk = {"shape": [1, policy.chunk_size, policy.spec.action_dim], "dtype": "float32", "unit": UNITS["qpos"]}
    return {
        "policy": type(policy).__module__.rsplit(".", 1)[-1],
        "precision": precision,
        "inputs": inputs,
        "outputs": {"chunk": chunk},
        "chunk_size": policy.chunk_size,
        "n_obs_steps": policy.n_obs_steps,
        "spec": policy.spec.to_json(),
        "weights": weights,
        "torch": torch.__version__,
    }


def describe(about: dict[str, Any]) -> str:
    """How far a graph is from torch, in words."""
    error = about["error"]
    if error is None:
        return "it draws random numbers, so its answers cannot be compared with torch's one by one"
    return f"its answers differ from torch's by {error['mean']:.2g} rad on average, {error['max']:.2g} at most"


# -------------------------------------------------------------------------------------------------------------- parity
def differences(policy: Policy, engine: OnnxPolicy, histories: Sequence[History]) -> dict[str, float] | None:
    """Mean and largest difference of the two policies' actions, in physical units; None where answers are random."""
    expected = [policy.predict_chunk([history]) for history in histories]
    if (expected[0] != policy.predict_chunk(histories[:1])).any():
        return None
    errors = np.abs(np.stack(expected) - np.stack([engine.predict_chunk([history]) for history in histories]))
    return {"mean": float(errors.mean()), "max": float(errors.max())}


def random_histories(policy: Policy, n: int) -> list[History]:
    """Joints within a radian, object poses within a metre, noise for images; always the same."""
    rng, spec = np.random.default_rng(0), policy.spec

    def observe() -> Observation:
        obs: Observation = {
            "qpos": rng.uniform(-1, 1, spec.qpos_dim).astype(np.float32),
            "env_state": rng.uniform(-1, 1, spec.env_state_dim).astype(np.float32),
        }
        return obs | {"images": {c: rng.integers(0, 256, (*spec.image_size, 3), np.uint8) for c in spec.cameras}}

    return [[observe() for _ in range(policy.n_obs_steps)] for _ in range(n)]


def demonstrations_of(run: Path) -> Path:
    """The (first) folder of demonstrations of a run. Raises ValueError where policy.json does not tell."""
    directories = read_about(run).get("train", {}).get("dataset_dir")
    if not directories:
        raise ValueError(f"{run} does not tell what it was trained on: give --dataset_dir")
    return Path(directories if isinstance(directories, str) else directories[0])


def recorded_histories(policy: Policy, dataset_dir: Path, n: int) -> list[History]:
    """n histories from random moments of the demonstrations of a directory; always the same."""
    paths, spec, rng = find(dataset_dir), policy.spec, np.random.default_rng(0)
    histories = []
    for _ in range(n):
        episode = read_episode(paths[rng.integers(len(paths))], spec.cameras)
        t = int(rng.integers(len(episode)))
        steps = [max(0, t + k) for k in range(1 - policy.n_obs_steps, 1)]
        histories.append([_observation(episode, step, spec.image_size) for step in steps])
    return histories


def _observation(episode: Any, t: int, image_size: tuple[int, int]) -> Observation:
    images = {c: episode.read_images(c, t, t + 1, image_size)[0] for c in episode.cameras}
    return {"qpos": episode.qpos[t], "env_state": None if episode.env_state is None else episode.env_state[t]} | {
        "images": images
    }


class _Frames:
    """Inputs of a graph one after another, as the quantizer asks for them."""

    def __init__(self, inputs: Sequence[dict[str, np.ndarray]]):
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)
