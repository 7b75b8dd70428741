r"""What a label is worth: success against expert labels for BC, DART, DAgger and HG-DAgger, from the same weak policy.

    python -m benchmarks.dagger                                    transfer cube, state track, 3 seeds x 200 rollouts
    python -m benchmarks.dagger --budget 30m                       stops cleanly then; the same command continues
    python -m benchmarks.dagger --record="--image_size 240 320" --train="--preset fast --trunk DIR" \
        --work runs/dagger_images --out benchmarks/results/dagger_images.json        four cameras, DIR by act pretrain

Every round spends about the same number of expert labels (actions the expert gave): on fresh demonstrations (bc), on
demonstrations with noise in what is executed (dart), on driving in turns with the policy (dagger), or on driving when a
simulated operator took over (hg_dagger). Then the policy learns from all data so far and is evaluated on test seeds.
The work is done by record_sim_episodes.py, train.py and eval.py, each of which continues where it was stopped.
Results: benchmarks/results/dagger.json and dagger.png, brought up to date after every cell.
"""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

import sim_envs
from act.data.episodes import find_episodes, read_episode
from act.data.labels import Aggregation, count_labels
from act.files import lock_file, whole_file
from act.provenance import provenance
from act.seeds import SEEDS_PER_ROUND, VALIDATION_SEEDS
from act.workers import available_cores
from benchmarks.dagger_figure import METHODS, curves, draw
from benchmarks.grid.cells import refuse_repeats, seconds
from record_sim_episodes import split_task_name

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "dagger.json"
MAY_GROW = ("methods", "seeds", "rounds", "workers", "budget", "work", "out")  # without touching finished cells
SEEDS = 100_000  # of attempts, that a training seed may use
PATIENCE = 60.0  # [s] a program has to stop after SIGINT before it is killed
MOST_EPISODES = 200  # of a round: a policy that is hardly ever corrected cannot spend its labels


