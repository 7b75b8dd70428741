"""The policy of a run, executed by any engine: torch, ONNX Runtime, or a server.

    policy = open_policy("runs/demo", engine="int8")

Every engine gives the policy the same shape, `act.runtime.agents.DescribedPolicy`.
"""

from pathlib import Path
from typing import Any

from act.run_folder import RunFolder
from act.serving.onnx_policy import FILES, OnnxPolicy


def is_address(engine: str) -> bool:
    """Whether an engine is a server: ws://HOST:PORT, where `python -m act serve` answers."""
    return "://" in engine


def engine_name(engine: str) -> str:
    """What results and their folders call an engine: "torch", "onnx", "int8", or "remote" for a server."""
    return "remote" if is_address(engine) else engine


def open_run(run: Path, engine: str = "torch", device: str | None = None) -> tuple[Any, dict[str, Any], str]:
    """The policy of a run, its policy.json, and the digest of its weights, all of one moment: the run may be training.

    Errors as those of `open_policy`.
    """
    folder = RunFolder(run)
    while True:
        before = folder.about(), folder.digest()
        policy = open_policy(run, engine, device)
        if before == (folder.about(), folder.digest()):
            return policy, *before


def open_policy(run: Path | str, engine: str = "torch", device: str | None = None, threads: int | None = None) -> Any:
    """The policy of a run, executed by `engine`: "torch", "onnx", "int8" or "ws://HOST:PORT".

    Args:
        device: of torch; None is a GPU if there is one.
        threads: of the engine; None lets the engine choose their number.

    Raises ValueError when there is no such policy or device, or when an exported or served policy has other weights
    than the run; ConnectionError when no server answers.
    """
    if engine not in ("torch", *FILES) and not is_address(engine):
        raise ValueError(f"unknown engine {engine!r}; available: torch, {', '.join(FILES)}, ws://HOST:PORT")
    if is_address(engine):
        return _open_remote(Path(run), engine)
    if engine in FILES:
        return OnnxPolicy.load(run, engine, threads)
    import torch  # here, because the other engines work without it

    from act.nn.device import choose_device
    from act.policies.base.storage import load_policy

    if threads:
        torch.set_num_threads(threads)
    return load_policy(run, choose_device(device or "auto"))


def _open_remote(run: Path, address: str) -> Any:
    from act.serving.client import RemotePolicy

    remote = RemotePolicy(address)
    if remote.about.get("weights") != RunFolder(run).digest():
        raise ValueError(f"{address} serves other weights than {run} holds; start python -m act serve {run}")
    return remote
