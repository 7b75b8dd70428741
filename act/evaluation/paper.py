"""Published results by task: Table I of the ACT paper (Zhao et al. 2023, arXiv 2304.13705), and later reruns."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PaperTask:
    """One task of Table I: success [%] per stage, each as (scripted, human) demonstrations.

    stages: the paper's name of a stage, and the reward from which on it counts as reached.
    methods: by name, a pair per stage. others: by name, the pair of the last stage; None where nothing is published.
    """

    title: str
    stages: tuple[tuple[str, int], ...]
    methods: Mapping[str, tuple[tuple[float, float], ...]]
    others: Mapping[str, tuple[float | None, float | None]]


PAPER = {
    "transfer_cube": PaperTask(
        "Cube transfer",
        (("Touched", 1), ("Lifted", 2), ("Transfer", 4)),
        {
            "ACT": ((97, 82), (90, 60), (86, 50)),
            "BeT": ((60, 16), (51, 13), (27, 1)),
            "RT-1": ((44, 4), (33, 2), (2, 0)),
            "VINN": ((13, 17), (9, 11), (3, 0)),
            "BC-ConvMLP": ((34, 3), (17, 1), (1, 0)),
        },
        {"LeRobot ACT, best rerun known (200 rollouts)": (93, 68.5), "best published claim": (100, 87.6)},
    ),
    "insertion": PaperTask(
        "Bimanual insertion",
        (("Grasp", 2), ("Contact", 3), ("Insert", 4)),
        {
            "ACT": ((93, 76), (90, 66), (32, 20)),
            "BeT": ((21, 0), (4, 0), (3, 0)),
            "RT-1": ((2, 0), (0, 0), (1, 0)),
            "VINN": ((6, 0), (1, 0), (1, 0)),
            "BC-ConvMLP": ((5, 0), (1, 0), (1, 0)),
        },
        {"LeRobot ACT, best rerun known (200 rollouts)": (64, 11.5), "best published claim": (87, 36)},
    ),
}
