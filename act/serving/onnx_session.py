"""Opens ONNX graphs and believes nothing: declared types and sizes are compared, and the first answer is a test.

A graph may ask for any amount of memory and may loop for ever, so the memory and the time of its first query are
limited. This module needs no torch.
"""

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from act.data.memory import GIGABYTE, limited_memory
from act.files import check_regular
from act.runtime.checks import checked_chunks
from act.types import MOST_NUMBERS, PolicySpec
from act.workers import available_cores

ERRORS_ONLY = 3  # log severity of ONNX Runtime
MOST_BYTES = 2 << 30  # of a graph in one file, by the format
MEMORY, MEMORY_PER_THREAD = 4 * GIGABYTE, GIGABYTE // 4  # [bytes] that opening and the first query may take
FIRST_QUERY = 60.0  # [s] that the first query may take; on one slow core it takes 1 s
ONNX_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}


def check_sizes(about: Mapping[str, Any]) -> tuple[int, int]:
    """chunk_size and n_obs_steps of a graph's description. Raises ValueError when they are none."""
    for name in ("chunk_size", "n_obs_steps"):
        if type(about.get(name)) is not int or not 1 <= about[name] <= MOST_NUMBERS:
            raise ValueError(f"its {name} is {about.get(name)!r}")
    return about["chunk_size"], about["n_obs_steps"]


def check_query(spec: PolicySpec, n_obs_steps: int) -> None:
    """Raises ValueError when the numbers and images of one query would take gigabytes."""
    images = 3 * len(spec.cameras) * math.prod(spec.image_size)
    if (size := n_obs_steps * (images + 4 * (spec.qpos_dim + spec.env_state_dim))) > GIGABYTE:
        raise ValueError(f"its inputs would take {size / 1e9:.0f} GB")


def open_session(
    graph: Path, inputs: Mapping[str, np.ndarray], chunk: tuple[int, int, int], threads: int | None = None
) -> Any:
    """Returns an InferenceSession that maps arrays like `inputs` to a finite chunk (1, K, A).

    Raises ValueError, in one sentence, for a graph that cannot be opened, that has other inputs or outputs, that needs
    too much memory or time, or whose first answer is of another shape or not finite.
    """
    check_regular(graph)
    if (size := graph.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size / 1e9:.0f} GB, more than the format allows")
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = cores = threads or available_cores()
    options.log_severity_level = ERRORS_ONLY
    try:
        with limited_memory(MEMORY + cores * MEMORY_PER_THREAD + 8 * size):
            session = runtime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            _check_declared(session, inputs, chunk)
            answer = _ask_once(runtime, session, inputs)
    except MemoryError:
        raise ValueError("it asks for more memory than a policy needs") from None
    except Exception as error:  # the errors of ONNX Runtime have no class of their own
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ValueError(" ".join(str(error).split())[:300]) from None
    checked_chunks(answer, *chunk)
    return session


def _check_declared(session: Any, inputs: Mapping[str, np.ndarray], chunk: tuple[int, int, int]) -> None:
    """Raises ValueError unless the graph declares these inputs and this chunk; a size may be left open."""
    declared = {value.name: value for value in session.get_inputs()}
    if declared.keys() != inputs.keys():
        raise ValueError(f"its inputs are {', '.join(declared) or 'none'}, expected {', '.join(inputs)}")
    for name, array in inputs.items():
        _check_tensor(f"input {name}", declared[name], array.dtype.name, array.shape)
    outputs = session.get_outputs()
    if len(outputs) != 1:
        raise ValueError(f"it has {len(outputs)} outputs, expected one chunk")
    _check_tensor("chunk", outputs[0], "float32", chunk)


def _check_tensor(what: str, declared: Any, dtype: str, shape: tuple[int, ...]) -> None:
    sizes = list(declared.shape)
    fits = len(sizes) == len(shape) and all(
        size == wanted for size, wanted in zip(sizes, shape, strict=True) if isinstance(size, int)
    )
    if declared.type != ONNX_TYPES[dtype] or not fits:
        raise ValueError(f"its {what} is {declared.type} {sizes}, expected {ONNX_TYPES[dtype]} {list(shape)}")


def _ask_once(runtime: Any, session: Any, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The answer to one query. Raises ValueError when it takes too long."""
    options, late = runtime.RunOptions(), threading.Event()
    options.log_severity_level = ERRORS_ONLY + 1  # a query that is ended logs an error

    def end() -> None:
        late.set()
        options.terminate = True

    timer = threading.Timer(FIRST_QUERY, end)
    timer.daemon = True
    timer.start()
    try:
        return session.run(None, dict(inputs), options)[0]
    except Exception:
        if late.is_set():
            raise ValueError(f"its first answer takes longer than {FIRST_QUERY:.0f} s") from None
        raise
    finally:
        timer.cancel()


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ValueError("the engines onnx and int8 need onnxruntime: pip install 'act-aloha[onnx]'") from None
    return onnxruntime
