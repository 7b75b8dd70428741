"""Renders a strip of pictures for every task, its start and its stages: `python -m sim_envs.pictures --out docs`.

The scripted expert drives. The pictures are those of docs/tasks.md; run this again when a task changes its looks.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

import sim_envs

SIZE = (240, 320)  # (H, W) [pixels] of one picture
CAMERA = "cam_high"
QUALITY = 88  # of the JPEG files
LATER = 6  # [control steps] between reaching a stage and its picture, when the hands have closed


def strip(task: str, seed: int = 0) -> np.ndarray:
    """Returns the pictures (H, W x (1 + stages), 3) uint8 RGB of the start and of every stage that is first reached.

    Raises RuntimeError when the expert does not succeed with this seed.
    """
    env, agent = sim_envs.make(task, cameras=(), image_size=SIZE, quality="pretty"), sim_envs.make_expert(task)
    agent.reset(1)
    obs, info = env.reset(seed=seed)
    pictures, due, best = [env.render_camera(CAMERA)], {}, 0
    for t in range(env.env_spec.episode_len):
        obs, reward, _, _, info = env.step(agent.select_action([obs])[0])
        best, before = max(best, int(reward)), best
        due |= dict.fromkeys(range(before, best), t + LATER)  # a stage may be passed within one control step
        if ready := [stage for stage, when in due.items() if when <= t]:
            pictures += [env.render_camera(CAMERA)] * len(ready)
            due = {stage: when for stage, when in due.items() if when > t}
    env.close()
    if not info["strict_success"]:
        raise RuntimeError(f"the expert for {task!r} did not succeed with seed {seed}; try another --seed")
    return np.hstack(pictures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when the pictures are written, 2 for wrong input."""
    parser = argparse.ArgumentParser(prog="python -m sim_envs.pictures", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tasks", nargs="*", default=sim_envs.available(), help="names; all tasks if none is given")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the files task_NAME.jpg")
    parser.add_argument("--seed", type=int, default=0, help="of the episode")
    options = parser.parse_args(arguments)
    try:
        for task in options.tasks:
            path = options.out / f"task_{task}.jpg"
            image = cv2.cvtColor(strip(task, options.seed), cv2.COLOR_RGB2BGR)
            if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
                raise ValueError(f"{path} cannot be written; does the folder exist?")
            print(path)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
