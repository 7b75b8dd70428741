"""The parts of which cards consist: their head for the Hugging Face Hub, tables, the licence, and the file itself."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from act.files import whole_file

CARD = "README.md"
MARK = "<!-- Written by act. Delete this line to keep your own changes: the file is then never written over. -->"
PROJECT = "ACT in simulation (act-aloha)"
LICENCE = "MIT, like the program that made it. `python -m act card FOLDER --licence apache-2.0` names another one."
LICENCE_NAME = r"[a-z0-9][a-z0-9.-]*"
_LICENSED = re.compile(rf'^license: "({LICENCE_NAME})"$', re.MULTILINE)


def earlier_licence(path: Path) -> str | None:
    """Returns the licence that a card names; None where there is no card, or none with a licence."""
    found = _LICENSED.search(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else None
    return found[1] if found else None


def licence_text(licence: str) -> str:
    """Returns the sentence about a licence."""
    return LICENCE if licence == "mit" else f"{licence}, chosen by those who share it."


def table(facts: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a table of facts."""
    return ["| | |", "|---|---|", *(f"| {name} | {cell(value)} |" for name, value in facts.items())]


def cell(value: Any) -> str:
    """Text that cannot leave its cell, whatever a file says."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def card(head: Mapping[str, Any], lines: Sequence[str]) -> str:
    """Returns a card: its head between two lines `---`, then its lines."""
    front = [f"{key}: {json.dumps(value)}" for key, value in head.items()]  # JSON is YAML
    return "\n".join(["---", *front, "---", MARK, *lines]) + "\n"


def write(path: Path, text: str) -> Path | None:
    """Writes a card and returns its path; None where somebody has written their own."""
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
