"""Traces a policy as an ONNX graph with torch, and describes the graph; export.py decides which graphs are kept."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from act.data.batch import Batch
from act.nn import device
from act.policies.base.policy import Policy

OPSET = 20
UNITS = {"qpos": "rad, gripper 0 to 1", "env_state": "m, quaternion wxyz", "images": "RGB, 0 to 255"}


class Graph(nn.Module):
    """Maps tensors in the order of `names`, in physical units, to a chunk (1, K, A) in physical units."""

    def __init__(self, policy: Policy, names: Sequence[str]):
        super().__init__()
        self.policy, self.names = policy, tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor:
        batch = Batch(**dict(zip(self.names, tensors, strict=True)))
        return self.policy.in_physical_units(self.policy.predict(batch), batch)


def write_graph(policy: Policy, path: Path) -> None:
    """Traces the policy for one history in fp32. Raises ValueError when torch cannot trace it."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it would list what it could not simplify
    inputs = example_inputs(policy)
    graph = Graph(policy, tuple(inputs)).eval()
    graph(*inputs.values())  # fills the policy's caches before tracing, so that they hold no tensors of the tracer
    try:
        program = torch.onnx.export(
            graph, tuple(inputs.values()), input_names=tuple(inputs), output_names=("chunk",), opset_version=OPSET,
            dynamo=True, verbose=False,
        )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip()
        raise ValueError(f"policy {policy_name(policy)} cannot be traced: {reason.splitlines()[0]}") from error
    assert program is not None
    program.save(path)


@contextmanager
def plain_arithmetic() -> Iterator[None]:
    """Makes torch compute in fp32 and one thread, because ONNX Runtime has no bf16 on CPUs and tracing no threads."""
    with torch.no_grad(), device.fp32_only(), device.threads(1):
        yield


def example_inputs(policy: Policy) -> dict[str, Tensor]:
    """Returns zeros in the shapes of the graph's inputs."""
    spec, steps = policy.spec, policy.n_obs_steps
    inputs = {"qpos": torch.zeros(1, steps, spec.qpos_dim)}
    if spec.env_state_dim:
        inputs["env_state"] = torch.zeros(1, steps, spec.env_state_dim)
    if spec.cameras:
        inputs["images"] = torch.zeros(1, steps, len(spec.cameras), *spec.image_size, 3, dtype=torch.uint8)
    return inputs


def describe_graph(policy: Policy, weights: str, precision: str) -> dict[str, Any]:
    """Returns the content of the JSON file beside a graph; `weights` is the digest of the weights."""
    inputs = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch."), "unit": UNITS[name]}
        for name, value in example_inputs(policy).items()
    }
    chunk = {"shape": [1, policy.chunk_size, policy.spec.action_dim], "dtype": "float32", "unit": UNITS["qpos"]}
    return {
        "policy": policy_name(policy),
        "precision": precision,
        "inputs": inputs,
        "outputs": {"chunk": chunk},
        "chunk_size": policy.chunk_size,
        "n_obs_steps": policy.n_obs_steps,
        "spec": policy.spec.to_json(),
        "weights": weights,
        "torch": torch.__version__,
    }


def policy_name(policy: Policy) -> str:
    """Returns the name of a policy, which is the name of its file: "act"."""
    return type(policy).__module__.rsplit(".", 1)[-1]
