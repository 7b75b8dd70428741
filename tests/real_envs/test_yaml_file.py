"""A YAML file that may be anything is read in a moment, or refused in one line."""

import os
from pathlib import Path

import pytest

from real_envs import description, lerobot_body
from real_envs.yaml_file import read_mapping

BOMB = "a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)  # a thousand million zeros
)


def test_a_mapping_is_read_with_its_aliases(tmp_path: Path):
    path = tmp_path / "arm.yaml"
    path.write_text("unit: &unit {radians: [-1, 1]}\naxes: [*unit, *unit]\n")
    assert read_mapping(path) == {"unit": {"radians": [-1, 1]}, "axes": [{"radians": [-1, 1]}] * 2}


@pytest.mark.parametrize("load", [description.load, lerobot_body.load])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB + "joints: *i\naxes: *i\n", "more than 10000 values"),
        ("a: &a [*a]", "contain themselves"),
        ("[" * 600, "too deep"),
        ("{a: " * 600, "too deep"),
        ("[]", "it holds a list, and no mapping"),
        ("", "it holds a NoneType, and no mapping"),
        ("!!python/object/apply:os.abort []", "could not determine a constructor for the tag"),
        ("\0\1", "unacceptable character #x0000"),
        ("a: 1\n" * 5000, "no regular file of at most 20000 bytes"),
    ],
)
def test_what_is_no_description_is_refused_in_one_line(tmp_path: Path, load, text: str, said: str):
    path = tmp_path / "arm.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize("load", [description.load, lerobot_body.load])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_fifo_or_a_folder_in_place_of_a_description_is_refused_at_once(tmp_path: Path, load, make):
    path = tmp_path / "arm.yaml"
    make(path)
    with pytest.raises(ValueError, match=f"^{path}: it is no regular file"):
        load(path)
