"""Writes README.md beside a run or a data set: what it is, how it was made, how well it works, and its licence.

    python -m act card runs/demo data/cube

The head of the file is what the Hugging Face Hub reads, so that `hf upload` of the folder is all that is missing
(docs/sharing.md). eval.py and record_sim_episodes.py write the cards, too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from act import command_line
from act.data.episodes import find_episodes
from act.evaluation.card_text import CARD, LICENCE_NAME, PROJECT, card, earlier_licence, licence_text, table, write
from act.evaluation.dataset_card import write_dataset_card
from act.evaluation.results import Evaluation, load
from act.run_folder import RunFolder


@dataclass(frozen=True)
class Checkpoint:
    """What a card says of the files of a policy, and who loads them."""

    library: str
    usage: tuple[str, ...]  # program lines
    note: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


RUN = Checkpoint(
    "act-aloha",
    (
        "hf download USER/NAME --local-dir runs/downloaded",
        "python eval.py runs/downloaded --num_rollouts 200   # the simulator, with a report",
        "python -m act serve runs/downloaded                 # answers a robot over the network",
    ),
)
LEROBOT = Checkpoint(
    "lerobot",
    (
        "hf download USER/NAME --local-dir lerobot/downloaded",
        "python -m act import_checkpoint lerobot/downloaded runs/imported --task_name sim_transfer_cube_human",
    ),
    (
        "This is a checkpoint for LeRobot: `ACTPolicy.from_pretrained`, or `--policy.path=USER/NAME` of its programs.",
        "The results above are those of the run before its export, measured by the programs of this project.",
        "",
    ),
    ("lerobot",),
)


# -------------------------------------------------------------------------------------------------------------- a run
def write_model_card(run: RunFolder, licence: str | None = None) -> Path | None:
    """Writes RUN/README.md and returns its path; None where somebody has written their own.

    licence: the Hub's name of it, e.g. "apache-2.0"; None keeps that of an earlier card, or is MIT.

    Raises ValueError for a folder without a trained policy.
    """
    path = run.path / CARD
    return write(path, model_card(run, licence or earlier_licence(path) or "mit"))


def lerobot_model_card(run: RunFolder) -> str:
    """The card of a run that is exported as a LeRobot checkpoint; its licence is that of the run's own card."""
    return model_card(run, earlier_licence(run.path / CARD) or "mit", LEROBOT)


def model_card(run: RunFolder, licence: str = "mit", files: Checkpoint = RUN) -> str:
    """The card of a run as Markdown. Only evaluations of the weights that the folder holds now are on it."""
    about, evaluations = run.about(), current_evaluations(run)
    train = about.get("train", {})
    task, policy = train.get("task_name", "an unknown task"), str(about.get("policy", "policy"))
    name = run.path.resolve().name
    tags = ["robotics", "imitation-learning", "aloha", policy, *files.tags]
    head = {"license": licence, "pipeline_tag": "robotics", "library_name": files.library, "tags": tags}
    if evaluations:
        head["model-index"] = [{"name": name, "results": [_index_entry(evaluation) for evaluation in evaluations]}]
    lines = [f"# {name}", "", f"A policy ({policy}) for two robot arms, trained on `{task}` by {PROJECT}.", ""]
    lines += ["## Results", "", *_results(evaluations), "", "## The policy", "", *_policy_rows(about), ""]
    lines += ["## Use", "", *files.note, "```", *files.usage, "```", ""]
    lines += ["## Limits", "", *_limits(about), "", "## Licence", "", licence_text(licence)]
    return card(head, lines)


def current_evaluations(run: RunFolder) -> list[Evaluation]:
    """Returns the evaluations of the run that were made with its present weights; none where there are none."""
    try:
        evaluations, digest = load(run.path / "eval"), run.digest()
    except (ValueError, FileNotFoundError):
        return []
    return [evaluation for evaluation in evaluations if evaluation.results["settings"].get("weights") == digest]


def _index_entry(evaluation: Evaluation) -> dict[str, Any]:
    results = evaluation.results
    success = results["success"]
    interval = f"95 % interval {100 * success['low']:.1f} to {100 * success['high']:.1f}, n = {results['n']}"
    metric = {"type": "success_rate", "name": f"success in % ({_how(evaluation)}; {interval})"}
    return {
        "task": {"type": "robotics", "name": "robotics"},
        "dataset": {"type": "simulation", "name": results["task"]},
        "metrics": [{**metric, "value": round(100 * success["rate"], 1)}],
    }


