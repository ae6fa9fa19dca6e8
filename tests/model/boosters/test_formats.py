"""The own formats of the libraries are recognised by content, parsed without code, and refused in a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adoption import adopt
from stillsafe.model.boosters.formats import FILE_NAMES, HEAD, file_name, native_format, parse_native
from tests.model.boosters.tables import binary, cat, extreme, homes, light, numbers

TABLE = homes()
ENDINGS = ["txt", "json", "ubj", "cbm"]


def saved_file(ending: str, folder: Path) -> tuple[Any, bytes]:
    """A fitted classifier, and the file that its library's own `save_model` writes."""
    estimator = {"txt": light(), "cbm": cat()}.get(ending, extreme()).fit(numbers(TABLE), binary(TABLE))
    file = folder / f"model.{ending}"
    (estimator.booster_ if ending == "txt" else estimator).save_model(str(file))
    return estimator, file.read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_of_the_library_is_recognised_and_answers_alike(ending: str, tmp_path: Path) -> None:
    """The format is known by the first bytes, the file keeps its ending, and the answers are the library's own."""
    estimator, content = saved_file(ending, tmp_path)
    kind = native_format(content[:HEAD])
    assert kind == {"txt": "lightgbm", "cbm": "catboost"}.get(ending, "xgboost")
    assert file_name(kind, content) == f"model.{ending}"
    assert file_name(kind, content) in FILE_NAMES
    model = parse_native(content, tmp_path, kind)
    assert np.array_equal(model.predict_proba(numbers(TABLE)), estimator.predict_proba(numbers(TABLE)))
    assert file_name(kind, adopt(estimator).native_content()) in FILE_NAMES


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"\x80\x05", b"", b"{}", b'{"oblivious_trees": []}', b"trees\n"])
def test_other_files_are_none_of_these(head: bytes) -> None:
    """Archives, pickles, nothing, and other JSON are no booster's file; skops and joblib keep their names."""
    assert native_format(head) is None
    assert file_name("skops", head) == "model.skops"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_damaged_file_is_a_sentence(ending: str, tmp_path: Path) -> None:
    """A file that was cut off is refused with its name, the library, its version and the remedy."""
    _, content = saved_file(ending, tmp_path)
    kind = native_format(content[:HEAD])
    assert kind is not None
    with pytest.raises(ModelError, match=rf"cut\.{ending}.*no model that {kind} \d.*save_model"):
        parse_native(content[: len(content) // 3], tmp_path / f"cut.{ending}", kind)


def test_a_damaged_tree_does_not_end_the_process(tmp_path: Path) -> None:
    """LightGBM reads trees in threads that abort at a damaged one; read one by one, they are refused in a sentence."""
    _, content = saved_file("txt", tmp_path)
    damaged_content = content.replace(b"left_child=", b"left_sibling=", 3)
    with pytest.raises(ModelError, match="no model that lightgbm"):
        parse_native(damaged_content, tmp_path / "model.txt", "lightgbm")
