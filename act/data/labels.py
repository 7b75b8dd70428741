"""What a teacher's episodes are to a learner: whose action each frame teaches, and how much it weighs.

Expert and policy drive in turns there, and not every state was labelled; act/runtime/dagger.py records them.
"""

import enum
from typing import Literal

import numpy as np

from act.data.episodes import Episode

Aggregation = Literal["uniform", "equal_mass", "sirius"]
PRE_INTERVENTION = 15  # control steps before a take-over that led to it (Sirius)


def count_labels(episode: Episode) -> int:
    """Expert actions an episode cost: all of a demonstration; of a round, the steps he drove and the chunks he gave."""
    if episode.intervention is None:
        return len(episode)
    chunks = 0 if episode.action_chunk is None else episode.action_chunk.shape[0] * episode.action_chunk.shape[1]
    return int(episode.intervention.sum()) + chunks


class Kind(enum.IntEnum):
    """Whose action a frame teaches."""

    DEMONSTRATED = 0
    LABELLED = 1  # by the expert: he drove, or gave a chunk from here
    ROBOT = 2  # the policy's own
    PRE_INTERVENTION = 3  # the policy's own, shortly before somebody had to take over
    UNLABELLED = 4  # nobody's: a pause; or /action, where the policy drove, is one action of the expert and no chunk


def frame_kinds(episode: Episode) -> np.ndarray:
    """(T,) Kind of every control step. What is LABELLED is what `count_labels` counts, and nothing else teaches."""
    if episode.intervention is None or episode.executed_action is None:
        return np.full(len(episode), Kind.DEMONSTRATED)
    followed = np.all(episode.action == episode.executed_action, axis=1)
    kinds = np.where(episode.intervention, Kind.LABELLED, np.where(followed, Kind.ROBOT, Kind.UNLABELLED))
    paused = _paused(episode.executed_action, episode.intervention)
    for start in np.flatnonzero(np.diff(episode.intervention.astype(int)) == 1) + 1:
        while start > 0 and paused[start - 1]:  # a take-over begins with a pause
            start -= 1
        before = slice(max(0, start - PRE_INTERVENTION), start)
        kinds[before] = np.where(kinds[before] == Kind.ROBOT, Kind.PRE_INTERVENTION, kinds[before])
    kinds[paused] = Kind.UNLABELLED
    if episode.action_chunk_t is not None:
        kinds[~episode.intervention] = Kind.UNLABELLED
        kinds[episode.action_chunk_t] = Kind.LABELLED
    return kinds


def _paused(executed: np.ndarray, intervention: np.ndarray) -> np.ndarray:
    """(T,) bool: nobody drove, the targets stayed where they were."""
    held = np.all(executed[1:] == executed[:-1], axis=1) & ~intervention[1:]
    return np.concatenate([[False], held])


def last_of_chunk(episode: Episode) -> np.ndarray:
    """(T,) last control step to which /action from each step on is one plan of one driver.

    It ends where somebody else drives on or nobody does, and where what was recorded is not what was executed.
    """
    ends = np.zeros(len(episode), bool)
    ends[-1] = True
    if episode.intervention is not None and episode.executed_action is not None:
        paused = _paused(episode.executed_action, episode.intervention)
        ends[:-1] |= (np.diff(episode.intervention.astype(int)) != 0) | (np.diff(paused.astype(int)) != 0)
        ends |= np.any(episode.action != episode.executed_action, axis=1)
    at = np.flatnonzero(ends)
    return at[np.searchsorted(at, np.arange(len(episode)))]


def frame_weights(kinds: np.ndarray, aggregation: Aggregation) -> np.ndarray:
    """How likely each frame (frames,) is drawn, up to a factor.

    uniform: demonstrations and labels alike, nothing of the policy's own (DAgger, HG-DAgger).
    equal_mass: labels and everything else half each, the policy's own steps included (IWR: Mandlekar et al. 2020,
    arXiv 2012.06733). sirius: labels half, demonstrations their share, the policy's own the rest, and nothing of what
    led to an intervention (Liu et al. 2022, arXiv 2211.08416).
    """
    weights = np.zeros(len(kinds))
    labelled, demonstrated, robot = (kinds == k for k in (Kind.LABELLED, Kind.DEMONSTRATED, Kind.ROBOT))
    used = kinds != Kind.UNLABELLED
    if aggregation == "uniform":
        weights[labelled | demonstrated] = 1.0
        return weights
    others = used & ~labelled
    if aggregation == "equal_mass":
        masses = [(labelled, 0.5), (others, 0.5)]
    else:
        share = min(0.5, demonstrated.sum() / max(1, used.sum())) if robot.any() else 0.5
        masses = [(labelled, 0.5), (demonstrated, share), (robot, 0.5 - share)]
    for chosen, mass in masses:
        weights[chosen] = mass / max(1, chosen.sum())
    return weights
