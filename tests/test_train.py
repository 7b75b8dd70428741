"""The training program: which rollouts may choose its weights."""

import pytest

import train
from act.distributed import ALONE
from act.run_folder import RunFolder
from act.training.preparation import load_data
from tests.fakes.tiny_run import make


class Recorded:
    """Stands in for the rollouts, which would need a simulator: keeps what they were asked for."""

    def __init__(self, make_env, seeds):
        self.make_env, self.seeds = make_env, seeds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_rollouts_that_choose_weights_are_on_validation_seeds(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train, "ValidationRollouts", Recorded)
    config = make(tmp_path, eval_every=2, eval_rollouts=3)
    spec = load_data(config)[2]
    with train.validation_rollouts(config, spec) as rollouts:
        assert isinstance(rollouts, Recorded)
        assert list(rollouts.seeds) == [1_000_000, 1_000_001, 1_000_002]
        assert rollouts.make_env.keywords == {"cameras": spec.cameras, "image_size": spec.rendered_size}


def test_without_eval_every_nothing_is_rolled_out(tmp_path):
    config = make(tmp_path)
    with train.validation_rollouts(config, load_data(config)[2]) as rollouts:
        assert rollouts is None


def test_a_lerobot_folder_is_imported_before_the_training(tmp_path, monkeypatch: pytest.MonkeyPatch):
    folders = []
    monkeypatch.setattr(train, "open_dataset", lambda folder: tmp_path / f"{folder.name}.episodes")
    monkeypatch.setattr(train, "train", lambda config, run, processes: folders.extend(config.dataset_dir))
    flags = ["--preset", "state", "--task_name", "sim_toy_scripted", "--dataset_dir", "one", "two"]
    assert train.main([*flags, "--run_dir", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert folders == [tmp_path / "one.episodes", tmp_path / "two.episodes"]


def test_a_run_says_where_its_training_episodes_began_also_when_it_is_finished(tmp_path):
    config, run = make(tmp_path, steps=2, val_fraction=0.2), RunFolder(tmp_path / "run")
    train.train(config, run.path, ALONE)
    starts = run.starts()
    assert len(starts) == 4 and all(start == [start[0]] * 7 for start in starts)
    run.starts_file.unlink()
    train.train(config, run.path, ALONE)
    assert run.starts() == starts
