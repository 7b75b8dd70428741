"""A grid without training: a method, options, short programs in place of the real ones, and rows of results."""

from benchmarks.grid.cells import Cell, Method, Options
from benchmarks.grid.statistics import Row

ACT = Method("ACT", "act", modes=("chunk", "ensemble"))
OPTIONS = Options(tasks=("transfer_cube",), styles=("scripted",), seeds=(0,), rollouts=6, steps=40, jobs=2)

# Training takes 40 x 20 ms and resumes; with seed 13 it fails.
TOYS = {
    "record_sim_episodes.py": """
import h5py, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--dataset_dir") + 1])
folder.mkdir(parents=True, exist_ok=True)
for i in range(50):
    with h5py.File(folder / f"episode_{i}.hdf5", "w") as file:
        for name in ("observations/qpos", "observations/qvel", "action"):
            file[name] = [[float(i)] * 14]
""",
    "train.py": """
import hashlib, json, pathlib, sys, time
value = lambda flag: sys.argv[sys.argv.index(flag) + 1]
if value("--seed") == "13":
    sys.exit("train: seed 13 brings no luck")
run, episodes = pathlib.Path(value("--run_dir")), sorted(pathlib.Path(value("--dataset_dir")).glob("*.hdf5"))
digest = hashlib.sha256(b"".join(path.read_bytes() for path in episodes)).hexdigest()
log, trained_on = run / "metrics.jsonl", run / "trained_on"
start = len(log.read_text().splitlines()) if log.exists() else 0
print("training from step", start, flush=True)
if start and trained_on.read_text() != digest:
    sys.exit(f"train: {run} was trained on other episodes")
trained_on.write_text(digest)
try:
    for step in range(start + 1, int(value("--steps")) + 1):
        time.sleep(0.02)
        with log.open("a") as file:
            file.write(json.dumps({"step": step, "seconds_per_step": 0.02}) + "\\n")
except KeyboardInterrupt:
    (run / "stopped").touch()
    sys.exit(130)
""",
    "eval.py": """
import json, pathlib, sys
value = lambda flag: sys.argv[sys.argv.index(flag) + 1]
mode, n = value("--modes"), int(value("--num_rollouts"))
every = "_every" + value("--n_action_steps") if "--n_action_steps" in sys.argv else ""
folder = pathlib.Path(sys.argv[1]) / "eval" / f"test_{mode}{every}"
folder.mkdir(parents=True, exist_ok=True)
settings = {"chunk_size": 60, "n_action_steps": int(every[6:] or 60), "ensemble_m": None, "seed_set": "test"}
settings |= {"backbone_weights": "none", "weights": "00", "train_commit": "c0ffee"}
episodes = [{"seed": 2000000 + i, "max_reward": 4.0 if i % 3 else 2.0, "strict_success": i % 3 == 1} for i in range(n)]
made = {"command": "eval.py", "git": "c0ffee", "hardware": {"cpu": "toy"}, "versions": {"python": "3"}, "time": "now"}
stages = [{"name": name} for name in ("touched", "lifted", "received", "transfer")]
results = {"n": n, "seeds": [e["seed"] for e in episodes], "episodes": episodes, "stages": stages, "wall_time_s": 3.0}
results |= {"settings": settings, "provenance": made, "single_query": None}
(folder / "results.json").write_text(json.dumps(results))
""",
}


def row(method: Method, rewards: str, task: str = "transfer_cube", style: str = "scripted", **more) -> Row:
    """Returns a row of results; `more`: seed, mode, track, stages (their names)."""
    seed, mode, track = more.get("seed", 0), more.get("mode", "chunk"), more.get("track", "state")
    cell = Cell(method, task, style, track, seed, Options().steps_of(method, task))
    recipe, *_, every = cell.key(mode)
    made = {"method": method.label, "recipe": recipe, "train_seed": seed, "mode": mode, "policy": method.policy}
    made |= {"task": task, "style": style}
    made |= {"n_action_steps": every, "chunk_size": method.chunk_size}
    made |= {"steps": cell.steps, "track": track}
    made |= {"n": len(rewards), "first_seed": 2_000_000, "rewards": rewards, "strict": "0" * len(rewards)}
    made |= {"stages": more.get("stages", list("abcd"))}
    made |= {"single_query": {"p50_ms": 5.0, "p99_ms": 30.0}, "commands": ["train", "eval"]}
    made |= {"train_s": 100.0, "eval_s": 50.0, "train_commit": "c"}
    return made | {"provenance": {"git": "c", "hardware": {"cpu": "toy"}, "versions": {}}}
