"""What training takes from episodes of others: real robots, and arrays that only some files have."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import episode_path, write_episode
from act.data.loading import find, load_episodes, print_notes


def test_chunks_of_a_real_robot_begin_one_step_earlier_as_in_the_original(tmp_path: Path, capsys) -> None:
    steps = np.arange(6, dtype=np.float32)[:, None].repeat(14, 1) / 10
    for index, sim in enumerate((True, False)):
        attrs = {"sim": sim}
        write_episode(episode_path(tmp_path, index), qpos=steps, action=steps, images={}, attrs=attrs)
    episodes = load_episodes(find(tmp_path))
    print_notes(episodes)
    assert "1 of 2 episodes are of a real robot; the chunk at t begins with action[t - 1]" in capsys.readouterr().err

    def chunk(episode: int, t: int, shift_real: bool = True) -> list[float]:
        batch = EpisodeDataset(episodes, Sampling(chunk_size=3, shift_real=shift_real)).sample(episode, t)
        assert batch.action is not None and batch.is_pad is not None
        return [round(10 * float(v)) for v in batch.action[0, ~batch.is_pad[0], 0]]

    assert [chunk(0, t) for t in (0, 1, 5)] == [[0, 1, 2], [1, 2, 3], [5]]
    assert [chunk(1, t) for t in (0, 1, 5)] == [[0, 1, 2], [0, 1, 2], [4, 5]]
    assert [chunk(1, t, False) for t in (0, 1, 5)] == [[0, 1, 2], [1, 2, 3], [5]]


def test_env_state_in_some_files_only_matters_to_those_who_use_it(tmp_path: Path) -> None:
    rows = np.zeros((6, 14), np.float32)
    extras: list[dict[str, Any]] = [{"env_state": np.zeros((6, 7))}, {}, {"env_state": np.zeros((6, 14))}]
    for index, extra in enumerate(extras):
        write_episode(episode_path(tmp_path, index), qpos=rows, action=rows, images={}, **extra)
    paths = find(tmp_path)
    assert len(EpisodeDataset(load_episodes(paths), Sampling(3))) == 18
    with pytest.raises(ValueError, match=r"episode_1\.hdf5 has no env_state"):
        EpisodeDataset(load_episodes(paths[:2]), Sampling(3, use_env_state=True))
    with pytest.raises(ValueError, match=r"episode_2\.hdf5: env_state differs in width from"):
        EpisodeDataset(load_episodes(paths[::2]), Sampling(3, use_env_state=True))
