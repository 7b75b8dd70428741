"""Files are written whole or not at all, and a folder is locked for one process at a time."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from act.files import lock_file, lock_folder, whole_file, write_json


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path: Path):
    path = tmp_path / "new" / "values.json"
    write_json(path, {"steps": 3})
    with pytest.raises(RuntimeError, match="half way"), whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert json.loads(path.read_text()) == {"steps": 3}
    assert list(path.parent.iterdir()) == [path]


def test_a_written_file_has_ordinary_permissions(tmp_path: Path):
    with whole_file(tmp_path / "private") as temporary:
        temporary.chmod(0o600)
    (tmp_path / "ordinary").touch()
    assert (tmp_path / "private").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_locked_folder_is_refused_and_free_again_afterwards(tmp_path: Path):
    sentence = f"{tmp_path} is being trained by another process; wait, or choose another --ckpt_dir"
    with lock_folder(tmp_path, "trained", "--ckpt_dir"):
        with pytest.raises(ValueError) as refused, lock_folder(tmp_path, "trained", "--ckpt_dir"):
            pass
        assert str(refused.value) == sentence
    with lock_folder(tmp_path, "trained", "--ckpt_dir"):
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("precious")])
def test_a_lock_that_is_no_regular_file_is_refused_at_once_and_what_a_link_names_is_kept(
    tmp_path: Path, make: Callable[[Path], None]
):
    (tmp_path / "precious").write_text("precious")
    locks = {".lock": lock_folder(tmp_path, "trained", "--run_dir"), ".cache.lock": lock_file(tmp_path / "cache")}
    for name, lock in locks.items():
        path = tmp_path / name
        make(path)
        with pytest.raises(ValueError, match=rf"{path} cannot be locked, .* no regular file; remove it"), lock:
            pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_file_or_a_broken_link_in_place_of_a_folder_is_refused_by_name(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for folder in (tmp_path / "file", tmp_path / "loop", tmp_path / "file" / "below"):
        with pytest.raises(ValueError) as refused, lock_folder(folder, "trained", "--run_dir"):
            pass
        said = f"{folder} is no folder: a file or a broken link is in its place or above it; choose another --run_dir"
        assert str(refused.value) == said
