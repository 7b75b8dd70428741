"""Keeps words that only this project used out of its code and its documentation (CONTRIBUTING.md, "Words")."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = ("act", "sim_envs", "real_envs", "benchmarks", "tests")
TEXTS = ("train.py", "eval.py", "record_sim_episodes.py", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md")
# A word with its forms, and what to say instead. benchmarks/LOG.md and benchmarks/results are history and are not read.
RETIRED = {
    r"told": "given, distinguished, conditioned on",
    r"theirs": "expected, existing",
    r"eyes": "visual backbone",
    r"sketch(es|ed|ing|book)?": "unrendered episode",
    r"painters?": "deferred rendering",
    r"crews?": "workers",
    r"hir(e|es|ed|ing)": "start a worker",
    r"upkeep": "repair",
    r"lookahead": "expert labels",
    r"dangers?": "intervention score",
    r"doubt(s|ed|ful)?": "disagreement",
    r"alarmed": "above the threshold",
    r"manners?": "variation",
    r"taught": "trained, trainable",
    r"teach(es|ing|er|ers)?": "train, expert, operator",
    r"tall(y|ies)": "counts, statistics",
    r"subjects": "measurements",
    r"look[ _]once": "precompute features",
    r"alone_in": "lock_folder",
    r"in_turn": "lock_file",
    r"he|him|his": "they (a person)",
}
ALLOWED = r"He et al\."  # the authors of ResNet


def files() -> list[Path]:
    found = [path for place in CODE for path in sorted((ROOT / place).rglob("*.py"))]
    found += [path for text in TEXTS for path in sorted(ROOT.glob(text))]
    return [path for path in found if path != Path(__file__)]


def lines_with(word: str, text: str) -> list[str]:
    """Returns the numbered lines in which the word stands, alone or as a part of an identifier (old_word, OldWord)."""
    alone = re.compile(rf"(?<![A-Za-z0-9])({word})(?![A-Za-z0-9])", re.IGNORECASE)
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(ALLOWED, "", text))
    return [f"{n}: {line.strip()}" for n, line in enumerate(words.split("\n"), 1) if alone.search(line)]


@pytest.mark.parametrize(("word", "instead"), RETIRED.items())
def test_a_retired_word_is_not_used(word: str, instead: str):
    found = [f"{path.relative_to(ROOT)}:{line}" for path in files() for line in lines_with(word, path.read_text())]
    assert not found, f"say {instead} instead:\n" + "\n".join(found)


def test_all_code_and_pages_are_read():
    names = {str(path.relative_to(ROOT)) for path in files()}
    assert {"act/types.py", "sim_envs/robot.py", "benchmarks/table1.py", "train.py", "docs/results.md"} <= names


def test_a_word_is_found_in_prose_and_in_identifiers():
    text = "# It was learned.\nclass LearnedFrames:\nrows_learned = 1\nrelearned = 2\n"
    assert [line[0] for line in lines_with("learned", text)] == ["1", "2", "3"]
    assert lines_with("he|his", "He et al. 2016: the head, this and then") == []