def _how(evaluation: Evaluation) -> str:
    settings = evaluation.results["settings"]
    seeds = f"{settings.get('seed_set', 'unknown')} seeds"
    return ", ".join(filter(None, [str(evaluation.execution or "policy"), settings.get("engine"), seeds]))


def _results(evaluations: Sequence[Evaluation]) -> list[str]:
    if not evaluations:
        return ["These weights have not been evaluated yet: `python eval.py RUN --num_rollouts 200`."]
    rows = ["| task | execution | rollouts | success (95 % interval) | strict success |", "|---|---|---|---|---|"]
    for evaluation in evaluations:
        results = evaluation.results
        rates = [_rate(results["success"]), _rate(results["strict_success"])]
        n = f"{results['n']}{' (preliminary)' if results['preliminary'] else ''}"
        rows.append(f"| {results['task']} | {_how(evaluation)} | {n} | {' | '.join(rates)} |")
    text = "Rollouts in simulation, each from another start; intervals are Wilson's. Strict success holds at the end."
    return [*rows, "", text]


def _rate(rate: Mapping[str, Any]) -> str:
    return f"{100 * rate['rate']:.1f} % ({100 * rate['low']:.1f}-{100 * rate['high']:.1f})"


def _policy_rows(about: Mapping[str, Any]) -> list[str]:
    train, spec, config = (about.get(name, {}) for name in ("train", "spec", "config"))
    size = spec.get("image_size", ())
    sees = [f"{spec.get('qpos_dim', '?')} joint positions"]
    sees += [f"{' '.join(spec['cameras'])} at {size[0]}x{size[1]}"] if spec.get("cameras") else []
    sees += ["the poses of the objects (privileged)"] if spec.get("env_state_dim") else []
    folders = train.get("dataset_dir") or []
    folders = [folders] if isinstance(folders, str) else folders
    facts = {
        "sees": " and ".join(sees),
        "answers": f"{config.get('chunk_size', '?')} actions of {spec.get('action_dim', '?')} joint targets, at 50 Hz",
        "demonstrations": f"{', '.join(Path(folder).name for folder in folders)} ({about.get('demo_style') or '?'})",
        "visual backbone": f"pretrained weights: {about.get('backbone_weights') or 'none'}",
        "preset": train.get("preset"),
        "optimizer steps": f"{about.get('step')} of {train.get('steps')}, batch size {train.get('batch_size')}",
        "training seed": about.get("seed"),
        "code": about.get("git") or "not in git",
    }
    return table(facts)


def _limits(about: Mapping[str, Any]) -> list[str]:
    lines = [
        "The policy has been trained and evaluated in simulation only, with the objects and the table of one task."
    ]
    if about.get("spec", {}).get("env_state_dim"):
        lines.append("It needs the poses of the objects, which only a simulator knows exactly.")
    lines.append("On real arms it needs limits and somebody at the emergency stop.")
    return lines


# ---------------------------------------------------------------------------------------------------------- the command
@dataclass(frozen=True)
class Options:
    """One call of `python -m act card`."""

    folders: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN|DIR [...]", help_behavior_hint="")]
    """Folders of runs or of episodes."""
    licence: Annotated[str | None, arg(help_behavior_hint="(default: that of an earlier card, or MIT)")] = None
    """Licence, by the name that the Hub uses, e.g. apache-2.0 or cc-by-4.0."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when every card is written, 2 for wrong input."""
    return command_line.run("card", lambda: _write_all(parse(arguments)))


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line."""
    return command_line.parse(
        Options,
        arguments,
        program="python -m act card",
        description="Writes README.md beside runs and data sets, ready for the Hugging Face Hub.",
        example="python -m act card runs/demo data/cube",
        page="docs/sharing.md",
    )


def _write_all(options: Options) -> None:
    if not options.folders:
        raise ValueError("no folder is given; give a run or a folder of episodes: python -m act card runs/demo")
    if options.licence is not None and not re.fullmatch(LICENCE_NAME, options.licence):
        raise ValueError(f"--licence {options.licence}: give the Hub's name, small letters and digits, e.g. apache-2.0")
    for folder in options.folders:
        run = RunFolder(folder)
        is_run = (folder / "policy.json").exists()
        if not is_run and not find_episodes(folder):
            raise ValueError(f"{folder} has neither policy.json nor episode_<i>.hdf5; give a run or a data set")
        path = write_model_card(run, options.licence) if is_run else write_dataset_card(folder, options.licence)
        print(f"wrote {path}" if path else f"{folder / CARD} is your own; it stays as it is")
