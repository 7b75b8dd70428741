"""A client takes only answers that fit the policy the server describes, and says in one sentence what is wrong."""

from typing import Any

import numpy as np
import pytest

from act.serving.client import RemotePolicy, read_spec
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
        ({**SPEC, "action_dim": "14"}, "'action_dim' of its spec is '14'"),
        ({**SPEC, "cameras": "top"}, "'cameras' of its spec is 'top'"),
        ({**SPEC, "image_size": [8]}, "'image_size' of its spec is [8]"),
        ({**SPEC, "recorded_size": [0, 8]}, "'recorded_size' of its spec is [0, 8]"),
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
        with pytest.raises(ConnectionError, match=r"sent no chunks of shape \(1, 3, 5\) and type float32"):
            remote.predict_chunk(query(1.0))
