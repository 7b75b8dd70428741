"""Runs the commands of `python -m act <command> ...`; every command is a module with its own `main(arguments)`."""

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "episodes": ("act.recording.episode_commands", "validate, repair, list or edit recorded episodes"),
    "convert": ("act.interop.convert", "convert episodes to a LeRobot data set, or back"),
    "import_checkpoint": ("act.interop.import_checkpoint", "import a trained ACT of LeRobot or of the original"),
    "pretrain": ("act.training.pretrain", "pretrain a visual backbone on random scenes"),
    "view": ("act.evaluation.view", "show episodes on an HTML page, and whether they are any good"),
    "card": ("act.evaluation.card", "write a README.md beside a run or a data set, for the Hugging Face Hub"),
    "report": ("act.evaluation.report", "put evaluations of one or several runs on one HTML page"),
    "export": ("act.interop.export", "write a trained policy as an ONNX graph or a LeRobot checkpoint"),
    "serve": ("act.serving.server", "answer policy queries over the network"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code, which is 2 for an unknown command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    words[:1] = [word.replace("-", "_") for word in words[:1] if not word.startswith("-")] or words[:1]
    if not words or words[0] not in COMMANDS:
        asked_for_help = words[:1] in (["-h"], ["--help"])
        lines = [f"  {name:17s} {about}" for name, (_, about) in COMMANDS.items()]
        known = "\n".join(["usage: python -m act COMMAND ...", "", *lines, "", "COMMAND --help explains a command."])
        print(known if asked_for_help or not words else f"act: unknown command {words[0]!r}\n{known}", file=sys.stderr)
        return 0 if asked_for_help else 2
    return import_module(COMMANDS[words[0]][0]).main(words[1:])


if __name__ == "__main__":
    sys.exit(main())
