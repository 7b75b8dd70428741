"""What all programs share on the command line: help, errors as one sentence, and one law for flags without effect.

The law: a flag that means nothing beside the others is refused, with what would have worked. Flags of the original
program (github.com/tonyzhaozh/act) are accepted through one table, `ORIGINAL_FLAGS`, and say what became of them.
"""

import dataclasses
import os
import platform
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from io import TextIOWrapper
from typing import Any, TypeVar

import tyro

Options = TypeVar("Options")

# program -> flag of the original -> (number of values it takes, why it is ignored here)
_KNOWN_TO_THE_RUN = "the run folder already says it"
ORIGINAL_FLAGS: dict[str, dict[str, tuple[int, str]]] = {
    "eval.py": {
        "--eval": (0, "this program only evaluates"),
        "--onscreen_render": (0, "rollouts run without a window; --videos records them"),
        **dict.fromkeys(
            ("--policy_class", "--kl_weight", "--chunk_size", "--hidden_dim", "--batch_size", "--dim_feedforward"),
            (1, _KNOWN_TO_THE_RUN),
        ),
        **dict.fromkeys(("--num_epochs", "--lr", "--seed"), (1, _KNOWN_TO_THE_RUN)),
    },
    "record_sim_episodes.py": {"--onscreen_render": (0, "recording runs without a window")},
}


def parse(
    options: type[Options],
    arguments: Sequence[str] | None,
    *,
    program: str,
    description: str,
    example: str,
    page: str,
    default: Options | None = None,
) -> Options:
    """The options of a command line. A wrong flag ends the program with code 2 and a sentence; --help with 0.

    Args:
        options: a frozen dataclass; nested dataclasses become titled groups of the help.
        program: as it is called, "train.py" or "python -m act export".
        description: one sentence; `example` is a command line and `page` a file of docs/, both shown by --help.
    """
    words = drop_original_flags(program, sys.argv[1:] if arguments is None else arguments)
    text = f"{description}\n\nExample: {example}\n\nMore: {page}"
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(options, args=words, prog=program, description=text, use_underscores=True, **given)


def drop_original_flags(program: str, arguments: Sequence[str]) -> list[str]:
    """The arguments without flags that only the original's program had a use for; says on stderr what it ignored."""
    table, kept, words = ORIGINAL_FLAGS.get(program, {}), [], list(arguments)
    while words:
        word = words.pop(0)
        flag, has_value, _ = word.partition("=")
        name = "--" + flag[2:].replace("-", "_") if flag.startswith("--") else flag
        if name not in table:
            kept.append(word)
            continue
        n_values, reason = table[name]
        del words[: 0 if has_value else n_values]
        print(f"{name} is ignored: {reason}", file=sys.stderr)
    return kept


def refuse_without_effect(options: Any, default: Any, has_effect_only: Mapping[str, str]) -> None:
    """Raises ValueError for a flag that was given but means nothing beside the others.

    `has_effect_only` maps names of fields that have no effect now to when they would: {"kl_weight": "with --use_cvae"}.
    A flag counts as given when its value differs from that of `default`.
    """
    for field in dataclasses.fields(options):
        value, when = getattr(options, field.name), has_effect_only.get(field.name)
        if when is not None and value != getattr(default, field.name):
            raise ValueError(f"--{field.name} {_spelled(value)} has an effect only {when}; leave it out")


def run(
    program: str,
    work: Callable[[], int | None],
    stopped: str = "",
    failures: tuple[type[Exception], ...] = (OSError,),
    failure_code: int = 2,
) -> int:
    """Runs the program and returns its exit code: 0 done, 2 wrong input, 130 Ctrl-C; errors are one sentence on stderr.

    A ValueError is wrong input. `failures` are the other exceptions that the program ends with one sentence and
    `failure_code` for; anything else is a fault of ours and keeps its traceback. `stopped` says what happens to
    unfinished work after Ctrl-C. Where nobody reads the output any more (`| head`), the program ends with code 1.
    """
    _print_any_name()
    try:
        check_system()
        return work() or 0
    except ValueError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except failures as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 1
        print(f"{program}: {_sentence(error)}", file=sys.stderr)
        return failure_code
    except KeyboardInterrupt:
        print(f"\n{program}: stopped{'; ' if stopped else ''}{stopped}", file=sys.stderr)
        return 130


def _print_any_name() -> None:
    """Prints bytes of file names that are no text, and letters that a terminal lacks, as \\udcff instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nobody_reads() -> bool:
    """Whether whoever read the output has gone; what is printed from now on goes nowhere."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
    return gone


def _sentence(error: Exception) -> str:
    """What an error says; one of the operating system without its number: "File name too long: PATH"."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return str(error)


def check_system() -> None:
    """Raises ValueError, before anything is loaded, on a system without file locks, which every program needs."""
    if find_spec("fcntl") is None:
        raise ValueError(
            f"this system ({platform.system()}) has no file locks (fcntl); use Linux or macOS, or on Windows WSL 2"
        )


def _spelled(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return str(value)
