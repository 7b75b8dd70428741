"""Sends hostile messages to `python -m act serve`, and counts what the server makes of them.

The server runs in a process of its own. An answer is right when it is one sentence in {"error"}, finite chunks of the
policy's size, or the end of the connection; and after it, a sound client still gets its answer, bit for bit.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import torch
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from act.data.normalize import Normalizer
from act.policies import act
from act.policies.base.storage import save_policy
from act.serving.wire import PROTOCOL, SUBPROTOCOL, decode, encode
from act.types import PolicySpec
from benchmarks.faults.damages import damage

K, A = 5, 14
TOKEN = "0123456789abcdef"
PATIENCE = 30.0  # [s] for an answer that takes milliseconds on quiet cores
CHECK_EVERY = 25  # messages between two queries of a sound client
KINDS = ("flip", "truncate", "zero", "swap", "numbers", "sizes", "structure", "noise", "no token")
OUTCOMES = ("sentence", "sound chunks", "connection ended", "wrong")
ODD: tuple[Any, ...] = (None, True, -1, 2**63, 1e300, float("nan"), "", "x" * 5000, b"\xff", [], {}, [[[]]], [{}] * 70)


@dataclass(frozen=True)
class Answer:
    """What came back for one hostile message."""

    kind: str
    outcome: str
    sentence: str = ""  # of a wrong outcome


# ------------------------------------------------------------------------------------------------------------- messages
def sound_query(first: float = 0.1) -> dict[str, Any]:
    """A query with one history of one observation."""
    obs = {"qpos": np.full(A, first, np.float32), "env_state": np.linspace(0, 1, 7, dtype=np.float32)}
    return {"histories": [[obs]]}


def make_message(rng: np.random.Generator, kind: str) -> bytes | str:
    """A random hostile message of one kind."""
    query = sound_query(float(rng.normal()))
    obs = query["histories"][0][0]
    if kind in ("flip", "truncate", "zero", "swap"):
        return damage(rng, kind, encode(query), encode(sound_query()))
    if kind == "numbers":
        obs["qpos"][int(rng.integers(A))] = rng.choice(np.array([np.nan, np.inf, -np.inf, 3e38], np.float32))
    if kind == "sizes":
        return _claim_sizes(rng, query)
    if kind == "structure":
        return _change_structure(rng, query)
    if kind == "noise":
        noise = rng.bytes(int(rng.integers(0, 2000)))
        return noise.decode("latin-1") if rng.random() < 0.3 else noise
    return encode(query)


def _claim_sizes(rng: np.random.Generator, query: dict[str, Any]) -> bytes:
    """A query whose array claims another shape, type or size than it has."""
    shape = [int(rng.choice([0, 1, 13, 15, 2**31, 2**62, -1])) for _ in range(int(rng.integers(1, 6)))]
    content = [str(rng.choice(["<f4", "|u1", "<f8", "|O", "<U9"])), shape, bytes(int(rng.integers(0, 200)))]
    query["histories"][0][0]["qpos"] = msgpack.ExtType(int(rng.choice([1, 1, 5])), msgpack.packb(content))
    return _packed(query, lambda value: value.tolist())


def _change_structure(rng: np.random.Generator, query: dict[str, Any]) -> bytes:
    """A query in which one part is replaced by something else, left out, or repeated."""
    odd = ODD[int(rng.integers(len(ODD)))]
    history = query["histories"][0]
    match int(rng.integers(6)):
        case 0:
            query["histories"] = odd
        case 1:
            query["histories"][0] = odd
        case 2:
            history[0] = odd
        case 3:
            history[0][str(rng.choice(["qpos", "env_state", "images"]))] = odd
        case 4:
            query["histories"] = [history] * int(rng.choice([0, 2, 64, 65, 1000]))
        case _:
            query["histories"] = [history * int(rng.choice([0, 2, 50]))]
    return _packed(query, lambda value: msgpack.unpackb(encode({"a": value}))["a"])


def _packed(query: dict[str, Any], default: Callable[[Any], Any]) -> bytes:
    """Packs any structure; `default` says what becomes of arrays."""
    packed = msgpack.packb(query, default=default)
    assert packed is not None, "msgpack answers None only where it was asked to pack later"
    return packed


# ------------------------------------------------------------------------------------------------------------- serving
def make_run(folder: Path) -> Path:
    """A run folder with a small policy of random weights."""
    torch.manual_seed(0)
    config = act.Config(K, 16, 32, 2, 1, 1, n_cvae_layers=1, latent_dim=4, use_images=False, use_env_state=True)
    spec = PolicySpec(env_state_dim=7)
    policy = act.Policy(config, spec, Normalizer.of(spec))
    save_policy(folder, policy, {"step": 0, "seed": 0, "git": None, "train": {"task_name": "sim_toy"}})
    return folder


@contextmanager
def serving(run: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """Yields the address of a server in a process of its own, and the process."""
    command = [sys.executable, "-m", "act", "serve", str(run), "--port", "0", "--device", "cpu", "--token", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        assert program.stdout is not None
        line = next((line for line in program.stdout if "ws://" in line), "")
        if not line:
            raise RuntimeError("the server did not start")
        try:
            yield f"ws://{line.split('ws://')[1].split(';')[0].split()[0]}", program
        finally:
            program.kill()


def open_connection(address: str, token: str = TOKEN) -> ClientConnection:
    """A connection whose greeting was read. Raises InvalidHandshake where the server refuses it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    options = {"subprotocols": [Subprotocol(SUBPROTOCOL)], "open_timeout": PATIENCE, "compression": None}
    connection = connect(address, additional_headers=headers, max_size=None, **options)
    if decode(connection.recv(PATIENCE))["protocol"] != PROTOCOL:
        raise RuntimeError("the server speaks another protocol")
    return connection


