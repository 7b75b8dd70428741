"""What is an expert label worth? Success against labels for BC, DART, DAgger and HG-DAgger, from the same weak policy.

Every round spends about as many expert labels (actions): on new demonstrations (bc), on demonstrations with noise
in the executed actions (dart), on episodes that expert and policy drive by turns (dagger), or on corrections by a
simulated operator (hg_dagger). Then the policy is trained on all data so far and evaluated; every cell updates --out.
"""

import json
import math
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

from tqdm import tqdm

from act.data.episodes import find_episodes, read_episode
from act.data.labels import count_labels
from act.evaluation.execution import Execution
from act.evaluation.rates import wilson_interval
from act.files import lock_file, write_json
from act.provenance import provenance
from act.run_folder import RunFolder
from act.seeds import SEEDS_PER_ROUND, VALIDATION_SEEDS
from act.workers import available_cores
from benchmarks.figures import curve, panels
from benchmarks.programs import Runner, check_values, main

Method = Literal["bc", "dart", "dagger", "hg_dagger"]
LABELS = {"bc": "more demonstrations", "dart": "DART", "dagger": "DAgger", "hg_dagger": "human-gated DAgger"}
COLOURS = {"bc": "#0072b2", "dart": "#e69f00", "dagger": "#009e73", "hg_dagger": "#d55e00"}  # Okabe and Ito 2008
SEEDS = 100_000  # of attempts, for each training seed
MAX_EPISODES = 200  # of a round, because a policy that hardly needs corrections cannot spend its labels
TASK, DEMOS, N_ACTION_STEPS = "sim_transfer_cube_scripted", 6, 30
DART_NOISE = 0.0025  # [rad]; the expert fails in a fifth of its attempts with 0.004, and in all of them with 0.01
GATES = {"dagger": "--beta_schedule constant:0.5 --label_every 0", "hg_dagger": "--take_over 0.1 --hand_back 0.05"}
FIXED = {"task_name": TASK, "demos": DEMOS, "n_action_steps": N_ACTION_STEPS, "dart_noise": DART_NOISE, **GATES}
FIXED |= {"warm_start": False, "aggregation": "uniform"}  # every training starts from scratch
Cell = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is compared, and the flags of the programs that do it."""

    methods: tuple[Method, ...] = get_args(Method)
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds; each has its own demonstrations and its own rollouts."""
    rounds: int = 3
    labels: int = 1500
    """Expert labels in a round, as many as in four demonstrations."""
    rollouts: int = 200
    """Rollouts in every evaluation."""
    seed_set: Literal["test", "validation"] = "test"
    """Use validation seeds to choose settings."""
    steps: int = 3000
    """Optimizer steps of every training."""
    record: str = "--cameras"
    """More flags of record_sim_episodes.py for demonstrations; by default they have no cameras."""
    train: str = "--preset state"
    """More flags of train.py, as --train="--preset state --lr 1e-4"."""
    budget: str = ""
    """Stop cleanly after this time, such as 90m or 1h30m; by default the benchmark runs to its end."""
    work: Path = Path("runs/dagger")
    """Folder of the data and the training runs."""
    out: Path = Path(__file__).parent / "results" / "dagger.json"
    """JSON file of the results."""

    @property
    def settings(self) -> dict[str, Any]:
        """What every cell depends on."""
        names = ("labels", "rollouts", "seed_set", "steps", "record", "train")
        return FIXED | {name: getattr(self, name) for name in names}

    def check(self) -> None:
        """Raises ValueError that names the first value that cannot work, and what would have worked."""
        check_values(self, ("rounds", "labels", "rollouts", "steps"), ("methods", "seeds"))
        max_rounds, max_seed = SEEDS // SEEDS_PER_ROUND - 2, VALIDATION_SEEDS.start // SEEDS - 2
        if self.rounds > max_rounds:
            raise ValueError(f"--rounds {self.rounds}: give at most {max_rounds}; every round has seeds of its own")
        if unknown := [seed for seed in self.seeds if not 0 <= seed <= max_seed]:
            raise ValueError(f"--seeds {unknown[0]}: give 0 to {max_seed}; each uses {SEEDS} seeds of attempts")

    def known_cells(self, path: Path) -> list[Cell]:
        """Returns the cells in a file. Raises ValueError when it belongs to other settings, or to something else."""
        try:
            known = json.loads(path.read_text())
            if self.settings.items() <= known.get("settings", known).items():
                return known.get("cells", [])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} holds no results: {error}") from None
        raise ValueError(f"{path} holds no results of these settings; give another --work or --out")


