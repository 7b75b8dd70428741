"""What is an expert label worth? Success against labels for BC, DART, DAgger and HG-DAgger, from the same weak policy.

    python -m benchmarks.dagger                                    transfer cube, state track, 3 seeds x 200 rollouts
    python -m benchmarks.dagger --budget 30m                       stops cleanly then; the same command continues

Every round spends about as many expert labels (actions): on new demonstrations (bc), on demonstrations with noise
in the executed actions (dart), on episodes that expert and policy drive by turns (dagger), or on corrections by a
simulated operator (hg_dagger). Then the policy is trained on all data so far and evaluated; every cell updates --out.
"""

import json
import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from tqdm import tqdm

import sim_envs
from act.data.episodes import find_episodes, read_episode
from act.data.labels import Aggregation, count_labels
from act.evaluation.execution import Execution
from act.evaluation.rates import wilson_interval
from act.files import lock_file, whole_file, write_json
from act.provenance import provenance
from act.run_folder import RunFolder
from act.seeds import SEEDS_PER_ROUND, VALIDATION_SEEDS
from act.workers import available_cores
from benchmarks.programs import OutOfTime, Runner, check_values, main, seconds

Method = Literal["bc", "dart", "dagger", "hg_dagger"]
LABELS = {"bc": "more demonstrations", "dart": "DART", "dagger": "DAgger", "hg_dagger": "human-gated DAgger"}
COLOURS = {"bc": "#0072b2", "dart": "#e69f00", "dagger": "#009e73", "hg_dagger": "#d55e00"}  # Okabe and Ito 2008
MAY_CHANGE = ("methods", "seeds", "rounds", "workers", "budget", "work", "out")  # finished cells do not depend on them
SEEDS = 100_000  # of attempts, for each training seed
MAX_EPISODES = 200  # of a round, because a policy that hardly needs corrections cannot spend its labels


@dataclass(frozen=True)
class Options:
    """Options of the rounds, of the programs they run, and of the whole benchmark."""

    task_name: str = "sim_transfer_cube_scripted"
    methods: tuple[Method, ...] = get_args(Method)
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds; each has its own demonstrations and its own rollouts."""
    demos: int = 6
    """Demonstrations of the weak policy."""
    rounds: int = 3
    labels: int = 1500
    """Expert labels in a round, as many as in four demonstrations."""
    rollouts: int = 200
    """Rollouts in every evaluation."""
    seed_set: Literal["test", "validation"] = "test"
    """Use validation seeds to choose settings."""
    steps: int = 3000
    """Optimizer steps of every training."""
    warm_start: bool = False
    """Start every training from the policy of the round before instead of from scratch."""
    record: str = "--cameras"
    """More flags of record_sim_episodes.py for demonstrations; by default they have no cameras."""
    train: str = "--preset state"
    """More flags of train.py, as --train="--preset state --lr 1e-4"."""
    aggregation: Aggregation = "uniform"
    """How train.py weighs the frames of DAgger and HG-DAgger."""
    n_action_steps: int = 30
    """Control steps between two queries of the policy, in rounds and in evaluations."""
    dagger: str = "--beta_schedule constant:0.5 --label_every 0"
    """Flags of record_sim_episodes.py for DAgger; by default the executed actions of the expert are the labels."""
    hg_dagger: str = "--take_over 0.1 --hand_back 0.05"
    """Flags of record_sim_episodes.py for HG-DAgger."""
    dart_noise: float = 0.0025
    """Noise of DART [rad]. The expert fails in a fifth of its attempts with 0.004, and in all of them with 0.01."""
    workers: int = available_cores()
    """Simulating processes."""
    budget: str = ""
    """Stop cleanly after this time, such as 90m or 1h30m; by default the benchmark runs to its end."""
    work: Path = Path("runs/dagger")
    """Folder of the data and the training runs."""
    out: Path = Path(__file__).parent / "results" / "dagger.json"
    """JSON file of the results."""

    def check(self) -> None:
        """Raises ValueError that names the first value that cannot work, and what would have worked."""
        sim_envs.check_task_name(self.task_name)
        positive = ("demos", "rounds", "labels", "rollouts", "steps", "n_action_steps", "workers")
        check_values(self, positive, ("methods", "seeds"))
        max_rounds, max_seed = SEEDS // SEEDS_PER_ROUND - 2, VALIDATION_SEEDS.start // SEEDS - 2
        if self.rounds > max_rounds and set(self.methods) & {"dagger", "hg_dagger"}:
            raise ValueError(f"--rounds {self.rounds}: give at most {max_rounds}; every round has seeds of its own")
        if unknown := [seed for seed in self.seeds if not 0 <= seed <= max_seed]:
            raise ValueError(f"--seeds {unknown[0]}: give 0 to {max_seed}; each uses {SEEDS} seeds of attempts")

    def claim(self) -> None:
        """Keeps the settings in `work`. Raises ValueError when `work` or `out` has cells of other settings."""
        settings, path = json.dumps(fixed(asdict(self)), indent=1), self.work / "settings.json"
        if path.exists() and path.read_text() != settings and any(p != path for p in self.work.iterdir()):
            raise ValueError(f"{self.work} holds cells of other settings ({path}); give another --work")
        self.known_cells()
        with whole_file(path) as temporary:
            temporary.write_text(settings)

    def known_cells(self) -> list[dict[str, Any]]:
        """Returns the cells in `out`. Raises ValueError when they have other settings."""
        if not self.out.exists():
            return []
        try:
            known = json.loads(self.out.read_text())
            settings, cells = fixed(known["settings"]), known["cells"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.out} holds no results of this benchmark ({error!r}); give another --out") from None
        if settings != fixed(asdict(self)):
            raise ValueError(f"{self.out} holds results of other settings; give another --out")
        return cells


def fixed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that finished cells depend on."""
    return {key: value for key, value in settings.items() if key not in MAY_CHANGE}


