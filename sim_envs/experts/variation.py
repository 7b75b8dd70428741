"""Defines the human style of the experts: how one episode differs from the scripted one."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HumanVariation:
    """Describes how one episode is done. The defaults are the scripted style.

    The comment of each field gives the range from which the human style samples it uniformly.
    """

    # 0.75 to 1.45: factor on all speeds
    speed: float = 1.0
    # 55 to 70 degrees [rad]: how far the hands look down when they grasp
    pitch: float = np.radians(60.0)
    # 0.06 to 0.11 m: height from which the hands go down
    clearance: float = 0.08
    # left, right: -0.010 to 0.010 m: offset of the grasp from the middle of the object, along its x axis
    grasp_shift: tuple[float, float] = (0.0, 0.0)
    # x, y: -0.03 to 0.03 m, z: 0 to 0.03 m: error of the first approach, which is corrected near the object
    aim: tuple[float, float, float] = (0.0, 0.0, 0.0)
    # x, y: -0.03 to 0.03 m, z: -0.02 to 0.04 m: shift of the place where the objects meet
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    # 1 or -1: transfer: sense in which the left hand rolls; insertion: the moving object, 1 the peg, -1 the socket
    variant: int = 1
    # 0 to 2 pauses: (first control step, 10 to 220; length, 5 to 15 control steps)
    pauses: tuple[tuple[int, int], ...] = ()
    # 0.0002 to 0.001 m: amplitude of a slow sway of the hands on each axis
    tremor: float = 0.0
    # x, y, z: frequencies of the sway, 4 to 12 rad/s; then its phases, 0 to 2 pi rad
    sway: tuple[float, ...] = (6.0, 8.0, 10.0, 0.0, 2.0, 4.0)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "HumanVariation":
        """Samples the variation of one episode in the human style."""
        pauses = [(int(rng.integers(10, 221)), int(rng.integers(5, 16))) for _ in range(rng.integers(0, 3))]
        return cls(
            speed=rng.uniform(0.75, 1.45),
            pitch=np.radians(rng.uniform(55.0, 70.0)),
            clearance=rng.uniform(0.06, 0.11),
            grasp_shift=tuple(rng.uniform(-0.010, 0.010, 2)),
            aim=tuple(rng.uniform((-0.03, -0.03, 0.0), (0.03, 0.03, 0.03))),
            place=tuple(rng.uniform((-0.03, -0.03, -0.02), (0.03, 0.03, 0.04))),
            variant=int(rng.choice((-1, 1))),
            pauses=tuple(pauses),
            tremor=rng.uniform(0.0002, 0.001),
            sway=(*rng.uniform(4.0, 12.0, 3), *rng.uniform(0.0, 2 * np.pi, 3)),
        )


SCRIPTED = HumanVariation()
