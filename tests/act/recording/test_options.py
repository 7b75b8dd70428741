"""The one law of the options: a flag without effect beside the others is refused, with what would have worked."""

import dataclasses
from pathlib import Path

import pytest
import tyro

from act.recording.options import HAS_EFFECT, Options

ALWAYS = {"task_name", "dataset_dir", "seed", "quality", "random_scenes"}
OTHER_VALUES = {  # of every flag, not its default
    "task_name": "sim_transfer_cube_human",
    "seed": "3",
    "cameras": "angle",
    "image_size": "24 32",
    "quality": "pretty",
    "raw": None,
    "jpeg_quality": "50",
    "keep_failures": None,
    "dart_noise": "0.0025",
    "spread": "100",
    "randomize": "light",
    "dataset_dir": "somewhere",
    "num_episodes": "3",
    "workers": "77",
    "ray": "auto",
    "agent": "hg_dagger",
    "random_scenes": "3",
    "leaders": "a.yaml b.yaml",
    "policy": "RUN",
    "round": "2",
    "beta_schedule": "power:0.5",
    "label_every": "7",
    "to_the_end": None,
    "n_action_steps": "2",
    "ensemble_m": "0.01",
    "gate": "ensemble",
    "take_over": "99.0",
    "hand_back": "0.01",
    "host": "0.0.0.0",
    "port": "7",
    "token": "secret123456",
    "gamepad": "none",
}


@pytest.fixture(autouse=True)
def any_run_is_of_this_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("act.run_folder.RunFolder.task_name", lambda run: "sim_transfer_cube_scripted")


def parse(words: str) -> Options:
    return tyro.cli(Options, args=words.split(), use_underscores=True)


def flag(name: str) -> str:
    value = OTHER_VALUES[name]
    return f"--{name}" + (f" {value}" if value is not None else "")


def case(name: str) -> str:
    """A command line of this case of `HAS_EFFECT`."""
    words = name.replace(" N", " 5")
    return words if "dagger" not in words else f"{words} --policy RUN"


def test_every_flag_is_in_the_table() -> None:
    groups = [Options(), Options().recording, Options().dagger, Options().page]
    names = {field.name for group in groups for field in dataclasses.fields(group)} - {"recording", "dagger", "page"}
    assert names == set(OTHER_VALUES) == ALWAYS | {name for effects in HAS_EFFECT.values() for name in effects}


@pytest.mark.parametrize("words", HAS_EFFECT)
def test_flags_with_an_effect_are_taken_and_all_others_refused(words: str) -> None:
    given = ("agent", "policy", "random_scenes")  # the case itself
    for name in set(OTHER_VALUES) - set(given):
        options = parse(f"{case(words)} {flag(name)}")
        if name in HAS_EFFECT[words] or name in ALWAYS:
            options.check()
        else:
            with pytest.raises(ValueError, match=rf"--{name} .*has an effect only with.*; leave it out"):
                options.check()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dart_noise 0.01 --agent human", "--dart_noise 0.01 has an effect only with --agent expert; leave it out"),
        ("--beta_schedule foo", "--beta_schedule foo has an effect only with --agent dagger"),
        ("--take_over 99", "--take_over 99.0 has an effect only with --agent hg_dagger"),
        ("--port 7", "only with --agent human or --agent human --policy RUN"),
        ("--round 2 --agent human", "only with --agent human --policy RUN or --agent dagger or --agent hg_dagger"),
        ("--policy RUN", "--policy RUN has an effect only with --agent human"),
        ("--agent dagger --policy RUN --gate ensemble", "only with --agent hg_dagger"),
        ("--agent hg_dagger --policy RUN --label_every 3", "only with --agent dagger"),
        ("--agent dagger --policy RUN --cameras top", "only with --agent expert or --agent human or --agent leader"),
        ("--ray local --random_scenes 3", "--ray local has an effect only without --random_scenes"),
        ("--agent human --random_scenes 3", "--agent human has an effect only without --random_scenes"),
        ("--raw --jpeg_quality 50", "--jpeg_quality 50 has an effect only without --raw"),
        ("--ray auto --workers 77", "--workers 77 has an effect only without --ray"),
        ("--cameras --image_size 24 32", "--image_size 24 32 has an effect only with at least one camera"),
        ("--agent dagger", "--agent dagger needs --policy RUN"),
        ("--agent dagger --policy a b", "--policy a b: more than one run has an effect only with --agent hg_dagger"),
        ("--cameras top top", "--cameras top top: name every camera once"),
        ("--num_episodes 0", "--num_episodes 0 --workers"),
        ("--workers 0", "--workers 0: both must be at least 1"),
        ("--random_scenes -3", "--random_scenes -3: give a number of scenes and at least one camera"),
        ("--random_scenes 3 --cameras", "--random_scenes 3: give a number of scenes and at least one camera"),
        ("--seed 999999 --num_episodes 2", "--seed 999999"),
        ("--agent human --port 99999", "--port 99999: must be 0"),
    ],
)
def test_wrong_flags_are_answered_with_what_would_have_worked(words: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse(words).check()
    assert message in str(refused.value)


def test_a_file_is_no_folder_for_episodes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file; give a folder"):
        parse(f"--dataset_dir {tmp_path / 'file'}").check()


def test_episodes_go_to_a_folder_of_their_task_and_round() -> None:
    assert parse("--task_name sim_insertion_human").directory == Path("data/sim_insertion_human")
    round_ = parse("--agent dagger --policy RUN --round 2")
    assert round_.directory == Path("data/sim_transfer_cube_scripted_dagger_round2")
    assert parse("--dataset_dir here").directory == Path("here")
