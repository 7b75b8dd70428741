"""The policy of a run, by whatever executes it: torch, ONNX Runtime or a server; open_policy("runs/demo", "int8")."""

from pathlib import Path
from typing import Any

from act.run_folder import fingerprint, read_about
from act.serving.onnx_policy import FILES, OnnxPolicy


def is_address(engine: str) -> bool:
    """Whether an engine is somewhere else: ws://HOST:PORT, where `python -m act serve` answers."""
    return "://" in engine


def open_run(run: Path, engine: str = "torch", device: str | None = None) -> tuple[Any, dict[str, Any], str]:
    """The policy, the policy.json and the fingerprint of the weights of a run that may be training: of one moment.

    Errors as those of `open_policy`.
    """
    while True:
        before = read_about(run), fingerprint(run / "policy.safetensors")
        policy = open_policy(run, engine, device)
        if before == (read_about(run), fingerprint(run / "policy.safetensors")):
            return policy, *before


def open_policy(run: Path | str, engine: str = "torch", device: str | None = None, threads: int | None = None) -> Any:
    """The policy of a run, executed by `engine`: "torch" (on `device`; a GPU if there is one), "onnx", "int8", ws://...

    `threads` None leaves their number to the engine. Raises ValueError when there is no such policy, or when what was
    exported or is served has other weights than the run, or no such device; ConnectionError when nobody answers.
    """
    if engine not in ("torch", *FILES) and not is_address(engine):
        raise ValueError(f"engine {engine!r} is unknown; there is torch, {', '.join(FILES)} and ws://HOST:PORT")
    if is_address(engine):
        from act.serving.client import RemotePolicy

        remote = RemotePolicy(engine)
        if remote.about["weights"] != fingerprint(Path(run) / "policy.safetensors"):
            raise ValueError(f"{engine} serves other weights than {run} holds; start python -m act serve {run}")
        return remote
    if engine in FILES:
        return OnnxPolicy.load(run, engine, threads)
    import torch  # here, because all others do without

    from act.nn.device import choose_device
    from act.policies.base.storage import load_policy

    if threads:
        torch.set_num_threads(threads)
    return load_policy(run, choose_device(device or "auto"))
