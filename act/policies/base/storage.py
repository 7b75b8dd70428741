"""Saves and loads policies: RUN/policy.safetensors (weights, normalizer) and RUN/policy.json (config, spec, origin)."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from act import policies
from act.data.normalize import Normalizer
from act.files import whole_file, write_json
from act.policies.base.policy import Policy
from act.run_folder import RunFolder
from act.types import PolicySpec


def save_policy(run: Path, policy: Policy, about: dict[str, Any]) -> None:
    """Writes the files that evaluation and the server load. `about` (step, seed, git, ...) goes into policy.json."""
    values = {
        "policy": type(policy).__module__.rsplit(".", 1)[-1],
        "config": policy.config.to_json(),
        "spec": policy.spec.to_json(),
        "backbone_weights": getattr(policy.config, "backbone_weights", "none") if policy.spec.cameras else "none",
        **about,
    }
    state = {key: value.detach().cpu().contiguous() for key, value in policy.state_dict().items()}
    with whole_file(run / "policy.safetensors") as temporary:
        save_file(state, temporary)
    write_json(run / "policy.json", values)


def load_policy(run: Path | str, device: torch.device | str = "cpu") -> Policy:
    """The policy of a run, in eval mode. Raises ValueError naming the run when it holds no policy of this version."""
    run = Path(run)
    values = RunFolder(run).about()
    try:
        state = load_file(run / "policy.safetensors")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{run}/policy.safetensors cannot be read: {error}") from error
    try:
        module = policies.load(values["policy"])
        spec = PolicySpec.from_json(values["spec"])
        policy = module.Policy(module.Config.from_json(values["config"]), spec, Normalizer.of(spec))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{run}/policy.json describes no policy of this version ({error!r})") from error
    try:
        policy.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{run}: the weights do not fit policy {values['policy']} of this version: {error}") from error
    return policy.to(device).eval()
