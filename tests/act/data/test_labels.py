"""Which frames of a DAgger episode are training data, and with which weight."""

from pathlib import Path

import numpy as np
import pytest

from act import policies
from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import Episode
from act.data.labels import Kind, count_labels, frame_kinds, frame_weights, last_of_chunk

K = 4


def episode(intervention: str, labelled: bool = False, chunks: list[int] | None = None) -> Episode:
    """An episode with a driver per letter: p policy, e expert, - pause. `labelled`: the expert labels every step."""
    length = len(intervention)
    executed = np.tile(np.arange(length, dtype=np.float32)[:, None], (1, 14))
    for t, who in enumerate(intervention):
        executed[t] = executed[t - 1] if who == "-" else executed[t]
    expert = np.array([who == "e" for who in intervention])
    action = np.where(expert[:, None] | (not labelled), executed, executed + 100)
    at = None if chunks is None else np.array(chunks, np.int32)
    chunk = None if chunks is None else np.zeros((len(chunks), K, 14), np.float32)
    zeros = np.zeros((length, 14), np.float32)
    return Episode(Path(), zeros, zeros, action, None, None, (), True, {}, executed, expert, chunk, at)


def test_demonstrations_are_one_plan_each():
    zeros = np.zeros((5, 14), np.float32)
    demonstration = Episode(Path(), zeros, zeros, zeros, None, None, (), True, {})
    assert (frame_kinds(demonstration) == Kind.DEMONSTRATED).all()
    assert last_of_chunk(demonstration).tolist() == [4] * 5 and count_labels(demonstration) == 5


def test_a_single_label_where_the_policy_drove_is_no_plan_for_the_next_step():
    made = episode("eeppe", labelled=True)
    assert (frame_kinds(made) == Kind.LABELLED).tolist() == [True, True, False, False, True]
    assert last_of_chunk(made).tolist() == [1, 1, 2, 3, 4]


@pytest.mark.parametrize("chunks", [None, [2, 4]])
@pytest.mark.parametrize("labelled", [True, False])
def test_only_counted_labels_are_used(labelled: bool, chunks: list[int] | None):
    made = episode("eppppe", labelled, chunks)
    starts = (frame_kinds(made) == Kind.LABELLED).sum()
    assert count_labels(made) == (starts if chunks is None else 2 + len(chunks) * K) and starts == 2 + 2 * bool(chunks)


def test_single_labels_are_not_used_where_whole_chunks_were_given():
    kinds = frame_kinds(episode("eppppp", labelled=True, chunks=[2, 4]))
    unlabelled, labelled = Kind.UNLABELLED, Kind.LABELLED
    assert kinds.tolist() == [labelled, unlabelled, labelled, unlabelled, labelled, unlabelled]


@pytest.mark.parametrize("whole_chunks", [False, True])
@pytest.mark.parametrize("aggregation", ["equal_mass", "sirius"])
def test_labels_have_half_of_the_weight_even_where_only_whole_chunks_are_used(whole_chunks: bool, aggregation):
    corrected = episode("p" * 20 + "e" * 8 + "p" * 12)
    zeros = np.zeros((40, 14), np.float32)
    demonstration = Episode(Path(), zeros, zeros, zeros, None, None, (), True, {})
    dataset = EpisodeDataset([demonstration, corrected], Sampling(K, use_env_state=False, whole_chunks=whole_chunks))
    dataset.aggregate(aggregation)
    assert dataset.weights is not None
    labels = dataset.weights[40:][20:28]
    assert (labels > 0).sum() == (8 - (K - 1) if whole_chunks else 8)
    assert labels.sum() == pytest.approx(0.5 * dataset.weights.sum())


def test_a_correction_begins_and_ends_where_the_driver_changes():
    made = episode("p" * 20 + "--" + "eeee" + "pp")
    kinds = frame_kinds(made)
    assert kinds[:5].tolist() == [Kind.ROBOT] * 5 and (kinds[5:20] == Kind.PRE_INTERVENTION).all()
    assert (kinds[20:22] == Kind.UNLABELLED).all()  # nobody drove
    assert (kinds[22:26] == Kind.LABELLED).all() and (kinds[26:] == Kind.ROBOT).all()
    assert last_of_chunk(made)[[0, 20, 22, 25, 26]].tolist() == [19, 21, 25, 25, 27]


KINDS = np.repeat(list(Kind), (60, 10, 20, 6, 4))


def masses(weights: np.ndarray) -> list[float]:
    return [round(float(weights[kind == KINDS].sum() / weights.sum()), 6) for kind in Kind]


def test_aggregation_gives_every_kind_its_share():
    assert masses(frame_weights(KINDS, "uniform")) == pytest.approx([60 / 70, 10 / 70, 0, 0, 0], abs=1e-5)
    assert masses(frame_weights(KINDS, "equal_mass")) == pytest.approx([30 / 86, 0.5, 10 / 86, 3 / 86, 0], abs=1e-5)
    assert masses(frame_weights(KINDS, "sirius")) == pytest.approx([0.5, 0.5, 0, 0, 0], abs=1e-5)
    few = np.where(np.arange(100) < 40, Kind.ROBOT, KINDS)  # 20 of 96 that count are demonstrated
    weights = frame_weights(few, "sirius")
    shares = [weights[few == kind].sum() for kind in (Kind.DEMONSTRATED, Kind.LABELLED, Kind.ROBOT)]
    assert shares == pytest.approx([20 / 96, 0.5, 0.5 - 20 / 96])


def test_labels_between_observed_frames_are_not_used():
    made = episode("pppp", labelled=True, chunks=[1, 3])
    assert EpisodeDataset([made], Sampling(4)).trainable.tolist() == [1, 3]
    assert EpisodeDataset([made], Sampling(4, frame_stride=2)).trainable.tolist() == []


def test_a_policy_that_needs_whole_chunks_never_gets_one_that_a_change_of_driver_cuts_short():
    made = episode("pp" + "e" * 6 + "pp" + "e" * 3)
    parts, whole = (EpisodeDataset([made], Sampling(K, whole_chunks=which)) for which in (False, True))
    assert parts.trainable.tolist() == [*range(2, 8), *range(10, 13)]
    assert whole.trainable.tolist() == [*range(2, 5), *range(10, 13)]  # the last ones end with the episode
    drawn = whole.draw(0, 0, 200).is_pad
    assert drawn is not None and set(drawn.sum(1).tolist()) == {0, 1, 2, 3}
    given = EpisodeDataset([episode("pppppp", labelled=True, chunks=[1, 3])], Sampling(K, whole_chunks=True))
    assert given.trainable.tolist() == [1, 3]  # whole, although single labels end at every step
    longer = EpisodeDataset(given.episodes, Sampling(K + 1, whole_chunks=True))
    assert longer.trainable.tolist() == []


@pytest.mark.parametrize(
    ("name", "whole"), [("act", False), ("bet", False), ("gmm", False), ("vinn", True), ("diffusion", True)]
)
def test_policies_whose_loss_cannot_ignore_a_part_of_a_chunk_need_whole_chunks(name: str, whole: bool):
    assert policies.load(name).Config.preset("state").needs_whole_chunks == whole
