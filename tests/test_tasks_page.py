"""The page about the tasks shows every task, its stages as the code has them, and rates that were measured."""

import json
import re
from pathlib import Path

import cv2
import pytest

import sim_envs
from sim_envs.randomize import KINDS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONDITIONS = ("scripted", "human", "scripted_push")


@pytest.mark.parametrize("task", sim_envs.available())
def test_the_page_shows_every_task_with_its_stages_and_a_picture_of_each(task: str):
    stages = ", ".join(sim_envs.load(task).stage_names)
    section = PAGE.partition(f"### `{task}`")[2].partition("\n##")[0]
    assert re.search(rf"Stages:\s+{re.escape(stages)}\.", section), stages
    assert f"![Start, {stages}](task_{task}.jpg)" in section
    image = cv2.imread(str(ROOT / "docs" / f"task_{task}.jpg"))
    assert image is not None, "there is no such picture"
    height, width = image.shape[:2]
    assert width / height == pytest.approx((1 + len(sim_envs.load(task).stage_names)) * 4 / 3)


@pytest.mark.parametrize("task", sim_envs.available())
def test_the_page_and_the_readme_name_the_facts_of_every_task(task: str):
    rules = sim_envs.load(task)
    assert f"| `{task}` | {rules.episode_len} | {', '.join(rules.objects)} |" in PAGE
    row = re.search(rf"^\| `{task}` \|.*\|$", README, re.MULTILINE)
    assert row, "the README's table has the task"
    assert row[0].endswith(f"| {', '.join(rules.stage_names)} |")


@pytest.mark.parametrize("task", sim_envs.available())
def test_the_rates_of_the_experts_are_those_of_the_files(task: str):
    paths = [ROOT / "benchmarks" / "results" / f"experts_{task}_{condition}.json" for condition in CONDITIONS]
    row = re.search(rf"^\| `{task}` \|((?: \d+ \|){{3}}) (\d+) \|$", PAGE, re.MULTILINE)
    assert all(path.exists() for path in paths) == bool(row), "a row needs three files, and three files make a row"
    if row:
        results = [json.loads(path.read_text()) for path in paths]
        assert [int(cell) for cell in row[1].strip("| ").split("|")] == [r["strict_success"] for r in results]
        assert int(row[2]) == round(results[0]["mean_success_t"])
        assert all(r["num"] == 300 for r in results)


def test_the_page_lists_every_kind_of_randomization():
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE, re.MULTILINE) == list(KINDS)
