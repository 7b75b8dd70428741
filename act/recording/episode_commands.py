"""All commands of `python -m act episodes`: those on files alone, and `mirror`, which replays in the simulator."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from act.data import repair
from act.data.editing.commands import Delete, Merge, Renumber, Split, Trim
from act.data.repair import Info, Repair, Seal, Validate
from act.recording.mirroring import Mirror


@dataclass(frozen=True)
class Options:
    command: tyro.conf.OmitSubcommandPrefixes[
        Validate | Repair | Info | Seal | Delete | Merge | Split | Trim | Renumber | Mirror
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command; 2 for wrong input."""
    return repair.main(arguments, Options)
