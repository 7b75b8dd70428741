"""Exports a trained policy: `python -m act export RUN` as an ONNX graph, `--format lerobot` as a LeRobot checkpoint."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from act import command_line
from act.evaluation.card import lerobot_model_card
from act.run_folder import RunFolder
from act.serving import export as onnx
from act.serving.onnx_policy import about_path
from act.serving.parity import describe_error


@dataclass(frozen=True)
class Options:
    """What is exported, and as what."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """Folder of the training run."""
    format: Literal["onnx", "lerobot"] = "onnx"
    """onnx: a graph in RUN, which runs without torch; lerobot: a checkpoint for LeRobot, of ACT of preset paper."""
    int8: bool = False
    """To ONNX: use 8 bits in convolutions: faster, slightly different answers (the difference is printed)."""
    dataset_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """To ONNX: demonstrations that scale the 8 bits of --int8; the demonstrations of the run if not given."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: RUN/lerobot)")] = None
    """To LeRobot: new folder of the checkpoint."""

    def check(self) -> None:
        """Raises ValueError for flags without effect and for missing packages."""
        unused: dict[str, str]
        if self.format == "lerobot":
            unused = dict.fromkeys(("int8", "dataset_dir"), "with --format onnx")
        else:
            unused = {"out": "with --format lerobot"} | ({} if self.int8 else {"dataset_dir": "with --int8"})
        command_line.refuse_without_effect(self, Options(self.run), unused)
        if self.format == "onnx":
            onnx.check_installed()


def export_graph(options: Options) -> None:
    """Writes the graph into the run. Errors as those of `act.serving.export`."""
    graph = onnx.export_int8(options.run, options.dataset_dir) if options.int8 else onnx.export(options.run)
    print(f"wrote {graph}; {describe_error(json.loads(about_path(graph).read_text())['error'])}")


def export_lerobot(options: Options) -> None:
    """Writes the checkpoint. Raises ValueError for a policy that LeRobot's ACT cannot be, with the reason."""
    from act.interop.checkpoints.writing import is_cotrained, write_lerobot  # torch takes seconds to import
    from act.policies.base.storage import load_policy

    out, policy = options.out or options.run / "lerobot", load_policy(options.run)
    write_lerobot(policy, out, lerobot_model_card(RunFolder(options.run)))
    if is_cotrained(policy):
        print("left out the head that locates keypoints in random scenes: only the training used it")
    print(f"wrote {out}; LeRobot loads it with --policy.path={out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 exported, 2 wrong input, 130 Ctrl-C."""
    options = command_line.parse(
        Options,
        arguments,
        program="python -m act export",
        description="Exports a trained policy as an ONNX graph, or as a LeRobot checkpoint.",
        example="python -m act export runs/demo --int8",
        page="docs/realtime.md (ONNX), docs/lerobot.md (LeRobot)",
    )

    def work() -> None:
        options.check()
        (export_graph if options.format == "onnx" else export_lerobot)(options)

    return command_line.run("export", work, stopped="files of earlier exports are unchanged")
