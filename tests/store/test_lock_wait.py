"""Who waits for a lock gets it when the other lets go, keeps it for the block, and is told when nobody does."""

import threading
import time
from pathlib import Path

import pytest

from stillsafe.store.disk import try_lock_file
from stillsafe.store.lock_wait import await_lock


def test_a_lock_is_owned_as_soon_as_the_other_lets_go(tmp_path: Path) -> None:
    """The wait ends with the other's block, and the lock is then held: a third is refused."""
    path, held = tmp_path / "a.lock", threading.Event()

    def hold() -> None:
        with try_lock_file(path):
            held.set()
            time.sleep(0.3)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    with await_lock(lambda: try_lock_file(path), 20.0) as owns_lock, try_lock_file(path) as third:
        assert (owns_lock, third) == (True, False)
    other.join()
    with try_lock_file(path) as last:
        assert last


def test_a_lock_that_is_never_free_is_not_owned(tmp_path: Path) -> None:
    """Then the block runs without it and knows; an error in the block comes out unchanged."""
    path = tmp_path / "a.lock"
    with try_lock_file(path):
        with await_lock(lambda: try_lock_file(path), 0.1) as owns_lock:
            assert not owns_lock
        with pytest.raises(ZeroDivisionError), await_lock(lambda: try_lock_file(path), 0.0):
            raise ZeroDivisionError
