"""A served policy gives the same answers, and neither strangers nor wrong messages stop it."""

import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import eval as program
import sim_envs
from act.policies.base.storage import load_policy
from act.run_folder import RunFolder
from act.serving import server
from act.serving.client import RemotePolicy
from act.serving.loading import open_policy
from act.serving.parity import random_histories
from act.serving.server import PolicyServer
from act.serving.wire import MOST_BYTES, MOST_HISTORIES, decode, encode
from act.types import PolicySpec
from tests.act.serving.test_export import make_policy
from tests.act.serving.test_export import run as run  # a fixture
from tests.test_eval import make_toy

TOKEN = "abcdef0123456789"


class Toy:
    """Answers with the first joint; waits when the last one is positive and fails when it is negative."""

    chunk_size, n_obs_steps, needs_images = 3, 1, False
    spec = PolicySpec((), (8, 8))

    def predict_chunk(self, histories: Any) -> np.ndarray:
        qpos = np.array([history[-1]["qpos"] for history in histories])
        if qpos[0, 13] > 0:
            time.sleep(float(qpos[0, 13]))
        if qpos[0, 13] < 0:
            raise RuntimeError("a secret of the server")
        return np.tile(qpos[:, None, :1], (1, 3, 14)).astype(np.float32)


@contextmanager
def serving(policy: Any, token: str = "", port: int = 0, *, speaks_openpi: bool = False, **about: Any) -> Iterator[str]:
    with PolicyServer(policy, about, token, speaks_openpi).listen(port=port) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listening.socket.getsockname()[1]}"
        finally:
            listening.shutdown()
            thread.join()


def query(first: float = 0.5, last: float = 0.0) -> list[list[dict[str, Any]]]:
    return [[{"qpos": np.array([first, *[0.0] * 12, last], np.float32)}]]


def test_a_served_policy_gives_the_same_answers(run: Path):
    policy, histories = load_policy(run), random_histories(make_policy(), 3)
    with serving(policy) as address, RemotePolicy(address) as remote:
        assert (remote.chunk_size, remote.n_obs_steps, remote.needs_images) == (6, 1, True)
        assert remote.spec.cameras == ("cam0", "cam1") and remote.spec.image_size == (32, 48)
        np.testing.assert_array_equal(remote.predict_chunk(histories), policy.predict_chunk(histories))
        assert remote.query_ms > 0
        squeezed = RemotePolicy(address, jpeg_quality=95).predict_chunk(histories)
        assert np.abs(squeezed - policy.predict_chunk(histories)).max() > 0  # JPEGs are not quite the images


def test_more_histories_than_a_message_carries_are_sent_in_several():
    with serving(Toy()) as address, RemotePolicy(address) as remote:
        histories = [query(first)[0] for first in np.linspace(0, 1, 2 * MOST_HISTORIES + 3)]
        np.testing.assert_array_equal(remote.predict_chunk(histories), Toy().predict_chunk(histories))
        assert remote.query_ms > 0


