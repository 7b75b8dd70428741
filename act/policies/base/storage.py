"""Saves and loads policies: RUN/policy.safetensors (weights, normalizer) and RUN/policy.json (config, spec, origin).

policy.json holds the digest of the weights, so weights that were changed or damaged are not loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from act import policies
from act.data.memory import GIGABYTE, limited_memory
from act.data.normalize import Normalizer
from act.files import write_json
from act.nn.tensors import check_finite, check_form, one_line, read_tensors, write_tensors
from act.policies.base.policy import Policy
from act.run_folder import RunFolder, file_digest
from act.types import PolicySpec

MOST, MOST_LAYERS = 1_000_000, 100  # what no whole number in a policy's settings exceeds, and no number of layers


def save_policy(run: Path, policy: Policy, about: dict[str, Any]) -> None:
    """Writes the files that evaluation and the server load. `about` (step, seed, git, ...) goes into policy.json.

    Whenever this is interrupted, policy.json describes the weights that are there: until the new ones have replaced
    the old ones, it describes both. Raises OSError naming the file when the disk is full.
    """
    folder = RunFolder(run)
    values = {
        "policy": type(policy).__module__.rsplit(".", 1)[-1],
        "config": policy.config.to_json(),
        "spec": policy.spec.to_json(),
        "backbone_weights": getattr(policy.config, "backbone_weights", "none") if policy.spec.cameras else "none",
        **about,
    }
    previous = _previous(folder)

    def announce(written: Path) -> None:
        values["weights"] = file_digest(written)
        if previous:
            write_json(run / "policy.json", {**values, "before": previous})

    write_tensors(folder.weights, policy.state_dict(), before_replacing=announce)
    write_json(run / "policy.json", values)


def _previous(folder: RunFolder) -> dict[str, Any]:
    """What policy.json says of the weights that are there now; empty where there are none, or nothing is said."""
    try:
        return {**folder.about(), "weights": folder.digest()}
    except (OSError, ValueError):
        return {}


def load_policy(run: Path | str, device: torch.device | str = "cpu") -> Policy:
    """The policy of a run, in eval mode; the run may be training.

    Raises ValueError naming the run when it holds no policy of this version, or weights that are not those which
    policy.json describes, not all there, not finite, or of another type or shape.
    """
    folder = RunFolder(run)
    while True:
        about = folder.about()
        try:
            policy = _load(folder, about)
        except ValueError:
            if folder.about() == about:
                raise
            continue  # a training has replaced the files meanwhile
        return policy.to(device).eval()


def _load(folder: RunFolder, about: Mapping[str, Any]) -> Policy:
    try:
        tensors, _ = read_tensors(folder.weights)
    except FileNotFoundError:
        raise ValueError(f"{folder.weights} does not exist, although policy.json describes it") from None
    _check_digest(folder, about)
    try:
        policy = _make(about, tensors, folder.weights.stat().st_size)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError, OverflowError) as error:
        reason = one_line(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{folder.path}/policy.json describes no policy of this version ({reason})") from error
    try:
        expected = policy.state_dict()
        check_form(tensors, expected)
        check_finite(tensors, expected)
        policy.load_state_dict(tensors)
    except (ValueError, RuntimeError) as error:
        message = f"{folder.path}: the weights do not fit policy {about['policy']} of this version"
        raise ValueError(f"{message}: {one_line(error)}") from error
    return policy


def _make(about: Mapping[str, Any], tensors: Mapping[str, Tensor], size: int) -> Policy:
    """The policy that policy.json describes, with fresh weights, if it is about as large as the `size` [bytes] of them.

    Raises TypeError for numbers that no policy has, and RuntimeError or MemoryError where it would be much larger.
    """
    module = policies.load(about["policy"])
    spec, config = PolicySpec.from_json(about["spec"]), about["config"]
    for name, value in config.items():
        most = MOST_LAYERS + len(tensors) if name.endswith(("layers", "blocks")) else MOST  # each has a tensor, if used
        if isinstance(value, int) and abs(value) > most:
            raise TypeError(f"{name} {value} is larger than {most}")
    with limited_memory(GIGABYTE + 4 * size):
        return module.Policy(module.Config.from_json(config), spec, Normalizer.of(spec))


def _check_digest(folder: RunFolder, about: Mapping[str, Any]) -> None:
    expected = about.get("weights")  # runs of earlier versions have none
    if expected is not None and (found := folder.digest()) != expected:
        raise ValueError(
            f"{folder.weights} was changed or damaged: its digest is {found}, but policy.json says {expected}; "
            "copy the run again, or train it further"
        )
