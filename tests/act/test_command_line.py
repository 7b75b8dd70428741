"""What all programs share on the command line: help, errors in one sentence, flags without effect, original flags."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from act import command_line

ROOT = Path(command_line.__file__).parent.parent


@dataclass(frozen=True)
class Toy:
    steps: int = 10
    """Optimizer updates."""
    cameras: tuple[str, ...] = ("top",)
    """Cameras the policy looks through."""


def parse(*words: str, program: str = "toy.py") -> Toy:
    example, page = "python toy.py --steps 3", "docs/toy.md"
    return command_line.parse(Toy, words, program=program, description="A toy.", example=example, page=page)


def test_help_shows_an_example_and_a_page(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "python toy.py --steps 3" in shown and "docs/toy.md" in shown and "Optimizer updates." in shown


def test_a_wrong_flag_ends_with_code_2(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        parse("--stepps", "3")
    assert ended.value.code == 2 and "steps" in capsys.readouterr().err


def test_flags_of_the_original_are_ignored_with_a_word(capsys: pytest.CaptureFixture[str]):
    words = ("--policy_class", "ACT", "--kl-weight=10", "--eval", "--steps", "3")
    assert parse(*words, program="eval.py").steps == 3
    warnings = capsys.readouterr().err
    assert all(f"--{name} is ignored" in warnings for name in ("policy_class", "kl_weight", "eval"))


def test_a_flag_without_effect_is_refused_and_names_what_would_work():
    with pytest.raises(ValueError, match=r"--steps 3 has an effect only with --train; leave it out"):
        command_line.refuse_without_effect(Toy(steps=3), Toy(), {"steps": "with --train"})
    with pytest.raises(ValueError, match=r"--cameras a b has an effect only with --use_images"):
        command_line.refuse_without_effect(Toy(cameras=("a", "b")), Toy(), {"cameras": "with --use_images"})
    command_line.refuse_without_effect(Toy(cameras=("a", "b")), Toy(), {"steps": "with --train"})


def test_errors_are_one_sentence_and_an_exit_code(capsys: pytest.CaptureFixture[str]):
    def fail(error: BaseException) -> int:
        def work() -> None:
            raise error

        return command_line.run("toy", work, stopped="the same command continues")

    assert (fail(ValueError("wrong")), fail(OSError("no disk")), fail(KeyboardInterrupt())) == (2, 2, 130)
    assert capsys.readouterr().err == "toy: wrong\ntoy: no disk\n\ntoy: stopped; the same command continues\n"
    assert command_line.run("toy", lambda: None) == 0 and command_line.run("toy", lambda: 1) == 1
    with pytest.raises(TypeError):
        fail(TypeError("a fault of ours"))


def test_an_error_of_the_system_is_its_sentence_and_the_path_without_a_number(tmp_path, capsys):
    path = tmp_path / ("x" * 300)
    assert command_line.run("toy", lambda: path.touch()) == 2
    assert capsys.readouterr().err == f"toy: File name too long: {path}\n"


def run_toy(work: str, ends: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program whose work is an expression, in a shell; `ends` is what follows it there."""
    code = f"import sys, os; from act.command_line import run; sys.exit(run('toy', lambda: {work}))"
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -c {shlex.quote(code)} {ends}"
    given = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=given, cwd=ROOT)


def test_a_name_that_is_no_text_and_letters_that_a_terminal_lacks_are_printed():
    done = run_toy("print(os.fsdecode(b'da\\xff'), '\u00e9')", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "da\\udcff \\xe9\n", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_program_whose_output_nobody_reads_any_more_ends_without_a_word(unbuffered: str):
    done = run_toy("[print(i) for i in range(10**5)] and 0", "| head -n 1", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stdout, done.stderr) == (1, "0\n", "")


def test_a_system_without_file_locks_is_refused_at_once_and_named(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "find_spec", lambda name: None)
    monkeypatch.setattr(command_line.platform, "system", lambda: "Windows")
    assert command_line.run("train", lambda: pytest.fail("the work has begun")) == 2
    said = "train: this system (Windows) has no file locks (fcntl); use Linux or macOS, or on Windows WSL 2\n"
    assert capsys.readouterr().err == said
