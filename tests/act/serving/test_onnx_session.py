"""An ONNX graph is used only when it maps what its description says to finite chunks, in bounded memory and time."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from act.run_folder import file_digest
from act.serving import onnx_session
from act.serving.onnx_policy import OnnxPolicy

K, A = 3, 14
SPEC = {"cameras": [], "image_size": [480, 640], "qpos_dim": A, "action_dim": A, "env_state_dim": 0}
ABOUT = {"chunk_size": K, "n_obs_steps": 1, "spec": SPEC, "weights": "0"}
FLOAT = TensorProto.FLOAT


def constant(name: str, values: Any, kind: int = TensorProto.INT64) -> Any:
    values = np.asarray(values)
    return helper.make_node("Constant", [], [name], value=helper.make_tensor(name, kind, values.shape, values.ravel()))


def make_graph(
    nodes: list | None = None,
    shape: tuple = (1, K, A),
    kind: int = FLOAT,
    inputs: dict[str, tuple] | None = None,
    outputs: int = 1,
) -> bytes:
    """A graph that repeats qpos K times, or computes `chunk` by other nodes."""
    repeat = [constant("size", [1, K, A]), helper.make_node("Expand", ["qpos", "size"], ["chunk"])]
    given = [helper.make_tensor_value_info(n, *v) for n, v in (inputs or {"qpos": (FLOAT, (1, 1, A))}).items()]
    made = [helper.make_tensor_value_info("chunk", kind, shape)]
    made += [helper.make_tensor_value_info("qpos", FLOAT, (1, 1, A))] * (outputs - 1)
    graph = helper.make_graph(nodes or repeat, "graph", given, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def put(folder: Path, content: bytes, **about: Any) -> Path:
    (folder / "policy.onnx").write_bytes(content)
    (folder / "policy.onnx.json").write_text(json.dumps({**ABOUT, **about}))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        OnnxPolicy.load(folder, threads=1)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message and f"; run python -m act export {folder}" in message
    return message


def test_a_graph_that_is_as_described_answers(tmp_path: Path):
    policy = OnnxPolicy.load(put(tmp_path, make_graph()), threads=1)
    answer = policy.predict_chunk([[{"qpos": np.arange(A)}]])
    assert answer.shape == (1, K, A) and (answer == np.arange(A)).all()


def scaled(value: float) -> list:
    scale = constant("scale", [value], FLOAT)
    zeros = [constant("size", [1, K, A]), helper.make_node("Expand", ["qpos", "size"], ["wide"])]
    return [*zeros, scale, helper.make_node("Add", ["wide", "scale"], ["chunk"])]


def filled(*shape: int) -> list:
    """56 GB of zeros for a shape of 14e9, of which the chunk is a mean."""
    zeros = helper.make_node("ConstantOfShape", ["huge"], ["zeros"])
    mean = helper.make_node("ReduceMean", ["zeros"], ["mean"], keepdims=0)
    sizes = [constant("huge", shape), constant("size", [1, K, A])]
    return [*sizes, zeros, mean, helper.make_node("Expand", ["mean", "size"], ["chunk"])]


def chosen() -> list:
    """The joints that are not zero."""
    wide = [constant("size", [1, K, A]), helper.make_node("Expand", ["qpos", "size"], ["wide"])]
    flat = [constant("all", [A]), helper.make_node("Reshape", ["qpos", "all"], ["flat"])]
    which = helper.make_node("Cast", ["flat"], ["which"], to=TensorProto.BOOL)
    return [*wide, *flat, which, helper.make_node("Compress", ["wide", "which"], ["chunk"], axis=2)]


GRAPHS: dict[str, tuple[Callable[[], bytes], str]] = {
    "NaN": (lambda: make_graph(scaled(float("nan"))), "the policy answered nan for joint 0 in action 0"),
    "inf": (lambda: make_graph(scaled(float("inf"))), "the policy answered inf for joint 0 in action 0"),
    "another number of axes": (lambda: make_graph(shape=(K, A)), "expected tensor(float) [1, 3, 14]"),
    "a chunk that is too short": (
        lambda: make_graph([helper.make_node("Identity", ["qpos"], ["chunk"])], shape=("a", "b", "c")),
        "its chunk is tensor(float) [1, 1, 14], expected tensor(float) [1, 3, 14]",
    ),
    "a size that depends on the input": (
        lambda: make_graph(chosen(), shape=("a", "b", "c")),
        "the policy answered chunks of shape (1, 3, 0), expected (1, 3, 14)",
    ),
    "integers": (
        lambda: make_graph([*scaled(0)[:-1], helper.make_node("Cast", ["wide"], ["chunk"], to=6)], kind=6),
        "its chunk is tensor(int32)",
    ),
    "another input": (
        lambda: make_graph(inputs={"qpos": (FLOAT, (1, 1, 1))}),
        "its input qpos is tensor(float) [1, 1, 1]",
    ),
    "an unknown input": (
        lambda: make_graph(inputs={"qpos": (FLOAT, (1, 1, A)), "x": (FLOAT, (1,))}),
        "its inputs are qpos, x, expected qpos",
    ),
    "two outputs": (lambda: make_graph(outputs=2), "it has 2 outputs, expected one chunk"),
    "56 GB": (lambda: make_graph(filled(14 * 10**9)), "cannot be opened"),
    "half a graph": (lambda: make_graph()[:40], "cannot be opened"),
    "no graph": (lambda: b"\xff" * 100, "cannot be opened"),
    "nothing": (lambda: b"", "cannot be opened"),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_that_is_not_as_described_is_refused_when_it_is_loaded(tmp_path: Path, kind: str):
    make, sentence = GRAPHS[kind]
    assert sentence in refusal(put(tmp_path, make()))


def test_a_graph_that_never_ends_is_refused(tmp_path: Path, monkeypatch):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["x", "one"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("x", FLOAT, (1, 1, A)),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("y", FLOAT, (1, 1, A)),
        ],
    )
    nodes = [constant("times", 1 << 60), constant("true", True, TensorProto.BOOL), constant("one", [1.0], FLOAT)]
    nodes += [helper.make_node("Loop", ["times", "true", "qpos"], ["last"], body=body), constant("size", [1, K, A])]
    monkeypatch.setattr(onnx_session, "FIRST_QUERY", 0.3)
    graph = make_graph([*nodes, helper.make_node("Expand", ["last", "size"], ["chunk"])])
    assert "its first answer takes longer than" in refusal(put(tmp_path, graph))


def test_one_flipped_bit_of_a_graph_is_refused(tmp_path: Path):
    put(tmp_path, make_graph())
    put(tmp_path, make_graph(), graph=file_digest(tmp_path / "policy.onnx"))
    assert OnnxPolicy.load(tmp_path, threads=1).chunk_size == K
    data = bytearray(make_graph())
    data[len(data) // 2] ^= 1
    (tmp_path / "policy.onnx").write_bytes(data)
    assert "policy.onnx was changed or damaged" in refusal(tmp_path)


DESCRIPTIONS: list[dict[str, Any]] = [
    *({"chunk_size": value} for value in (0, -1, "3", 3.0, None, 1 << 40)),
    *({"n_obs_steps": value} for value in (0, 1 << 40, [1])),
    *({"spec": value} for value in (None, [], "qpos", {"wheels": 2})),
    *({"spec": SPEC | changed} for changed in ({"qpos_dim": 1 << 40}, {"cameras": "top"}, {"cameras": [{}]})),
    {"spec": SPEC | {"cameras": ["top"], "image_size": [1 << 20, 1 << 20]}},
    {"n_obs_steps": 100_000, "spec": SPEC | {"cameras": [f"cam{i}" for i in range(200)], "image_size": [8000, 8000]}},
]


def test_a_description_of_another_graph_is_refused(tmp_path: Path):
    assert "its chunk is tensor(float) [1, 3, 14], expected tensor(float) [1, 4, 14]" in refusal(
        put(tmp_path, make_graph(), chunk_size=4)
    )


@pytest.mark.parametrize("about", DESCRIPTIONS)
def test_a_description_that_is_none_is_refused(tmp_path: Path, about: dict[str, Any]):
    assert refusal(put(tmp_path, make_graph(), **about))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"chunk_size": ' + "9" * 5000 + "}"])
def test_a_description_that_is_no_json_is_refused(tmp_path: Path, text: str):
    put(tmp_path, make_graph())
    (tmp_path / "policy.onnx.json").write_text(text)
    assert "policy.onnx.json cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["policy.onnx", "policy.onnx.json"])
def test_a_fifo_in_place_of_a_file_is_refused_at_once(tmp_path: Path, name: str):
    put(tmp_path, make_graph())
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert f"{name} cannot be read: it is no regular file" in refusal(tmp_path)


def test_onnx_itself_finds_the_graph_of_these_tests_right():
    onnx.checker.check_model(onnx.load_from_string(make_graph()))
