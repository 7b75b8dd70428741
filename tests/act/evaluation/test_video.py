"""Videos: whole files a browser plays, of the chosen episodes only, without asking for more images than needed."""

from pathlib import Path

import av
import numpy as np
import pytest

from act.evaluation.video import VideoWriter, tile
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from tests.fakes.toy_env import ToyEnv
from tests.fakes.toy_world import GoalAgent


def record(writer: VideoWriter, seeds: list[int], num_envs: int = 2) -> None:
    envs = SerialEnvs([ToyEnv(("top", "angle", "cam_low"), (24, 32)) for _ in range(num_envs)])
    list(rollout(envs, GoalAgent(0), [writer], seeds=seeds))


SPEC = ToyEnv(("top", "angle", "cam_low"), (24, 32)).env_spec


def test_the_first_episodes_become_h264_at_50_frames_per_second(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path, SPEC, episodes=1)
    record(writer, [3, 4, 5])
    assert list(writer.paths) == [3] and [p.name for p in tmp_path.iterdir()] == ["toy_seed_3.mp4"]
    with av.open(str(writer.paths[3])) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.average_rate == 50 and stream.codec_context.pix_fmt == "yuv420p"
    assert len(frames) == 21  # the start and what came of 20 actions
    assert frames[0].shape[0] % 2 == 0 and frames[0].shape[1] >= 320
    assert frames[-1][-30:].max() > 150  # the text


def test_chosen_episodes_are_filmed_at_a_lower_rate_if_wished(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path, SPEC, episodes={0, 2}, every=5, cameras=("top",))
    record(writer, [3, 4, 5])
    assert sorted(writer.paths) == [3, 5]
    with av.open(str(writer.paths[5])) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 10 and sum(1 for _ in container.decode(stream)) == 5


def test_images_are_asked_for_only_while_filming(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path, SPEC, episodes=1, every=2)
    assert writer.needs_images()
    env = ToyEnv(("top",))
    obs, info = env.reset(seed=0)
    writer.on_reset(0, 0, obs, info)
    assert not writer.needs_images()
    writer.on_step(0, 0, obs, np.zeros(14), obs, 0.0, info)
    assert writer.needs_images()
    writer.close()
    assert not writer.needs_images() and list(tmp_path.iterdir()) == []


def test_an_observation_without_images_says_what_would_have_worked(tmp_path: Path) -> None:
    envs = SerialEnvs([ToyEnv()])
    with pytest.raises(ValueError, match="cameras="):
        list(rollout(envs, GoalAgent(0), [VideoWriter(tmp_path, SPEC)], seeds=[0]))
    with pytest.raises(ValueError, match="every=0"):
        VideoWriter(tmp_path, SPEC, every=0)


def test_images_of_any_size_share_one_grid() -> None:
    grid = tile([np.full((4, 6, 3), 10 * i, np.uint8) for i in range(1, 4)] + [np.full((2, 2, 3), 99, np.uint8)])
    assert grid.shape == (8, 12, 3)
    assert grid[0, 0, 0] == 10 and grid[0, 6, 0] == 20 and grid[4, 0, 0] == 30 and grid[4, 6, 0] == 99
