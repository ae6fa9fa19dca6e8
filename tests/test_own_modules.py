"""The owner's modules are found by every process, whatever its environment."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from stillsafe.errors import ConfigurationError
from stillsafe.own_modules import OwnModules, exception_text, folders_of


@pytest.fixture(autouse=True)
def _restore_python_path() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_folders_come_first_and_once(tmp_path: Path) -> None:
    """A module of the first folder hides one of the second; loading twice adds each folder once."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own_module_of_two.py").write_text(f"ORIGIN = {name!r}\n")
    modules = OwnModules((tmp_path / "one", tmp_path / "two"), ("own_module_of_two",))
    for _ in range(2):
        modules.load()
    assert sys.modules["own_module_of_two"].ORIGIN == "one"
    assert sys.path[:2] == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert sys.path.count(str(tmp_path / "one")) == 1


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """A wrong path is an error of the settings, and not an import error later."""
    with pytest.raises(ConfigurationError, match=r"settings\.toml: The folder .*absent in `model\.python_path`"):
        OwnModules((tmp_path / "absent",), (), tmp_path / "settings.toml").load()


@pytest.mark.parametrize(
    ("name", "cause"),
    [("absent_own_module", "ModuleNotFoundError"), ("broken_own_module", "ZeroDivisionError: division by zero")],
)
def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path, name: str, cause: str) -> None:
    """The message has the module, the cause and the setting."""
    (tmp_path / "broken_own_module.py").write_text("1 / 0\n")
    with pytest.raises(ConfigurationError) as failure:
        OwnModules((tmp_path,), (name,)).load()
    assert all(
        words in str(failure.value) for words in (repr(name), cause, "model.modules", "`python_path` of [model]")
    )


def test_folders_of_modules_that_are_not_installed(tmp_path: Path) -> None:
    """A module or a package counts by the folder on Python's path; an installed or built-in one never does."""
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").touch()
    (tmp_path / "own_package" / "inner.py").touch()
    sys.path.insert(0, str(tmp_path))
    __import__("own_package.inner")
    for names in (["own_package"], ["own_package.inner"], ["own_package", "own_package.inner", "numpy", "json", "sys"]):
        assert folders_of(names) == [tmp_path.resolve()]
    assert folders_of(["numpy", "json", "sys", "absent_own_module"]) == []
    (tmp_path / "stillsafe_script.py").touch()
    script = ModuleType("__mp_main__")
    script.__file__ = str(tmp_path / "stillsafe_script.py")
    sys.modules["__mp_main__"] = script
    assert folders_of(["__mp_main__", "__main__"]) == []


def test_an_exception_is_one_line() -> None:
    """Kind and first line; an exception without a message is its kind."""
    assert exception_text(ValueError("one.\ntwo")) == "ValueError: one"
    assert exception_text(KeyError()) == "KeyError"