# ------------------------------------------------------------------------------------------------------------- judging
def run_messages(folder: Path, count: int, seed: int) -> Iterator[Answer]:
    """Yields what the server makes of `count` messages, kinds in turn; message i depends on (seed, i)."""
    with serving(make_run(folder / "served")) as (address, program):
        expected = ask_soundly(address)
        connection = None
        for index in range(count):
            kind, rng = KINDS[index % len(KINDS)], np.random.default_rng((seed, index))
            if kind == "no token":
                yield _without_token(address, encode(sound_query()))
                continue
            connection = connection or open_connection(address)
            answer = _send(connection, kind, make_message(rng, kind))
            if answer.outcome in OUTCOMES[2:]:
                connection = None
            if program.poll() is not None:
                yield Answer(kind, "wrong", f"the server ended with code {program.returncode}")
                return
            if index % CHECK_EVERY == 0 and ask_soundly(address) != expected:
                answer = Answer(kind, "wrong", "a sound client gets another answer afterwards")
            yield answer


def ask_soundly(address: str) -> bytes:
    """The answer to a sound query, as bytes."""
    with open_connection(address) as connection:
        connection.send(encode(sound_query()))
        return decode(connection.recv(PATIENCE))["chunks"].tobytes()


def _send(connection: ClientConnection, kind: str, message: bytes | str) -> Answer:
    try:
        connection.send(message)
        return judge(kind, decode(connection.recv(PATIENCE)))
    except ConnectionClosed:
        return Answer(kind, "connection ended")
    except TimeoutError:
        return Answer(kind, "wrong", f"no answer within {PATIENCE:.0f} s")
    except ValueError as error:
        return Answer(kind, "wrong", f"the answer cannot be read: {error}")


def judge(kind: str, answer: dict[str, Any]) -> Answer:
    """Returns what a decoded answer of the server is."""
    error, chunks = answer.get("error"), answer.get("chunks")
    if isinstance(error, str) and error and "\n" not in error and "Traceback" not in error:
        return Answer(kind, "sentence")
    if isinstance(chunks, np.ndarray) and chunks.ndim == 3 and chunks.shape[1:] == (K, A):
        if np.isfinite(chunks).all():
            return Answer(kind, "sound chunks")
        return Answer(kind, "wrong", "chunks that are not finite")
    return Answer(kind, "wrong", f"the answer is {str(answer)[:100]}")


def _without_token(address: str, message: bytes) -> Answer:
    """Asks without the token; any answer is wrong."""
    try:
        with open_connection(address, token="") as connection:
            connection.send(message)
            connection.recv(PATIENCE)
    except (InvalidHandshake, ConnectionClosed, EOFError, OSError):
        return Answer("no token", "connection ended")
    return Answer("no token", "wrong", "an answer without the token")


def make_table(answers: list[Answer]) -> str:
    """Returns the outcomes as a Markdown table."""
    lines = ["| message | sent | " + " | ".join(OUTCOMES) + " |", "|---" * (len(OUTCOMES) + 2) + "|"]
    for kind in (*KINDS, "all"):
        chosen = [answer for answer in answers if kind in (answer.kind, "all")]
        outcomes = Counter(answer.outcome for answer in chosen)
        cells = [str(outcomes[outcome]) for outcome in OUTCOMES]
        lines.append(f"| {kind} | {len(chosen)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