@dataclass(frozen=True)
class Options:
    """Rounds of learning from a teacher at equal numbers of labels."""

    task_name: str = "sim_transfer_cube_scripted"
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of training; every one has its own demonstrations and its own rollouts."""
    demos: int = 6
    """Demonstrations of the weak policy."""
    rounds: int = 3
    labels: int = 1500
    """Expert labels a round, four demonstrations' worth."""
    rollouts: int = 200
    """Of every evaluation."""
    seed_set: Literal["test", "validation"] = "test"
    """Choose settings on validation seeds."""
    steps: int = 3000
    """Optimizer updates, each time."""
    warm_start: bool = False
    """Go on from the policy of the round before instead of training from scratch."""
    record: str = "--cameras"
    """Further flags of record_sim_episodes.py for demonstrations: without cameras. What a policy drives has its own."""
    train: str = "--preset state"
    """Further flags of train.py, as --train="--preset state --lr 1e-4"."""
    aggregation: Aggregation = "uniform"
    """Of DAgger and HG-DAgger."""
    n_action_steps: int = 30
    """Control steps between queries whenever a policy drives, in lessons as in rollouts: labels end with a turn."""
    dagger: str = "--beta_schedule constant:0.5 --label_every 0"
    """Flags of record_sim_episodes.py for DAgger: a coin falls with every query, what the expert does is the label."""
    hg_dagger: str = "--take_over 0.1 --hand_back 0.05"
    """The same for HG-DAgger."""
    dart_noise: float = 0.0025
    """DART [rad]. The expert stands this: at 0.004 it fails in a fifth of its attempts, at 0.01 in all."""
    workers: int = available_cores()
    """Processes that simulate."""
    budget: str = ""
    """Stop cleanly after 90s, 30m or 1h30m; without it, when all is done."""
    work: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/dagger")
    """Where data and runs of the cells are kept."""
    out: Path = RESULTS

    def check(self) -> None:
        unknown = sorted(set(self.methods) - set(METHODS))
        if unknown:
            raise ValueError(f"--methods {unknown[0]}: there are {', '.join(METHODS)}")
        refuse_repeats("methods", self.methods)
        refuse_repeats("seeds", self.seeds)
        split_task_name(self.task_name, sim_envs.available())
        for name in ("demos", "rounds", "labels", "rollouts", "steps", "n_action_steps", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.rounds > SEEDS // SEEDS_PER_ROUND - 2 and set(self.methods) & {"dagger", "hg_dagger"}:
            raise ValueError(
                f"--rounds {self.rounds}: at most {SEEDS // SEEDS_PER_ROUND - 2}, so that every round has its own seeds"
            )
        if self.out.is_dir():
            raise ValueError(f"--out {self.out} is a directory; give a file, such as {self.out}/dagger.json")
        most = VALIDATION_SEEDS.start // SEEDS - 2
        for seed in self.seeds:
            if not 0 <= seed <= most:
                raise ValueError(f"--seeds {seed}: give 0 to {most}; each takes {SEEDS} seeds of attempts")

    def claim(self) -> None:
        """Makes `work` a place for these settings; ValueError when that or `out` is a place for others."""
        ours, place = json.dumps(fixed(asdict(self)), indent=1), self.work / "settings.json"
        others = place.exists() and place.read_text() != ours
        if others and any(path != place for path in self.work.iterdir()):
            raise ValueError(f"{self.work} holds cells of other settings ({place}); give another --work")
        self.known()
        with whole_file(place) as temporary:
            temporary.write_text(ours)

    def known(self) -> list[dict[str, Any]]:
        """The cells that `out` has. ValueError when they have other settings."""
        if not self.out.exists():
            return []
        try:
            known = json.loads(self.out.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.out} is no JSON ({error}); give another --out") from None
        if not isinstance(known, dict) or not isinstance(known.get("settings"), dict) or "cells" not in known:
            raise ValueError(f"{self.out} holds no results of this program; give another --out")
        if fixed(known["settings"]) != fixed(asdict(self)):
            raise ValueError(f"{self.out} holds results of other settings; give another --out")
        return known["cells"]


def fixed(settings: dict[str, Any]) -> dict[str, Any]:
    """Those that finished cells depend on."""
    return {key: value for key, value in settings.items() if key not in MAY_GROW}


class OutOfTime(Exception):
    """The budget is spent."""


@dataclass
class Bench:
    """Runs the programs, for at most as long as the budget lasts."""

    options: Options
    deadline: float = math.inf
    cells: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = self.options
        total = len(options.seeds) * (1 + options.rounds * len(options.methods))
        self.bar = tqdm(total=total, desc="policies", unit="policy", dynamic_ncols=True)

    def call(self, program: Path | str, *words: object) -> None:
        """One program; at the deadline it is asked to stop, as with Ctrl-C. RuntimeError when it fails."""
        argv = [sys.executable, str(ROOT / program), *map(str, words)]
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(argv, **pipes, start_new_session=True) as process:  # Ctrl-C reaches it once: through us
            try:
                _, told = process.communicate(timeout=max(0.0, min(self.deadline - time.monotonic(), 1e6)))
            except (subprocess.TimeoutExpired, KeyboardInterrupt) as stop:
                process.send_signal(signal.SIGINT)
                try:
                    process.communicate(timeout=PATIENCE)
                except subprocess.TimeoutExpired:  # one that was started in the background does not hear it
                    process.kill()
                    process.communicate()
                raise stop if isinstance(stop, KeyboardInterrupt) else OutOfTime from None
        if process.returncode:
            raise RuntimeError(f"{' '.join(argv[1:])} ended with {process.returncode}:\n{told[-2000:]}")

    # ------------------------------------------------------------------------------------------------------- labels
    def demonstrations(self, directory: Path, seed: int, number: int, first: int = 0, noise: float = 0.0) -> Path:
        """`number` fresh demonstrations, from attempt seeds that belong to (seed, first) alone."""
        flags = ["--seed", SEEDS * (seed + 1) + first, "--dart_noise", noise, "--num_episodes", number]
        self.record(directory, number, *flags)
        return directory

    def record(self, directory: Path, number: int, *flags: object) -> None:
        if directory.is_dir() and len(find_episodes(directory)) >= number:
            return
        where = ["--task_name", self.options.task_name, "--dataset_dir", directory, "--workers", self.options.workers]
        how = [] if "--policy" in flags else self.options.record.split()
        self.call("record_sim_episodes.py", *where, *flags, *how)

    def teach(self, method: str, seed: int, round_: int, policy: Path, directory: Path) -> Path:
        """The data of one round."""
        options = self.options
        if method in ("bc", "dart"):
            number = math.ceil(options.labels / labels_in(options.work / f"demos_seed{seed}") * options.demos)
            noise = options.dart_noise if method == "dart" else 0.0
            return self.demonstrations(directory, seed, number, 1000 * round_, noise)
        flags = ["--agent", method, "--policy", policy, "--seed", SEEDS * (seed + 1), "--round", round_ + 1]
        flags += ["--n_action_steps", options.n_action_steps]
        flags += {"dagger": options.dagger, "hg_dagger": options.hg_dagger}[method].split()
        number, spent = 0, 0
        while spent < options.labels and number < MOST_EPISODES:
            missing = round(number * (options.labels - spent) / max(spent, 1))
            number = min(number + max(2, min(missing, 2 * number)), MOST_EPISODES)
            self.record(directory, number, *flags, "--num_episodes", number)
            spent = labels_in(directory, number)
        return directory

    # -------------------------------------------------------------------------------------------------------- cells
    def learn(self, run: Path, data: Sequence[Path], seed: int, *flags: object) -> None:
        options = self.options
        where = ["--task_name", options.task_name, "--dataset_dir", *data, "--run_dir", run, "--seed", seed]
        how = ["--steps", options.steps, "--val_fraction", 0, *options.train.split(), *flags]
        self.call("train.py", *where, *how)
        shutil.rmtree(run / "tensorboard", ignore_errors=True)

    def judge(self, run: Path) -> dict[str, Any]:
        options = self.options
        flags = ["--num_rollouts", options.rollouts, "--seed_set", options.seed_set, "--videos", 0]
        flags += ["--n_action_steps", options.n_action_steps]
        self.call("eval.py", run, *flags, "--num_workers", options.workers)
        folder = run / "eval" / f"{options.seed_set}_chunk_every{options.n_action_steps}"
        return json.loads((folder / "results.json").read_text())

    def cell(self, method: str, seed: int, round_: int, data: Sequence[Path], run: Path, *flags: object) -> None:
        """Trains and evaluates one policy, unless that was done before; tells and keeps what came of it."""
        done = run / "cell.json"
        known = done.exists()
        if not known:
            self.learn(run, data, seed, *flags)
            results = self.judge(run)
            counts = {name: results[name]["successes"] for name in ("success", "strict_success")}
            labels = sum(labels_in(directory) for directory in data)
            episodes = sum(len(find_episodes(directory)) for directory in data)
            cell = {"method": method, "seed": seed, "round": round_, "labels": labels, "episodes": episodes}
            cell |= {**counts, "rollouts": results["n"], "git": results["provenance"]["git"]}
            with whole_file(done) as temporary:
                temporary.write_text(json.dumps(cell))
        self.cells.append(json.loads(done.read_text()))
        told = self.cells[-1]
        self.bar.initial += known  # which the estimate leaves out
        self.bar.update()
        self.bar.write(
            f"seed {seed} {method:9s} round {round_}: {told['labels']:6d} labels, {told['episodes']:3d} episodes, "
            f"success {100 * told['success'] / told['rollouts']:.1f} %, strict "
            f"{100 * told['strict_success'] / told['rollouts']:.1f} % of {told['rollouts']}"
        )
        with lock_file(self.options.out):  # which other seeds or methods may write meanwhile
            write(self.options, merged(self.options.known(), self.cells))

    def run(self) -> None:
        """Seed by seed, so that an early stop leaves whole comparisons; within one, round by round."""
        options = self.options
        for seed in options.seeds:
            demos = self.demonstrations(options.work / f"demos_seed{seed}", seed, options.demos)
            weak = options.work / f"weak_seed{seed}"
            self.cell("weak", seed, 0, [demos], weak)
            data = {method: [demos] for method in options.methods}
            policies = dict.fromkeys(options.methods, weak)
            for round_ in range(1, options.rounds + 1):
                for method in options.methods:
                    place = options.work / f"{method}_seed{seed}" / f"round{round_}"
                    data[method].append(self.teach(method, seed, round_, policies[method], place / "data"))
                    flags = ["--aggregation", options.aggregation]
                    flags += ["--warm_start", policies[method]] if options.warm_start else []
                    self.cell(method, seed, round_, data[method], place / "run", *flags)
                    policies[method] = place / "run"


def labels_in(directory: Path, number: int | None = None) -> int:
    """Actions the expert gave for the (first `number`) episodes of a directory."""
    return sum(count_labels(read_episode(path)) for path in find_episodes(directory)[:number])


# ------------------------------------------------------------------------------------------------------------ results
def merged(known: Sequence[dict[str, Any]], cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All cells in the order in which a whole run has them; what is in `cells` replaces what was known."""
    found = {(cell["seed"], cell["round"], cell["method"]): cell for cell in (*known, *cells)}
    order = ["weak", *METHODS]
    return [found[key] for key in sorted(found, key=lambda key: (*key[:2], order.index(key[2])))]


def write(options: Options, cells: Sequence[dict[str, Any]]) -> None:
    """The JSON, and the figure beside it."""
    settings = {key: value for key, value in asdict(options).items() if key not in ("workers", "budget", "work", "out")}
    for name in ("methods", "seeds"):  # of all calls that wrote here
        settings[name] = [value for value in dict.fromkeys(c[name.removesuffix("s")] for c in cells) if value != "weak"]
    settings["rounds"] = max(cell["round"] for cell in cells)
    results = {"settings": settings, "cells": list(cells), "curves": curves(cells), "provenance": provenance()}
    with whole_file(options.out) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    if results["curves"]:
        draw(results["curves"], options.out.with_suffix(".png"))


def main(argv: Sequence[str] | None = None) -> int:
    """0: done or stopped in time; 1: a program failed; 2: not asked properly; 130: Ctrl-C."""
    options = tyro.cli(Options, args=argv, use_underscores=True, description=__doc__)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # deaf to it, where a shell script starts us
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench = None
    try:
        options.check()
        deadline = time.monotonic() + seconds(options.budget)
        options.claim()
        bench = Bench(options, deadline)
        with bench.bar:
            bench.run()
    except (ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except (OutOfTime, KeyboardInterrupt) as stop:
        done = len(bench.cells) if bench else 0
        print(f"stopped after {done} cells; the same command continues")
        return 130 if isinstance(stop, KeyboardInterrupt) else 0
    print(f"wrote {options.out} and {options.out.with_suffix('.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