@dataclass
class Experiment:
    """Runs the programs for every cell: a method, a training seed and a round."""

    options: Options
    runner: Runner

    def run(self) -> None:
        """Runs whole seeds one after another, because an early stop then leaves whole comparisons."""
        options = self.options
        rounds = [("weak", 0), *((m, number) for number in range(1, options.rounds + 1) for m in options.methods)]
        for seed, (method, round_) in tqdm([(s, r) for s in options.seeds for r in rounds], unit="policy"):
            path = self.run_of(method, seed, round_) / "cell.json"
            if not path.exists():
                self.collect(method, seed, round_)
                write_json(path, self.train_and_evaluate(method, seed, round_))
            cell = json.loads(path.read_text())
            add(options, cell)
            tqdm.write(", ".join(f"{name} {value}" for name, value in cell.items() if name != "git"))

    def run_of(self, method: str, seed: int, round_: int) -> Path:
        work = self.options.work
        return work / f"{method}_seed{seed}" / f"round{round_}" / "run" if round_ else work / f"weak_seed{seed}"

    def data_of(self, method: str, seed: int, round_: int) -> Path:
        return self.run_of(method, seed, round_).with_name("data" if round_ else f"demos_seed{seed}")

    def collect(self, method: str, seed: int, round_: int) -> None:
        """Records episodes until the labels of a round are spent."""
        options, folder, first_seed = self.options, self.data_of(method, seed, round_), SEEDS * (seed + 1)
        if method in GATES:
            flags = ["--agent", method, "--policy", self.run_of(method, seed, round_ - 1), *GATES[method].split()]
            flags += ["--seed", first_seed, "--round", round_ + 1, "--n_action_steps", N_ACTION_STEPS]
            number, spent = 0, 0
            while spent < options.labels and number < MAX_EPISODES:
                missing = round(number * (options.labels - spent) / max(spent, 1))
                number = min(number + max(2, min(missing, 2 * number)), MAX_EPISODES)
                self.record(folder, number, *flags)
                spent = labels_in(folder, number)
            return
        number = math.ceil(options.labels * DEMOS / labels_in(self.data_of("weak", seed, 0))) if round_ else DEMOS
        noise = ["--dart_noise", DART_NOISE if method == "dart" else 0.0, *options.record.split()]
        self.record(folder, number, "--seed", first_seed + 1000 * round_, *noise)  # seeds of this round alone

    def record(self, folder: Path, number: int, *flags: object) -> None:
        if not folder.is_dir() or len(find_episodes(folder)) < number:
            words = ["record_sim_episodes.py", "--task_name", TASK, "--dataset_dir", folder, "--num_episodes", number]
            self.runner.run([*words, "--workers", available_cores(), *flags], folder.with_suffix(".log"))

    def train_and_evaluate(self, method: str, seed: int, round_: int) -> Cell:
        """Returns the cell: labels and episodes so far, and successes of the policy that is trained on them."""
        options, run = self.options, self.run_of(method, seed, round_)
        data = [self.data_of(method, seed, earlier) for earlier in range(round_ + 1)]
        flags = ["--dataset_dir", *data, "--run_dir", run, "--seed", seed, "--steps", options.steps]
        flags += ["--val_fraction", 0, *options.train.split()]
        self.runner.run(["train.py", "--task_name", TASK, *flags], run / "dagger.log")
        shutil.rmtree(run / "tensorboard", ignore_errors=True)
        flags = ["--modes", "chunk", "--n_action_steps", N_ACTION_STEPS, "--num_rollouts", options.rollouts]
        flags += ["--seed_set", options.seed_set, "--videos", 0, "--num_workers", available_cores()]
        self.runner.run(["eval.py", run, *flags], run / "dagger.log")
        folder = RunFolder(run).evaluation(Execution("chunk", N_ACTION_STEPS).folder(options.seed_set))
        results = json.loads((folder / "results.json").read_text())
        cell = {"method": method, "seed": seed, "round": round_, "labels": sum(map(labels_in, data))}
        cell |= {"episodes": sum(len(find_episodes(folder)) for folder in data)}
        cell |= {name: results[name]["successes"] for name in ("success", "strict_success")}
        return cell | {"rollouts": results["n"], "git": results["provenance"]["git"]}


