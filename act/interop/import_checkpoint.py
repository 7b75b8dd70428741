"""Imports a trained ACT of LeRobot or of the original: `python -m act import_checkpoint SOURCE RUN`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from act.command_line import parse, refuse_without_effect, run
from act.files import lock_folder
from act.run_folder import file_digest

OF_ORIGINAL = ("cameras", "image_size", "n_heads")


@dataclass(frozen=True)
class Options:
    """The options of the program."""

    source: Annotated[Path, Positional, arg(metavar="SOURCE")]
    """LeRobot's folder pretrained_model, or the original's policy_best.ckpt with dataset_stats.pkl beside it."""
    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """New run folder, for eval.py, `python -m act serve` and `python -m act export`."""
    task_name: str
    """What the policy was trained on, e.g. sim_transfer_cube_human; eval.py makes the environment by it."""
    cameras: tuple[str, ...] = ("top",)
    """Original only: the cameras, in the order of its training."""
    image_size: tuple[int, int] = (480, 640)
    """Original only: height and width [pixels] of its images."""
    n_heads: int = 8
    """Original only: --nheads of its training."""


def import_checkpoint(options: Options) -> None:
    """Writes the run folder. Raises ValueError for a checkpoint that cannot be read or carried over."""
    source = options.source
    if (options.run / "policy.json").exists():
        raise ValueError(f"{options.run} holds a policy already; choose another folder")
    from act.interop.checkpoints.reading import read_lerobot, read_original  # torch takes seconds to import
    from act.policies.base.storage import save_policy

    if source.is_dir():
        default = Options(source, options.run, options.task_name)
        refuse_without_effect(options, default, dict.fromkeys(OF_ORIGINAL, "when SOURCE is the original's checkpoint"))
        policy, weights = read_lerobot(source), source / "model.safetensors"
    elif source.is_file():
        policy = read_original(source, options.cameras, options.image_size, options.n_heads)
        weights = source
    else:
        raise ValueError(f"{source} does not exist; give LeRobot's folder pretrained_model, or a policy_best.ckpt")
    about = {"step": 0, "seed": 0, "git": None, "train": {"task_name": options.task_name}}
    about |= {"imported": {"from": str(source), "sha256": file_digest(weights)}}
    with lock_folder(options.run, "written", "folder"):
        save_policy(options.run, policy, about)
    names = ", ".join(policy.spec.cameras) or "object poses"
    print(f"wrote {options.run}: ACT, chunk {policy.chunk_size}, looks at {names}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when the run is there, 2 for wrong input."""
    options = parse(
        Options,
        arguments,
        program="python -m act import_checkpoint",
        description="Imports a trained ACT of LeRobot, or of the original, as a run of this project.",
        example="python -m act import_checkpoint pretrained_model runs/imported --task_name sim_insertion_human",
        page="docs/lerobot.md",
    )
    return run("import_checkpoint", lambda: import_checkpoint(options))