@dataclass
class Experiment:
    """Runs the programs for every cell: a method, a training seed and a round."""

    options: Options
    runner: Runner
    cells: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> None:
        """Runs whole seeds one after another, because an early stop then leaves whole comparisons."""
        options, n = self.options, len(self.options.seeds) * (1 + self.options.rounds * len(self.options.methods))
        with tqdm(total=n, unit="policy", dynamic_ncols=True) as bar:
            for seed in options.seeds:
                demos, weak = options.work / f"demos_seed{seed}", options.work / f"weak_seed{seed}"
                self.record(demos, options.demos, *self.demonstrator(seed))
                self.cell(bar, ("weak", seed, 0), [demos], weak)
                data, policies = {method: [demos] for method in options.methods}, dict.fromkeys(options.methods, weak)
                for round_ in range(1, options.rounds + 1):
                    for method in options.methods:
                        place = options.work / f"{method}_seed{seed}" / f"round{round_}"
                        self.collect(method, seed, round_, policies[method], place / "data")
                        data[method].append(place / "data")
                        flags = ["--aggregation", options.aggregation]
                        flags += ["--warm_start", policies[method]] if options.warm_start else []
                        policies[method] = place / "run"
                        self.cell(bar, (method, seed, round_), data[method], place / "run", *flags)

    def program(self, log: Path, *words: object) -> None:
        self.runner.run([sys.executable, *map(str, words)], log)

    def demonstrator(self, seed: int, first: int = 0, noise: float = 0.0) -> list[object]:
        """Returns the flags of new demonstrations; their attempt seeds belong to (seed, first) alone."""
        return ["--seed", SEEDS * (seed + 1) + first, "--dart_noise", noise, *self.options.record.split()]

    def record(self, directory: Path, number: int, *flags: object) -> None:
        if not directory.is_dir() or len(find_episodes(directory)) < number:
            place = ["--task_name", self.options.task_name, "--dataset_dir", directory, "--num_episodes", number]
            log = directory.with_name(f"{directory.name}.log")
            self.program(log, "record_sim_episodes.py", *place, "--workers", self.options.workers, *flags)

    def collect(self, method: str, seed: int, round_: int, policy: Path, directory: Path) -> None:
        """Records episodes until the labels of a round are spent."""
        options = self.options
        if method in ("bc", "dart"):
            number = math.ceil(options.labels / labels_in(options.work / f"demos_seed{seed}") * options.demos)
            noise = options.dart_noise if method == "dart" else 0.0
            self.record(directory, number, *self.demonstrator(seed, 1000 * round_, noise))
            return
        flags = ["--agent", method, "--policy", policy, "--seed", SEEDS * (seed + 1), "--round", round_ + 1]
        how = options.dagger if method == "dagger" else options.hg_dagger
        flags += ["--n_action_steps", options.n_action_steps, *how.split()]
        number, spent = 0, 0
        while spent < options.labels and number < MAX_EPISODES:
            missing = round(number * (options.labels - spent) / max(spent, 1))
            number = min(number + max(2, min(missing, 2 * number)), MAX_EPISODES)
            self.record(directory, number, *flags)
            spent = labels_in(directory, number)

    def cell(self, bar: tqdm, key: tuple[str, int, int], data: Sequence[Path], run: Path, *flags: object) -> None:
        """Trains and evaluates a policy, unless that was done before, and updates `out`."""
        path = run / "cell.json"
        if not path.exists():
            results = self.train_and_evaluate(run, data, key[1], *flags)
            cell = {**dict(zip(("method", "seed", "round"), key, strict=True)), "labels": sum(map(labels_in, data))}
            cell["episodes"] = sum(len(find_episodes(directory)) for directory in data)
            cell |= {name: results[name]["successes"] for name in ("success", "strict_success")}
            write_json(path, cell | {"rollouts": results["n"], "git": results["provenance"]["git"]})
        self.cells.append(cell := json.loads(path.read_text()))
        write(self.options, self.cells)
        bar.write(", ".join(f"{name} {value}" for name, value in cell.items() if name != "git"))
        bar.update()

    def train_and_evaluate(self, run: Path, data: Sequence[Path], seed: int, *flags: object) -> dict[str, Any]:
        options, log = self.options, run / "dagger.log"
        place = ["--task_name", options.task_name, "--dataset_dir", *data, "--run_dir", run, "--seed", seed]
        how = ["--steps", options.steps, "--val_fraction", 0, *options.train.split(), *flags]
        self.program(log, "train.py", *place, *how)
        shutil.rmtree(run / "tensorboard", ignore_errors=True)
        how = ["--modes", "chunk", "--n_action_steps", options.n_action_steps, "--num_rollouts", options.rollouts]
        how += ["--seed_set", options.seed_set, "--videos", 0, "--num_workers", options.workers]
        self.program(log, "eval.py", run, *how)
        folder = Execution("chunk", options.n_action_steps).folder(options.seed_set)
        return json.loads((RunFolder(run).evaluation(folder) / "results.json").read_text())


