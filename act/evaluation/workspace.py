"""The table of the robot, seen from above: the only lengths of a particular robot that a report draws.

x points to the right of the operator, y away from them, the origin is the one of env_state; all in metres.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Workspace:
    """A table top and the bases of the arms that stand on it.

    size: extent of the table top along x and y [m]. centre: its centre (x, y) [m]. arm_bases: (x, y) [m] by name.
    """

    size: tuple[float, float]
    centre: tuple[float, float]
    arm_bases: Mapping[str, tuple[float, float]] = field(default_factory=dict)


# ALOHA's table, as assets/table.xml and assets/bimanual.xml have it.
ALOHA = Workspace((1.2192, 0.762), (0.0, 0.6), {"left arm": (-0.469, 0.5), "right arm": (0.469, 0.5)})
