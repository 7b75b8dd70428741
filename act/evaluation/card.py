"""Writes README.md beside a run or a data set: what it is, how it was made, how well it works, and its licence.

    python -m act card runs/demo data/cube

The head of the file is what the Hugging Face Hub reads, so that `hf upload` of the folder is all that is missing
(docs/sharing.md). eval.py and record_sim_episodes.py write the cards, too.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from act import command_line
from act.data.editing.copying import edits_of
from act.data.episodes import Episode, find_episodes, read_episode
from act.evaluation.results import Evaluation, load
from act.files import whole_file
from act.run_folder import RunFolder
from act.types import CONTROL_TIMESTEP

CARD = "README.md"
MARK = "<!-- Written by act. Delete this line to keep your own changes: the file is then never written over. -->"
SIMULATED = ("scripted", "human")  # sources whose episodes were made by programs alone
PROJECT = "ACT in simulation (act-aloha)"
LICENCE = "MIT, like the program that made it. `python -m act card FOLDER --licence apache-2.0` names another one."
USAGE = (
    "hf download USER/NAME --local-dir runs/downloaded",
    "python eval.py runs/downloaded --num_rollouts 200   # the simulator, with a report",
    "python -m act serve runs/downloaded                 # answers a robot over the network",
)
_NAME = r"[a-z0-9][a-z0-9.-]*"  # of a licence
_LICENSED = re.compile(rf'^license: "({_NAME})"$', re.MULTILINE)
OPERATORS = "The people who drove decide. Write their choice here and above before you share the episodes."


# -------------------------------------------------------------------------------------------------------------- a run
def write_model_card(run: RunFolder, licence: str | None = None) -> Path | None:
    """Writes RUN/README.md and returns its path; None where somebody has written their own.

    licence: the Hub's name of it, e.g. "apache-2.0"; None keeps that of an earlier card, or is MIT.

    Raises ValueError for a folder without a trained policy.
    """
    path = run.path / CARD
    return _write(path, model_card(run, licence or earlier_licence(path) or "mit"))


def earlier_licence(path: Path) -> str | None:
    """Returns the licence that a card names; None where there is no card, or none with a licence."""
    found = _LICENSED.search(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else None
    return found[1] if found else None


def _licence_text(licence: str) -> str:
    return LICENCE if licence == "mit" else f"{licence}, chosen by those who share it."


def model_card(run: RunFolder, licence: str = "mit") -> str:
    """The card of a run as Markdown. Only evaluations of the weights that the folder holds now are on it."""
    about, evaluations = run.about(), current_evaluations(run)
    train = about.get("train", {})
    task, policy = train.get("task_name", "an unknown task"), str(about.get("policy", "policy"))
    name = run.path.resolve().name
    tags = ["robotics", "imitation-learning", "aloha", policy]
    head = {"license": licence, "pipeline_tag": "robotics", "library_name": "act-aloha", "tags": tags}
    if evaluations:
        head["model-index"] = [{"name": name, "results": [_index_entry(evaluation) for evaluation in evaluations]}]
    lines = [f"# {name}", "", f"A policy ({policy}) for two robot arms, trained on `{task}` by {PROJECT}.", ""]
    lines += ["## Results", "", *_results(evaluations), "", "## The policy", "", *_policy_rows(about), ""]
    lines += ["## Use", "", "```", *USAGE, "```", ""]
    lines += ["## Limits", "", *_limits(about), "", "## Licence", "", _licence_text(licence)]
    return _card(head, lines)


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
    return _table(facts)


def _limits(about: Mapping[str, Any]) -> list[str]:
    lines = [
        "The policy has been trained and evaluated in simulation only, with the objects and the table of one task."
    ]
    if about.get("spec", {}).get("env_state_dim"):
        lines.append("It needs the poses of the objects, which only a simulator knows exactly.")
    lines.append("On real arms it needs limits and somebody at the emergency stop.")
    return lines


# --------------------------------------------------------------------------------------------------------- a data set
def write_dataset_card(directory: Path, licence: str | None = None) -> Path | None:
    """Writes DIR/README.md and returns its path; None where somebody has written their own. `licence` as for runs.

    Raises ValueError for a folder without episodes, and for an episode that cannot be read.
    """
    paths = find_episodes(directory)
    if not paths:
        raise ValueError(
            f"{directory} has neither policy.json nor episode_<i>.hdf5; give a run or a folder of episodes"
        )
    path, episodes = directory / CARD, [read_episode(path) for path in paths]
    return _write(path, dataset_card(directory.resolve().name, episodes, licence or earlier_licence(path)))


def dataset_card(name: str, episodes: Sequence[Episode], licence: str | None = None) -> str:
    """The card of a data set as Markdown. Without a licence it is MIT if programs alone made it, otherwise "other"."""
    sources = _different(episodes, "source")
    ours = all(source in SIMULATED for source in sources) and all(e.attrs.get("sim") for e in episodes)
    task = ", ".join(_different(episodes, "task_name"))
    tags = ["robotics", "imitation-learning", "aloha", *_different(episodes, "task_name")]
    licence = licence or ("mit" if ours else "other")
    head = {"license": licence, "task_categories": ["robotics"], "pretty_name": name, "tags": tags}
    where = "in simulation" if all(episode.attrs.get("sim") for episode in episodes) else "on robots"
    lines = [f"# {name}", "", f"{len(episodes)} episodes of two robot arms, task `{task}`, {where}, by {PROJECT}.", ""]
    lines += ["## The episodes", "", *_table(_facts(episodes, sources)), "", "## Format", ""]
    lines += [
        "One HDF5 file per episode in ALOHA's layout: joints in radians, grippers from 0 (closed) to 1 (open), 50 Hz"
    ]
    lines += [
        "unless the files say otherwise. The JPEGs were written by OpenCV from RGB arrays, so other programs must"
    ]
    lines += ["swap red and blue (attribute `jpeg_colors`).", "", "```", "hf download USER/NAME --repo-type dataset \\"]
    lines += ["    --local-dir data/downloaded", "python -m act view data/downloaded       # a page about the episodes"]
    lines += ["python -m act convert data/downloaded lerobot/downloaded   # as a LeRobot data set", "```", ""]
    return _card(head, [*lines, "## Licence", "", OPERATORS if licence == "other" else _licence_text(licence)])


def _facts(episodes: Sequence[Episode], sources: Sequence[str]) -> dict[str, Any]:
    steps = [float(e.attrs.get("control_timestep", CONTROL_TIMESTEP)) for e in episodes]
    seconds = sum(len(e) * step for e, step in zip(episodes, steps, strict=True))
    known = [e.attrs["strict_success"] for e in episodes if "strict_success" in e.attrs]
    size = episodes[0].image_size
    seeds = [e.attrs["seed"] for e in episodes if "seed" in e.attrs]
    edits = sorted({str(edit.get("command")) for e in episodes for edit in edits_of(e.attrs)})
    return {
        "episodes": f"{len(episodes)}, {sum(map(len, episodes))} control steps, {seconds / 60:.1f} min",
        "who drove": ", ".join(sources),
        "cameras": f"{' '.join(episodes[0].cameras)} at {size[0]}x{size[1]}" if size else "none",
        "strict success": f"{sum(map(bool, known))} of {len(known)}" if known else "not said",
        "seeds": f"{min(seeds)} to {max(seeds)}" if seeds else "not said",
        "edited with": ", ".join(edits) or "nothing",
        "versions": ", ".join(f"{k} {v}" for k, v in (episodes[0].attrs.get("versions") or {}).items()) or "not said",
    }


def _different(episodes: Sequence[Episode], attribute: str) -> list[str]:
    return list(dict.fromkeys(str(episode.attrs.get(attribute, "unknown")) for episode in episodes))


# ------------------------------------------------------------------------------------------------------------ writing
def _table(facts: Mapping[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in facts.items())]


def _cell(value: Any) -> str:
    """Text that cannot leave its cell, whatever a file says."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def _card(head: Mapping[str, Any], lines: Sequence[str]) -> str:
    front = [f"{key}: {json.dumps(value)}" for key, value in head.items()]  # JSON is YAML
    return "\n".join(["---", *front, "---", MARK, *lines]) + "\n"


def _write(path: Path, card: str) -> Path | None:
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    with whole_file(path) as temporary:
        temporary.write_text(card, encoding="utf-8")
    return path


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
    if options.licence is not None and not re.fullmatch(_NAME, options.licence):
        raise ValueError(f"--licence {options.licence}: give the Hub's name, small letters and digits, e.g. apache-2.0")
    for folder in options.folders:
        run = RunFolder(folder)
        is_run = (folder / "policy.json").exists()
        if not is_run and not find_episodes(folder):
            raise ValueError(f"{folder} has neither policy.json nor episode_<i>.hdf5; give a run or a data set")
        path = write_model_card(run, options.licence) if is_run else write_dataset_card(folder, options.licence)
        print(f"wrote {path}" if path else f"{folder / CARD} is your own; it stays as it is")