def test_clients_without_the_token_are_refused():
    with serving(Toy(), TOKEN) as address:
        for wrong in ("", "abcdef012345678X"):
            with pytest.raises(ConnectionError, match="needs a token"):
                RemotePolicy(address, wrong)
        assert RemotePolicy(address, TOKEN).predict_chunk(query()).shape == (1, 3, 14)
        with urllib.request.urlopen(address.replace("ws", "http") + "/healthz") as answer:
            assert answer.read() == b"ok\n"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(address.replace("ws", "http") + "/other")
        foreign = urllib.request.Request(address.replace("ws", "http"), headers={"Authorization": "Bearer \xff"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(foreign)


def test_a_server_without_file_descriptors_serves_again_later(monkeypatch: pytest.MonkeyPatch):
    left = [7, 7, -1]  # file descriptors: -1 is closed
    listening = SimpleNamespace(serve_forever=lambda: None, socket=SimpleNamespace(fileno=lambda: left.pop(0)))
    waited: list[float] = []
    monkeypatch.setattr(server.time, "sleep", waited.append)
    server.keep_serving(listening)  # type: ignore[arg-type]
    assert waited == [1, 1] and not left


def test_the_ipv6_loopback_can_be_served():
    if not Path("/proc/net/if_inet6").exists() or " lo" not in Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no IPv6")
    with PolicyServer(Toy(), {}).listen("::1") as listening:
        assert listening.socket.family == socket.AF_INET6


def test_browsers_are_refused():
    with serving(Toy()) as address, pytest.raises(InvalidStatus, match="403"):
        connect(address, additional_headers={"Origin": "http://evil.example"})


def test_a_wrong_message_gets_a_sentence_and_the_next_query_its_answer():
    with serving(Toy()) as address, connect(address) as client:
        client.recv()
        for wrong in ("text", b"\xc1", encode({"histories": [[{"qpos": "x"}]]})):
            client.send(wrong)
            assert list(decode(client.recv())) == ["error"]
        client.send(encode({"histories": query()}))
        assert decode(client.recv())["chunks"].shape == (1, 3, 14)


def test_a_message_that_is_too_large_ends_one_connection_only():
    with serving(Toy()) as address, RemotePolicy(address) as remote:
        with connect(address, max_size=None) as client:
            client.recv()
            client.send(b"\0" * (MOST_BYTES + 1))
            with pytest.raises(Exception, match="1009"):
                client.recv()
        assert remote.predict_chunk(query()).shape == (1, 3, 14)


def test_a_client_that_vanishes_is_logged_and_is_not_an_error(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO), serving(Toy()) as address:
        client = connect(address)
        client.recv()
        client.socket.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 5
        while "lost: ('127.0.0.1'" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_client_that_never_reads_is_disconnected(monkeypatch: pytest.MonkeyPatch):
    class Long(Toy):
        def predict_chunk(self, histories: Any) -> np.ndarray:
            return np.zeros((len(histories), 4000, 14), np.float32)

    monkeypatch.setattr(server, "READING", 1)
    data = encode({"histories": query() * MOST_HISTORIES})
    with serving(Long()) as address:
        deaf = connect(address, max_queue=1, max_size=None, close_timeout=0)
        deaf.recv()
        for _ in range(8):
            deaf.send(data)
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 8
    deaf.close()


def test_a_failure_of_the_policy_goes_to_the_log_and_not_to_clients(caplog: pytest.LogCaptureFixture):
    with serving(Toy()) as address, RemotePolicy(address) as remote:
        with (
            caplog.at_level(logging.ERROR, "act.serving.server"),
            pytest.raises(ValueError, match="the policy failed; see the log") as refused,
        ):
            remote.predict_chunk(query(last=-1.0))
        assert "a secret" in caplog.text and "a secret" not in str(refused.value)
        assert remote.predict_chunk(query())[0, 0, 0] == 0.5


def test_a_late_answer_is_dropped_and_not_taken_for_the_next():
    with serving(Toy()) as address, RemotePolicy(address, timeout=0.3) as remote:
        with pytest.raises(ConnectionError, match=r"has not answered within 0.3 s"):
            remote.predict_chunk(query(0.1, last=0.6))
        time.sleep(0.4)
        assert remote.predict_chunk(query(0.9))[0, 0, 0] == np.float32(0.9)


def test_a_server_that_comes_back_is_used_again_unless_its_policy_is_another():
    with serving(Toy(), weights="a") as address:
        remote = RemotePolicy(address)
    with pytest.raises(ConnectionError, match=r"no policy server at .*; python -m act serve RUN starts one"):
        remote.predict_chunk(query())
    port = int(address.rsplit(":", 1)[1])
    with serving(Toy(), port=port, weights="a"):
        assert remote.predict_chunk(query()).shape == (1, 3, 14)
    with serving(Toy(), port=port, weights="b"):
        for _ in range(2):  # the second query is refused, too
            with pytest.raises(ConnectionError, match="now runs another policy"):
                remote.predict_chunk(query())


def test_too_many_clients_are_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "MOST_CLIENTS", 1)
    with serving(Toy()) as address, RemotePolicy(address) as first:
        with pytest.raises(ConnectionError, match="already has 1 clients"):
            RemotePolicy(address)
        first.close()
        deadline = time.monotonic() + 5
        while True:
            try:
                assert RemotePolicy(address).predict_chunk(query()).shape == (1, 3, 14)
                return
            except ConnectionError:
                assert time.monotonic() < deadline


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "nonsense"])
def test_a_text_that_is_not_an_address_is_refused(address: str):
    with pytest.raises(ValueError, match="is not an address; expected one like ws://"):
        RemotePolicy(address)


def test_wrong_flags_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for flags, message in (
        (["--host", "0.0.0.0"], "is reachable from other machines: set ACT_TOKEN"),
        (["--engine", "onnx", "--device", "cpu"], "--device cpu has an effect only with --engine torch"),
        (["--token", "short"], "12 or more letters"),
        (["--port", "70000"], "--port 70000"),
        ([], "holds no trained policy"),
    ):
        assert server.main([str(tmp_path), *flags]) == 2
        assert message in capsys.readouterr().err


class Spoiled:
    """The policy of a run, but one number of every answer is nan."""

    def __init__(self, run: Path):
        self.policy = open_policy(run)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def predict_chunk(self, histories: Any) -> np.ndarray:
        chunks = self.policy.predict_chunk(histories)
        chunks[0, 1, 2] = np.nan
        return chunks


def test_an_evaluation_of_a_policy_that_answers_nonsense_ends_in_one_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sim_envs, "make", make_toy)
    monkeypatch.setattr(program, "open_run", lambda *_: (Spoiled(run), RunFolder(run).about(), "digest"))
    flags = ["--num_rollouts", "2", "--num_workers", "1", "--videos", "0", "--task_name", "toy", "--modes", "ensemble"]
    assert program.main([str(run), *flags, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("eval: the policy answered nan for joint 2 in action 1 of chunk 0; actions must be finite")


def test_an_evaluation_asks_a_server(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sim_envs, "make", make_toy)
    flags = ["--num_rollouts", "2", "--num_workers", "1", "--videos", "0", "--task_name", "toy", "--modes", "chunk"]
    with serving(open_policy(run), weights=RunFolder(run).digest(), engine="torch") as address:
        assert program.main([str(run), *flags, "--engine", address]) == 0
        (run / "policy.safetensors").write_bytes(b"others")
        assert program.main([str(run), *flags, "--engine", address]) == 2
    assert "serves other weights" in capsys.readouterr().err
    settings = json.loads((run / "eval" / "test_chunk_remote" / "results.json").read_text())["settings"]
    assert settings["engine"] == "remote" and settings["server"]["engine"] == "torch"
    assert program.main([str(run), "--engine", "magic"]) == 2
    assert "unknown engine 'magic'; available: torch, onnx, int8, ws://HOST:PORT" in capsys.readouterr().err


def test_help_does_not_show_the_token(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("ACT_TOKEN", TOKEN)
    with pytest.raises(SystemExit):
        server.main(["--help"])
    shown = capsys.readouterr().out
    assert "(default: ACT_TOKEN)" in " ".join(shown.replace("│", " ").split()) and TOKEN not in shown
