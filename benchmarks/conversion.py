"""Measures `python -m act convert` beside LeRobot's own writer: the same episodes, one after the other, in turns.

    python -m benchmarks.conversion DATA --lerobot .venv-lerobot/bin/python --episodes 2 --rounds 3

Both read the same HDF5 files, decode the same JPEGs and write a data set of version v3.0 with videos. LeRobot's writer
runs with its defaults (AV1, PNG files in between) and as it streams to the encoder, and both again with our encoder's
settings. Time of the clock and of the
processor are kept, because the second one also holds when other programs compute on the machine.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, get_args

from tyro.conf import Positional, arg

from act.command_line import parse, run
from act.data.episodes import find_episodes
from act.files import write_json
from act.provenance import provenance

Peer = Literal["lerobot", "lerobot_streaming", "lerobot_equal", "lerobot_equal_streaming"]
PEERS: tuple[Peer, ...] = get_args(Peer)
ROOT = Path(__file__).parents[1]
# Both programs time themselves after their imports, which take LeRobot several seconds.
TIMER = """
import json, resource, sys, time
def used():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
def report(wall, cpu):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall_s": time.perf_counter() - wall, "cpu_s": used() - cpu, "memory_mb": memory}))
"""
OURS = """
from act.interop.convert import main
wall, cpu = time.perf_counter(), used()
code = main(sys.argv[1:])
report(wall, cpu)
sys.exit(code)
"""
PEER = """
import h5py, cv2, numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.configs.video import RGBEncoderConfig
wall, cpu = time.perf_counter(), used()
out, mode, paths = sys.argv[1], sys.argv[2], sys.argv[3:]
equal = RGBEncoderConfig(vcodec="h264", preset="ultrafast", crf=18, g=2, extra_options={"bf": "0"})
encoder, streaming = {"rgb_encoder": equal} if "equal" in mode else {}, "streaming" in mode
cameras = list(h5py.File(paths[0])["observations/images"])
shape = cv2.imdecode(h5py.File(paths[0])["observations/images"][cameras[0]][0], 1).shape
vector = {"dtype": "float32", "shape": (14,), "names": None}
image = {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"]}
names = {"observation.state": "observations/qpos", "observation.velocity": "observations/qvel", "action": "action"}
features = dict.fromkeys(names, vector) | {f"observation.images.{camera}": image for camera in cameras}
threads = {} if streaming else {"image_writer_threads": 4 * len(cameras)}
data = LeRobotDataset.create("local/x", 50, features, root=out, streaming_encoding=streaming, **threads, **encoder)
for path in paths:
    with h5py.File(path) as file:
        columns = {name: file[where][:] for name, where in names.items()}
        images = {camera: file["observations/images"][camera][:] for camera in cameras}
    for t in range(len(columns["action"])):
        row = {name: values[t] for name, values in columns.items()}
        row |= {f"observation.images.{camera}": cv2.imdecode(images[camera][t], 1) for camera in cameras}
        data.add_frame({**row, "task": "transfer"})
    data.save_episode()
data.finalize()
report(wall, cpu)
"""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    data: Annotated[Path, Positional, arg(metavar="DATA")]
    """Folder of episodes."""
    lerobot: Annotated[Path, arg(metavar="PYTHON")]
    """Python interpreter with LeRobot."""
    episodes: int = 2
    """Number of episodes in a round."""
    rounds: int = 3
    """Rounds, in each of which every writer has one turn."""
    peers: tuple[Peer, ...] = PEERS
    """Writers beside ours."""
    out: Path = ROOT / "benchmarks" / "results" / "conversion.json"
    """JSON file of the results."""


def commands(options: Options, source: Path, paths: Sequence[Path], target: Path) -> dict[str, list[str]]:
    """Returns the program of each writer."""
    peer = [str(options.lerobot), "-c", TIMER + PEER, str(target)]
    files = list(map(str, paths))
    return {
        "ours": [sys.executable, "-c", TIMER + OURS, str(source), str(target)],
        **{name: [*peer, name, *files] for name in options.peers},
    }


def measure(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Runs a program; returns its time [s] by the clock and of the processor, and its largest memory [MB].

    Raises ValueError when the program fails.
    """
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{command[0]} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(options: Options) -> None:
    """Runs the rounds, prints the medians and writes the file."""
    paths = find_episodes(options.data)[: options.episodes]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "episodes", Path(folder) / "out"
        source.mkdir()
        for path in paths:
            (source / path.name).symlink_to(path.resolve())
        for _ in range(options.rounds):
            for name, command in commands(options, source, paths, target).items():
                own = {} if name == "ours" else {"PYTHONPATH": ""}
                found.setdefault(name, []).append(measure(command, {**environment, **own}))
                shutil.rmtree(target)
                print(name, json.dumps(found[name][-1]), flush=True)
    ratios = {
        name: {
            key: median(b[key] / a[key] for a, b in zip(found["ours"], rounds, strict=True))
            for key in ("wall_s", "cpu_s")
        }
        for name, rounds in found.items()
    }
    write_json(
        options.out, {"episodes": len(paths), "rounds": found, "times_as_fast": ratios, "provenance": provenance()}
    )
    print(json.dumps(ratios, indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = parse(
        Options,
        arguments,
        program="python -m benchmarks.conversion",
        description="Measures the export to LeRobot's format beside LeRobot's own writer.",
        example="python -m benchmarks.conversion data/demo --lerobot .venv-lerobot/bin/python",
        page="docs/lerobot.md",
    )
    return run("conversion", lambda: compare(options))


if __name__ == "__main__":
    sys.exit(main())