def labels_in(directory: Path, number: int | None = None) -> int:
    """The actions that the expert gave for the (first `number`) episodes of a directory."""
    return sum(count_labels(read_episode(path)) for path in find_episodes(directory)[:number])


def write(options: Options, new: Sequence[dict[str, Any]]) -> None:
    """Adds cells to the JSON file, in the order in which a whole run makes them, and draws the figure beside it."""
    settings = {key: value for key, value in asdict(options).items() if key not in ("workers", "budget", "work", "out")}
    order = ("weak", *get_args(Method))
    with lock_file(options.out):  # other seeds or methods may be written meanwhile
        known = {(c["seed"], c["round"], order.index(c["method"])): c for c in (*options.known_cells(), *new)}
        cells = [known[key] for key in sorted(known)]
        for name, key in (("methods", "method"), ("seeds", "seed")):  # of all calls that wrote to this file
            settings[name] = [value for value in dict.fromkeys(cell[key] for cell in cells) if value != "weak"]
        settings["rounds"] = max(cell["round"] for cell in cells)
        found = {"settings": settings, "cells": cells, "curves": curves(cells), "provenance": provenance()}
        write_json(options.out, found)
        if found["curves"]:
            draw(found["curves"], options.out.with_suffix(".png"))


def curves(cells: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Returns, for each method and round, mean labels and success with its Wilson interval over the seeds' rollouts.

    "each" holds labels and success of every seed. The weak policy begins every curve. A seed that has fewer cells than
    most does not count, nor does a round that another seed has not reached yet.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    done = Counter(cell["seed"] for cell in cells)
    often = Counter(done.values())
    seeds = {seed for seed in done if done[seed] >= max(often, key=lambda count: (often[count], count))}
    rounds: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for cell in (cell for cell in cells if cell["seed"] in seeds):
        rounds.setdefault((cell["method"], cell["round"]), []).append(cell)
    for method in dict.fromkeys(method for method, _ in rounds if method != "weak"):
        for (name, round_), group in sorted(rounds.items(), key=lambda item: item[0][1]):
            if name not in ("weak", method) or len(group) < len(seeds):
                continue
            successes, strict, n = (
                sum(cell[key] for cell in group) for key in ("success", "strict_success", "rollouts")
            )
            low, high = wilson_interval(successes, n)
            point = {"round": round_, "labels": float(np.mean([cell["labels"] for cell in group]))}
            point |= {"success": successes / n, "low": low, "high": high, "rollouts": n, "seeds": len(group)}
            each = [(cell["labels"], cell["success"] / cell["rollouts"]) for cell in group]
            found.setdefault(method, []).append(point | {"strict_success": strict / n, "each": each})
    return found


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draws success over labels: a line with its 95 % interval for each method, a small dot for each training seed."""
    from matplotlib.figure import Figure

    figure = Figure((6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for method, points in found.items():
        labels = [point["labels"] for point in points]
        axes.plot(labels, [100 * p["success"] for p in points], "o-", color=COLOURS[method], label=LABELS[method])
        low, high = ([100 * p[key] for p in points] for key in ("low", "high"))
        axes.fill_between(labels, low, high, color=COLOURS[method], alpha=0.15, linewidth=0)
        spent, rates = zip(*(seed for point in points for seed in point["each"]), strict=True)
        axes.plot(spent, [100 * rate for rate in rates], ".", color=COLOURS[method], alpha=0.5, markersize=5)
    axes.axhline(97, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xlabel="labels: actions of the expert", ylabel="success [%]", ylim=(0, 101))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def work(options: Options) -> None:
    options.check()
    runner = Runner(time.monotonic() + seconds(options.budget))
    options.claim()
    try:
        Experiment(options, runner).run()
        print(f"wrote {options.out} and {options.out.with_suffix('.png')}")
    except OutOfTime:
        print(f"the budget of {options.budget} is spent; the same command continues from here")


def program(argv: Sequence[str] | None = None) -> int:
    return main("dagger", Options, work, __doc__, "docs/dagger.md", argv)


if __name__ == "__main__":
    sys.exit(program())
