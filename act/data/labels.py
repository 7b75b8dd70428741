"""Which frames of DAgger episodes are training data, and with which weight.

In these episodes (act/runtime/dagger.py records them) the expert and the policy drive alternately, and not every frame
has an action of the expert.
"""

import enum
from typing import Literal

import numpy as np

from act.data.episodes import Episode

Aggregation = Literal["uniform", "equal_mass", "sirius"]
PRE_INTERVENTION = 15  # control steps that count as the cause of an intervention (Sirius)


def count_labels(episode: Episode) -> int:
    """How many actions the expert gave: all of a demonstration; in DAgger, the steps they drove and their chunks."""
    if episode.intervention is None:
        return len(episode)
    chunks = 0 if episode.action_chunk is None else episode.action_chunk.shape[0] * episode.action_chunk.shape[1]
    return int(episode.intervention.sum()) + chunks


class Kind(enum.IntEnum):
    """Whose action a frame has."""

    DEMONSTRATED = 0
    LABELLED = 1  # the expert's: they drove, or gave the chunk that begins here
    ROBOT = 2  # the policy's own
    PRE_INTERVENTION = 3  # the policy's own, shortly before an intervention
    UNLABELLED = 4  # none to learn from: a pause, or a single action of the expert at a step that the policy drove


def frame_kinds(episode: Episode) -> np.ndarray:
    """(T,) Kind of every control step. The LABELLED steps are those that `count_labels` counts."""
    if episode.intervention is None or episode.executed_action is None:
        return np.full(len(episode), Kind.DEMONSTRATED)
    followed = np.all(episode.action == episode.executed_action, axis=1)
    kinds = np.where(episode.intervention, Kind.LABELLED, np.where(followed, Kind.ROBOT, Kind.UNLABELLED))
    paused = _paused(episode.executed_action, episode.intervention)
    for start in np.flatnonzero(np.diff(episode.intervention.astype(int)) == 1) + 1:
        while start > 0 and paused[start - 1]:  # an intervention begins with a pause
            start -= 1
        before = slice(max(0, start - PRE_INTERVENTION), start)
        kinds[before] = np.where(kinds[before] == Kind.ROBOT, Kind.PRE_INTERVENTION, kinds[before])
    kinds[paused] = Kind.UNLABELLED
    if episode.action_chunk_t is not None:
        kinds[~episode.intervention] = Kind.UNLABELLED
        kinds[episode.action_chunk_t] = Kind.LABELLED
    return kinds


def _paused(executed: np.ndarray, intervention: np.ndarray) -> np.ndarray:
    """(T,) bool: True where nobody drove and the targets did not move."""
    held = np.all(executed[1:] == executed[:-1], axis=1) & ~intervention[1:]
    return np.concatenate([[False], held])


def last_of_chunk(episode: Episode) -> np.ndarray:
    """(T,) last control step up to which the recorded actions, from each step on, are one plan of one driver.

    A plan ends where the driver changes, where a pause begins or ends, and where the recorded action was not executed.
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
    """Sampling weights (frames,) of the frames, up to a factor.

    uniform     the same weight for demonstrations and labels, none for the policy's own steps (DAgger, HG-DAgger)
    equal_mass  one half for labels, one half for all else, the policy's own steps included (IWR: Mandlekar et al. 2020,
                arXiv 2012.06733)
    sirius      one half for labels, for demonstrations their share, the rest for the policy's own steps, none for
                the steps before an intervention (Liu et al. 2022, arXiv 2211.08416)
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