def labels_in(folder: Path, number: int | None = None) -> int:
    """Returns how many actions the expert gave for the (first `number`) episodes of a folder."""
    return sum(count_labels(read_episode(path)) for path in find_episodes(folder)[:number])


def add(options: Options, cell: Cell) -> None:
    """Adds a cell to the JSON file, in the order in which a whole run makes them, and draws the figure beside it."""
    order = ("weak", *get_args(Method))
    with lock_file(options.out):  # other seeds or methods may be written meanwhile
        cells = [*options.known_cells(options.out), cell]
        by_key = {(c["seed"], c["round"], order.index(c["method"])): c for c in cells}
        cells = [by_key[key] for key in sorted(by_key)]
        settings = options.settings | {"rounds": max(cell["round"] for cell in cells)}
        for name, key in (("methods", "method"), ("seeds", "seed")):  # of all calls that wrote to this file
            settings[name] = [value for value in dict.fromkeys(cell[key] for cell in cells) if value != "weak"]
        found = curves(cells)
        write_json(options.out, {"settings": settings, "cells": cells, "curves": found, "provenance": provenance()})
        draw(found, options.out.with_suffix(".png"))


def curves(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Returns the points of each method, one for each round that all seeds have; the weak policy begins every curve."""
    groups: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell["method"], cell["round"]].append(cell)
    whole = {key: point(group) for key, group in groups.items() if len(group) == len(groups["weak", 0])}
    found: dict[str, list[Cell]] = {}
    for (method, round_), made in whole.items():
        if round_:
            found.setdefault(method, [whole["weak", 0]]).append(made)
    return found


def point(cells: Sequence[Cell]) -> Cell:
    """Returns mean labels, and success with its Wilson interval over all rollouts; "each" has those of every seed."""
    success, strict, n = (sum(cell[key] for cell in cells) for key in ("success", "strict_success", "rollouts"))
    low, high = wilson_interval(success, n)
    made = {"round": cells[0]["round"], "labels": fmean(cell["labels"] for cell in cells), "success": success / n}
    made |= {"low": low, "high": high, "rollouts": n, "seeds": len(cells), "strict_success": strict / n}
    return made | {"each": [(cell["labels"], cell["success"] / cell["rollouts"]) for cell in cells]}


def draw(found: dict[str, list[Cell]], path: Path) -> None:
    """Draws success over labels: a line with its 95 % interval for each method, a small dot for each training seed."""
    figure, (axes,) = panels((6.4, 4.0), 1, 1)
    for method, points in found.items():
        rates = [(point["success"], point["low"], point["high"]) for point in points]
        curve(axes, COLOURS[method], LABELS[method], [point["labels"] for point in points], rates)
        for spent, rate in (seed for point in points for seed in point["each"]):
            axes.plot(spent, 100 * rate, ".", color=COLOURS[method], alpha=0.5, markersize=5)
    axes.axhline(97, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xlabel="labels: actions of the expert", ylabel="success [%]", ylim=(0, 101))
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)


def work(options: Options) -> None:
    options.check()
    settings = options.work / "settings.json"
    for path in (options.out, settings):
        options.known_cells(path)
    write_json(settings, options.settings)
    Experiment(options, Runner(options.budget)).run()
    print(f"wrote {options.out} and {options.out.with_suffix('.png')}")


program = partial(main, "dagger", Options, work, __doc__, "docs/dagger.md")

if __name__ == "__main__":
    sys.exit(program())
