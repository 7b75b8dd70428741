"""The policy of docs/adding_a_policy.md keeps the contract, trains, and is loaded and evaluated by its name."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import train
from act import policies
from act.policies.base.storage import load_policy
from benchmarks import table1
from benchmarks.grid.cells import Options, plan
from tests.act.data.test_dataset import write
from tests.act.policies import test_policies as contract
from tests.fakes import tiny_policies

PAGE = Path(__file__).parents[3] / "docs" / "adding_a_policy.md"
NAME = "cosines"


@pytest.fixture(autouse=True)
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    source, entry = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / f"{NAME}.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(policies, "__path__", [*policies.__path__, str(tmp_path)])
    names = (*policies.available(), NAME)
    monkeypatch.setattr(policies, "available", lambda: names)
    module = policies.load(NAME)
    tiny = eval(f"{{{entry}}}", {NAME: module, "STATE": tiny_policies.STATE})
    monkeypatch.setitem(tiny_policies.TINY, NAME, tiny[NAME])
    yield
    del sys.modules[module.__name__]


@pytest.mark.parametrize("case", [(NAME, 0, 1), (NAME, 0, 4), (NAME, 1, 1)])
def test_it_keeps_the_contract(case: tuple[str, int, int]):
    contract.test_the_loss_falls_on_one_batch_and_every_parameter_gets_a_gradient(*case)
    contract.test_padded_actions_do_not_change_the_loss(*case)
    contract.test_the_loss_is_the_same_in_train_and_eval_mode(*case)
    contract.test_predict_chunk_is_physical_and_repeatable(*case)
    contract.test_a_batch_of_two_is_two_batches_of_one(*case)
    contract.test_a_saved_policy_answers_the_same(*case)


def test_it_trains_by_its_name_with_its_flags_and_is_loaded_again(tmp_path: Path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", lengths=(12, 9, 11, 10, 12))
    flags = ["--preset", "state", "--policy_class", NAME, "--task_name", "sim_toy_scripted", "--steps", "3"]
    folders = ["--dataset_dir", str(tmp_path / "data"), "--run_dir", str(tmp_path / "run")]
    assert train.main([*flags, *folders, "--n_cosines", "2"]) == 0
    policy = load_policy(tmp_path / "run")
    assert policy.config.n_cosines == 2 and policy.chunk_size == 60
    with pytest.raises(SystemExit, match="2"):
        train.main([*flags, *folders, "--n_cosines", "61"])


def test_its_line_is_a_method_of_table_1():
    (line,) = re.findall(r"`(Method\(.*?\))`", PAGE.read_text(encoding="utf-8"))
    method = eval(line, dict(vars(table1)))
    cells = plan((*table1.METHODS, method), Options(policies=(NAME,)))
    assert {cell.method for cell in cells} == {method} and len(cells) == 2 * 2 * 3, "tasks, styles, training seeds"
