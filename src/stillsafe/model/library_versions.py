"""Versions of the libraries of a model: those that its file was saved with, and those of this Python.

A pickle of one version of scikit-learn may fail in another, or answer otherwise: scikit-learn promises nothing. Its
estimators write their version into every file, in pickles and in skops files alike.
"""

import bz2
import gzip
import io
import json
import lzma
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from stillsafe.model.parts import estimator_parts

SKLEARN = "scikit-learn"
DISTRIBUTIONS = {"sklearn": SKLEARN}
"""Distributions of packages whose names differ. Those of all others are named like the package."""
SMALLER_DISTRIBUTIONS = {"xgboost": "xgboost-cpu"}
"""Distributions of the same package without support for graphics cards, which have the same versions."""
_VERSION = r"(\d+(?:\.\d+)+(?:(?:a|b|rc|\.post|\.dev)\d+)*)"
_IN_PICKLE = re.compile(rb"_sklearn_version.{1,12}?" + _VERSION.encode(), re.DOTALL)
_IN_SKOPS = re.compile(r'"_sklearn_version":\s*\{[^{}]*"content":\s*"\\"' + _VERSION)
_DECOMPRESSORS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x78", zlib.decompress),
    (b"\x1f\x8b", gzip.decompress),
    (b"BZ", bz2.decompress),
    (b"\xfd7zXZ", lzma.decompress),
    (b"\x5d\x00", lzma.decompress),
)
"""First bytes of the compressed files that joblib writes."""

Versions = Mapping[str, str]
"""Name of a distribution -> its version."""


def running_versions(estimator: Any) -> dict[str, str]:
    """The versions in this Python of every library from which a part of the estimator comes, and of NumPy.

    The owner's own modules have no version and are left out.
    """
    packages = {"numpy", *_packages(estimator)} - {"stillsafe", "builtins", *sys.stdlib_module_names}
    names = sorted({_distribution(package) for package in packages})
    return {name: version for name in names if (version := running_version(name))}


def running_version(distribution: str) -> str | None:
    """The version of a distribution in this Python; None where it is missing."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        smaller = SMALLER_DISTRIBUTIONS.get(distribution)
        return None if smaller is None else running_version(smaller)


def _distribution(package: str) -> str:
    """The distribution of a package: of imblearn it is imbalanced-learn. The package where it is none, or several."""
    if (name := DISTRIBUTIONS.get(package, package)) in SMALLER_DISTRIBUTIONS or running_version(name) is not None:
        return name
    return next(iter(_distributions_with(package)), name)


@cache
def _distributions_with(package: str) -> tuple[str, ...]:
    """The distribution, if there is just one, that installed the package; of the owner's own modules none did.

    We read the folder of the package alone, because all distributions of a Python take seconds.
    """
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None:  # a namespace, which several distributions share
        return ()
    top_levels = {
        each.name: (each.read_text("top_level.txt") or "").split() or _top_levels(each.read_text("RECORD") or "")
        for each in metadata.distributions(path=[str(Path(file).parent.parent)])
    }
    names = [name for name, packages in top_levels.items() if package in packages]
    return tuple(names) if len(names) == 1 else ()


def _top_levels(record: str) -> set[str]:
    """The first part of each path in a list of installed files."""
    return {line.partition("/")[0] for line in record.splitlines()}


def versions_in_file(content: bytes) -> dict[str, str]:
    """The versions that a model file names, by its bytes: nothing of it is loaded. Empty if there are none.

    A file that `with_origin` marked names those of the file from which it was converted.
    """
    if content[:2] != b"PK":
        match = _IN_PICKLE.search(_plain_bytes(content))
        return {SKLEARN: match[1].decode()} if match else {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.comment:
                return {str(name): str(version) for name, version in json.loads(archive.comment).items()}
            text = _IN_SKOPS.search(archive.read("schema.json").decode())
    except (zipfile.BadZipFile, KeyError, ValueError, AttributeError, OSError):
        return {}
    return {SKLEARN: text[1]} if text else {}


def with_origin(content: bytes, versions: Versions) -> bytes:
    """A skops file that also names the versions of the file from which it was converted; skops reads it as before."""
    if not versions:
        return content
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = json.dumps(dict(versions), sort_keys=True).encode()
    return buffer.getvalue()


def changes(old: Versions, new: Versions) -> dict[str, tuple[str, str]]:
    """Distribution -> both versions, for those whose version is known on both sides and differs."""
    return {name: (version, new[name]) for name, version in old.items() if name in new and new[name] != version}


def change_text(differences: Mapping[str, tuple[str, str]]) -> str:
    """Both versions of each distribution: `scikit-learn 1.5.2 (here 1.9.1)`."""
    return ", ".join(f"{name} {one} (here {other})" for name, (one, other) in differences.items())


def install_text(differences: Mapping[str, tuple[str, str]]) -> str:
    """How to get the first version of each distribution."""
    return " ".join(f"{name}=={one}" for name, (one, _) in differences.items())


def origin_sentence(versions: Versions) -> str | None:
    """One sentence if a file was saved with other versions than those of this Python, with the remedy; else None."""
    differences = changes(versions, {name: running_version(name) or "none" for name in versions})
    if not differences:
        return None
    return (
        f"The model was saved with {change_text(differences)}. Such a file may fail, or answer otherwise. "
        f"{remedy(differences)}"
    )


def remedy(differences: Mapping[str, tuple[str, str]]) -> str:
    """What to do about a file of other versions."""
    names = " and ".join(f"{name} {other}" for name, (_, other) in differences.items())
    return f"Install {install_text(differences)} for {sys.executable}, or fit and save the model again with {names}."


def _packages(estimator: Any) -> Iterator[str]:
    """The packages of the classes of an estimator, of its parts and of what these hold."""
    yield _package(estimator)
    for part in estimator_parts(estimator):
        yield _package(part)
        yield from (_package(value) for value in vars(part).values())


def _package(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _plain_bytes(content: bytes) -> bytes:
    """The bytes of a pickle, decompressed where joblib compressed it."""
    for prefix, decompress in _DECOMPRESSORS:
        if content.startswith(prefix):
            try:
                return decompress(content)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
                return content
    return content
