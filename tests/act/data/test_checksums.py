"""Every byte of a recorded file has a checksum, which is verified before HDF5 sees the bytes."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from act.data.checksums import MARK, DamagedFile, hdf5_bytes, read_seal
from act.data.episodes import read_episode, write_episode
from act.data.repair import check_episode
from tests.act.data.test_episodes import T, content

LABELS = {"executed_action": np.zeros((T, 14)), "intervention": np.zeros(T, bool)}
LABELS |= {"action_chunk": np.zeros((1, 4, 14)), "action_chunk_t": np.arange(1)}


def read_all(path: Path) -> None:
    """What training reads."""
    episode = read_episode(path)
    for camera in episode.cameras:
        for t in range(len(episode)):
            episode.read_images(camera, t, t + 1)


@pytest.mark.parametrize("compress", [True, False])
def test_a_flipped_bit_anywhere_is_found_by_validate_and_by_training(tmp_path: Path, compress: bool) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content(), **LABELS, compress=compress)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    read_all(path)
    ends = [0, len(MARK), hdf5_bytes(path) - 1, hdf5_bytes(path), len(whole) - 1]
    for at in [*ends, *rng.integers(len(whole), size=120).tolist()]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert str(path) in (check_episode(path) or ""), at
        with pytest.raises(DamagedFile, match=r"episode_0\.hdf5"):
            read_all(path)


def test_one_bit_of_an_action_is_not_trained_on(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content())
    with h5py.File(path) as root:
        dataset = root["action"]
        assert isinstance(dataset, h5py.Dataset)
        at = dataset.id.get_offset() + 4 * (3 * 14 + 2) + 3
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40  # the highest bit of the exponent: 0.1 becomes 3e37
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match="vectors, labels or attributes differ from their checksum"):
        read_episode(path)


@pytest.mark.parametrize("compress", [True, False])
def test_every_cut_is_found_but_for_that_of_the_checksums_alone(tmp_path: Path, compress: bool) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content(), compress=compress)
    whole, n_bytes = path.read_bytes(), hdf5_bytes(path)
    for length in (0, 7, 40, 100, n_bytes - 1, n_bytes + 9, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile):
            read_episode(path)
    path.write_bytes(whole[:n_bytes])
    assert "removed its checksums" in read_episode(path).notes[0]
    np.testing.assert_array_equal(read_episode(path).action, content()["action"])


def test_a_file_that_another_program_changes_through_hdf5_is_read_without_checksums(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content())
    with h5py.File(path, "r+") as root:
        root.attrs["comment"] = "the cup was full"
    assert read_seal(path) is None
    episode = read_episode(path)
    assert episode.attrs["comment"] == "the cup was full" and "`episodes seal` adds new ones" in episode.notes[0]


def test_a_file_that_changes_while_it_is_used_is_noticed_but_a_new_date_alone_is_not(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content())
    episode, expected = read_episode(path), read_episode(path).read_images("cam_low", 2, 3)
    path.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(episode.read_images("cam_low", 2, 3), expected)
    write_episode(path, **content(length=T + 1))
    with pytest.raises(ValueError, match="was changed while it was in use"):
        episode.read_images("cam_low", 2, 3)


def test_attributes_have_a_fixed_length(tmp_path: Path) -> None:
    attrs = {"task_name": "tàsk", "empty": "", "stage_names": ["half"], "versions": {}}
    path = write_episode(tmp_path / "episode_0.hdf5", **content(), attrs=attrs)
    with h5py.File(path) as root:
        kinds = {name: root.attrs.get_id(name).dtype.kind for name in root.attrs}
    assert "O" not in kinds.values() and kinds["checksums"] == kinds["task_name"] == "S"
    read = read_episode(path).attrs
    assert {name: read[name] for name in attrs} == attrs and "checksums" not in read
    with pytest.raises(ValueError, match="attribute story has 70000 bytes; HDF5 stores at most 60000"):
        write_episode(path, **content(), attrs={"story": 70000 * "x"})
