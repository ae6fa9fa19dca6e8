"""Files on the disk and lock files: one holder at a time, free again when it ends."""

from pathlib import Path

import pytest

from stillsafe.errors import StoreError
from stillsafe.store.disk import sync, try_lock_file


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """The second holder gets False at once, and True after the first has released the file."""
    path = tmp_path / "drain.lock"
    with try_lock_file(path) as first, try_lock_file(path) as second:
        assert (first, second) == (True, False)
    with try_lock_file(path) as third:
        assert third


def test_a_failing_block_releases_the_lock(tmp_path: Path) -> None:
    """The error of the block reaches the caller unchanged, also an OSError."""
    path = tmp_path / "drain.lock"
    with pytest.raises(OSError, match="full"), try_lock_file(path):
        raise OSError("full")
    with try_lock_file(path) as owns_lock:
        assert owns_lock


def test_a_lock_file_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    """The message names the file."""
    with (
        pytest.raises(StoreError, match=r"^The lock file a\.lock cannot be opened: "),
        try_lock_file(tmp_path / "nowhere" / "a.lock"),
    ):
        pytest.fail("there is nothing to lock")


def test_files_and_folders_are_synced(tmp_path: Path) -> None:
    """A missing path is an OSError; nothing is changed."""
    (tmp_path / "file").write_text("text")
    sync(tmp_path / "file")
    sync(tmp_path)
    assert (tmp_path / "file").read_text() == "text"
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "nowhere")
