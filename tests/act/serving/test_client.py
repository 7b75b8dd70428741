"""A client takes only answers that fit the policy the server describes, and says in one sentence what is wrong."""

import threading
from typing import Any

import numpy as np
import pytest

from act.runtime.agents import PolicyAgent
from act.serving import client
from act.serving.client import RemotePolicy, goes_unencrypted
from act.serving.description import read_spec
from act.serving.server import PolicyServer
from act.serving.wire import decode, encode
from act.types import PolicySpec
from tests.act.serving.test_server import Toy, query, serving

SPEC = PolicySpec(("top",), (8, 8), recorded_size=(16, 16)).to_json()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (None, "its spec is missing"),
        ({**SPEC, "depth": True}, "key 'depth' of its spec is unknown"),
        ({name: SPEC[name] for name in SPEC if name != "action_dim"}, "key 'action_dim' of its spec is missing"),
        ({**SPEC, "action_dim": "14"}, "its spec has a vector of '14' numbers: expected 0 to 100000"),
        ({**SPEC, "cameras": "top"}, "its spec has cameras 'top': expected a list of names"),
        ({**SPEC, "image_size": [8]}, "its spec has images of (8,) pixels: expected height and width, 1 to 8192"),
        (
            {**SPEC, "recorded_size": [0]},
            "its spec has images of (0,) pixels: expected height and width, 1 to 8192",
        ),
    ],
)
def test_a_spec_that_this_version_cannot_use_ends_in_one_sentence(monkeypatch, spec: Any, message: str):
    monkeypatch.setattr(PolicySpec, "to_json", lambda self: spec)
    with serving(Toy()) as address, pytest.raises(ConnectionError) as refused:
        RemotePolicy(address)
    assert str(refused.value) == f"{address} describes a policy that this version cannot use: {message}"


def test_a_chunk_size_that_is_not_a_number_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Toy, "chunk_size", "long")
    with serving(Toy()) as address, pytest.raises(ConnectionError, match="cannot use: 'chunk_size' is 'long'"):
        RemotePolicy(address)


def test_a_spec_arrives_as_it_was_sent():
    for spec in (PolicySpec(("top", "low"), (8, 9), 7, 5, 21, (16, 18)), PolicySpec()):
        assert read_spec(decode(encode(spec.to_json()))) == spec


def test_chunks_have_the_width_of_the_spec_or_are_refused():
    class Wide(Toy):
        spec = PolicySpec((), (8, 8), action_dim=5)

        def predict_chunk(self, histories: Any) -> np.ndarray:
            return np.zeros((len(histories), 3, 14 if histories[0][0]["qpos"][0] > 0 else 5), np.float32)

    with serving(Wide()) as address, RemotePolicy(address) as remote:
        assert remote.predict_chunk(query(0.0)).shape == (1, 3, 5)
        with pytest.raises(ValueError, match=r"answered chunks of shape \(1, 3, 14\), expected \(1, 3, 5\)"):
            remote.predict_chunk(query(1.0))


def test_a_policy_of_seven_joints_is_served_and_executed():
    class OneArm(Toy):
        spec = PolicySpec((), (8, 8), 7, 7)

        def predict_chunk(self, histories: Any) -> np.ndarray:
            qpos = np.array([history[-1]["qpos"] for history in histories])
            return np.tile(qpos[:, None], (1, 3, 1)).astype(np.float32)

    obs = [{"qpos": np.arange(7, dtype=np.float32)}] * 2
    with serving(OneArm()) as address, RemotePolicy(address) as remote:
        agent = PolicyAgent(remote, ensemble_m=0.01)
        agent.reset(2)
        np.testing.assert_array_equal(agent.select_action(obs), np.tile(np.arange(7, dtype=np.float32), (2, 1)))
        with pytest.raises(ValueError, match=r"'qpos' is \(14,\) float32, expected \(7,\) float32"):
            remote.predict_chunk(query(0.0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_served_policy_that_answers_nonsense_is_an_error_and_no_action(value: float):
    class Nonsense(Toy):
        def predict_chunk(self, histories: Any) -> np.ndarray:
            return np.full((len(histories), 3, 14), value if histories[0][0]["qpos"][0] > 0 else 1, np.float64)

    with serving(Nonsense()) as address, RemotePolicy(address) as remote:
        with pytest.raises(ValueError, match=f"refuses the query: the policy answered {value} for joint 0 in action 0"):
            remote.predict_chunk(query(1.0))
        assert remote.predict_chunk(query(0.0)).dtype == np.float32  # the connection stays, and float64 becomes float32


@pytest.mark.parametrize(
    ("address", "unencrypted"),
    [
        ("ws://gpu-box:8765", True),
        ("ws://10.0.0.7:8765", True),
        ("ws://[2001:db8::1]:8765", True),
        ("wss://gpu-box:8765", False),
        ("ws://127.0.0.1:8765", False),
        ("ws://127.8.0.1:8765", False),
        ("ws://localhost:8765", False),
        ("ws://[::1]:8765", False),
        ("ws://[", False),
    ],
)
def test_only_plain_connections_to_other_machines_go_unencrypted(address: str, unencrypted: bool):
    assert goes_unencrypted(address) == unencrypted


def test_the_client_warns_before_it_sends_a_token_in_plain_text(monkeypatch, caplog: pytest.LogCaptureFixture):
    def refuse(*_: Any, **__: Any) -> None:
        assert warned(), "the token was sent before the warning"
        raise OSError("no such host")

    def warned() -> list[str]:
        return [record.getMessage() for record in caplog.records if "unencrypted" in record.getMessage()]

    monkeypatch.setattr(client, "connect", refuse)
    with pytest.raises(ConnectionError, match="no such host"):
        RemotePolicy("ws://gpu-box:8765", "abcdef0123456789")
    assert warned() == [
        "the token goes to ws://gpu-box:8765 unencrypted; use ssh -L, or wss:// and a proxy that ends TLS"
    ]
    caplog.clear()
    with pytest.raises(AssertionError, match="before the warning"):  # without a token nothing is said
        RemotePolicy("ws://gpu-box:8765", "")


@pytest.mark.parametrize("timeout", [0, -1.0, np.nan, np.inf])
def test_an_impossible_timeout_is_refused(timeout: float):
    with pytest.raises(ValueError, match=r"must be positive, e\.g\. 10"):
        RemotePolicy("ws://127.0.0.1:1", timeout=timeout)


def test_a_policy_that_was_closed_connects_no_more():
    """A query in another thread would otherwise come back to a server that is just ending, and keep it from that."""
    with serving(Toy()) as address:
        with RemotePolicy(address) as remote:
            pass
        with pytest.raises(ConnectionError, match=f"^the connection to {address} was closed here$"):
            remote.predict_chunk(query())


def test_a_client_that_comes_while_the_server_ends_does_not_keep_it():
    ending = PolicyServer(Toy(), {})
    with ending.listen() as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        ending._stopping.set()
        with pytest.raises(ConnectionError, match=r"closed the connection: .*going away"):
            RemotePolicy(f"ws://127.0.0.1:{listening.socket.getsockname()[1]}")
    thread.join(10)
    assert not thread.is_alive()
