"""Opening the policy of a run by any engine: a wrong engine, and a server that does not say what it serves."""

from pathlib import Path
from typing import Any

import pytest

from act.run_folder import RunFolder
from act.serving.loading import engine_name, is_address, open_policy
from tests.act.serving.test_server import Toy, serving


def test_engines_are_names_and_addresses():
    assert is_address("ws://127.0.0.1:8765") and not is_address("onnx")
    assert engine_name("wss://gpu-box") == "remote" and engine_name("int8") == "int8"


def test_an_unknown_engine_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"unknown engine 'magic'; available: torch, onnx, int8, ws://HOST:PORT"):
        open_policy(tmp_path, "magic")


@pytest.mark.parametrize("about", [{}, {"weights": "others"}])
def test_a_server_of_other_weights_or_of_none_that_it_names_is_refused(tmp_path: Path, about: dict[str, Any]):
    RunFolder(tmp_path).weights.write_bytes(b"weights")
    with serving(Toy(), **about) as address, pytest.raises(ValueError, match=f"^{address} serves other weights than"):
        open_policy(tmp_path, address)
