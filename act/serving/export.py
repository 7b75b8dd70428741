"""Exports a trained policy as an ONNX graph (`python -m act export RUN [--int8]`); onnx_policy.py runs the graph.

    RUN/policy.onnx        maps one history of T observations to one chunk, in physical units (act/types.py):
                             qpos (1, T, 14) float32; env_state (1, T, E) float32; images (1, T, N, H, W, 3) uint8
                             chunk (1, K, 14) float32
    RUN/policy.onnx.json   describes it: shapes, units, the digest of the weights, and its difference from torch
    RUN/policy.int8.onnx   with --int8: its convolutions use 8 bits, scaled by frames of the demonstrations

The graph includes normalization and the scaling of images.
"""

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from act.files import whole_file, write_json
from act.run_folder import RunFolder, file_digest
from act.serving.loading import open_run
from act.serving.onnx_policy import FILES, OnnxPolicy, about_path
from act.serving.parity import differences, random_histories, recorded_histories

TOLERANCE = 1e-3  # [rad, or 1 of a gripper's opening]; a graph that differs more from torch is not kept
N_PROBES = 8  # random histories that compare the graph with torch
N_CALIBRATION, N_HELD_OUT = 32, 16  # recorded histories that scale the 8 bits, and that measure the difference


def check_installed() -> None:
    """Raises ValueError with the missing packages and the command that installs them."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ValueError(f"exporting needs {', '.join(missing)}: pip install 'act-aloha[onnx]'")


def export(run: Path) -> Path:
    """Writes RUN/policy.onnx and its JSON, and returns the path of the graph.

    Raises ValueError when torch cannot trace the policy, and when the graph's answers differ from torch's.
    """
    from act.serving.graph import describe_graph, plain_arithmetic, write_graph  # torch takes seconds to import

    policy, _, weights = open_run(run, device="cpu")
    probes = random_histories(policy, N_PROBES)
    graph = run / FILES["onnx"]
    with whole_file(graph) as temporary, plain_arithmetic():
        write_graph(policy, temporary)
        about = describe_graph(policy, weights, "fp32")
        about["error"] = error = differences(policy, OnnxPolicy(temporary, about), probes)
        if error is not None and not error["max"] <= TOLERANCE:  # written so that NaN is refused, too
            raise ValueError(f"{run}: the graph's answers differ from torch's by {error['max']:.2g} rad; not written")
        about["graph"] = file_digest(temporary)
    write_json(about_path(graph), about)
    return graph


def export_int8(run: Path, dataset_dir: Path | None = None) -> Path:
    """Writes RUN/policy.int8.onnx and its JSON, and returns the path of the graph.

    Recorded histories from `dataset_dir` (None: the demonstrations of the run) scale the 8 bits and measure the
    difference. Raises ValueError for a policy without images, and when no demonstrations are found.
    """
    from act.data.loading import find
    from act.serving.graph import describe_graph, plain_arithmetic

    policy, _, weights = open_run(run, device="cpu")
    if not policy.needs_images:
        raise ValueError(f"{run} uses no images, so it has no convolutions for --int8; export it without --int8")
    exact = _exact(run)
    paths = find(dataset_dir or demonstrations_of(run))
    histories = recorded_histories(policy, paths, N_CALIBRATION + N_HELD_OUT)
    graph, about = run / FILES["int8"], describe_graph(policy, weights, "int8")
    with whole_file(graph) as temporary:
        _quantize(run / FILES["onnx"], temporary, [exact.inputs(history) for history in histories[:N_CALIBRATION]])
        with plain_arithmetic():
            about["error"] = differences(policy, OnnxPolicy(temporary, about), histories[N_CALIBRATION:])
        about["graph"] = file_digest(temporary)
    write_json(about_path(graph), about)
    return graph


def _exact(run: Path) -> OnnxPolicy:
    """Returns the fp32 graph of a run; exports it first when there is none, or one of other weights."""
    try:
        return OnnxPolicy.load(run)
    except ValueError:
        export(run)
        return OnnxPolicy.load(run)


def _quantize(graph: Path, target: Path, inputs: Sequence[dict[str, np.ndarray]]) -> None:
    """Writes `graph` with 8-bit convolutions to `target`; `inputs` of the graph set the scales."""
    from onnxruntime import quantization  # here, because it is slow to import and prints advice

    # Unsigned activations times signed weights are what AVX512-VNNI multiplies: twice as fast as signed ones.
    unsigned = quantization.QuantType.QUInt8
    reader: Any = _CalibrationInputs(inputs)
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quantization.quant_pre_process(graph, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared, target, reader, op_types_to_quantize=["Conv"], per_channel=True, activation_type=unsigned
        )


def demonstrations_of(run: Path) -> Path:
    """Returns the (first) folder of demonstrations of a run. Raises ValueError when policy.json does not name it."""
    directories = RunFolder(run).about().get("train", {}).get("dataset_dir")
    if not directories:
        raise ValueError(f"{run}/policy.json does not name the demonstrations of the run; give --dataset_dir")
    return Path(directories if isinstance(directories, str) else directories[0])


class _CalibrationInputs:
    """Gives the inputs of a graph one after another, in the way the quantizer asks for them."""

    def __init__(self, inputs: Sequence[dict[str, np.ndarray]]):
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)
