"""Writes a run as a LeRobot checkpoint: `python -m act export_checkpoint RUN TARGET`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from act.command_line import parse, run
from act.interop.checkpoints.writing import write_lerobot
from act.policies.base.storage import load_policy


@dataclass(frozen=True)
class Options:
    """The options of the program."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """Run folder of train.py with an ACT of preset paper."""
    target: Annotated[Path, Positional, arg(metavar="TARGET")]
    """New folder, which LeRobot loads with --policy.path=TARGET."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when the folder is there, 2 for wrong input."""
    options = parse(
        Options,
        arguments,
        program="python -m act export_checkpoint",
        description="Writes a trained ACT of preset paper as a LeRobot checkpoint.",
        example="python -m act export_checkpoint runs/paper lerobot/transfer_cube_act",
        page="docs/lerobot.md",
    )

    def work() -> None:
        write_lerobot(load_policy(options.run), options.target)
        print(f"wrote {options.target}; LeRobot loads it with --policy.path={options.target}")

    return run("export_checkpoint", work)
