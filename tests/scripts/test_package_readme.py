"""The package that an index would get: its page, its files, and that they run without the repository."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from scripts.package_readme import absolute_links

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src"


@pytest.mark.parametrize(("version", "branch"), [("0.2.0", "v0.2.0"), ("0.3.0.dev0", "main")])
def test_links_are_absolute(version: str, branch: str) -> None:
    """Links lead to pages of the version, images to their files; addresses and places on the page stay."""
    text = "![a](docs/a.svg) [b](docs/b.md#c) [d](#e) [f](https://g.org)"
    assert absolute_links(text, "https://r.org/s", version) == (
        f"![a](https://r.org/s/raw/{branch}/docs/a.svg) [b](https://r.org/s/blob/{branch}/docs/b.md#c) "
        "[d](#e) [f](https://g.org)"
    )


def test_the_built_packages_are_whole(tmp_path: Path) -> None:
    """The wheel has the files of the package byte for byte and no other; both pass twine; its demo data can be read."""
    run("hatchling", "build", "-d", str(tmp_path), folder=ROOT)
    (wheel,), (archive,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    run("twine", "check", "--strict", str(wheel), str(archive), folder=tmp_path)
    with zipfile.ZipFile(wheel) as package:
        package.extractall(tmp_path / "extraction")  # noqa: S202 - it was built in the line above
    files = {path.relative_to(PACKAGE): path.read_bytes() for path in source_files(PACKAGE / "stillsafe")}
    extraction = tmp_path / "extraction"
    assert {path.relative_to(extraction): path.read_bytes() for path in source_files(extraction / "stillsafe")} == files
    (about,) = [path for path in extraction.iterdir() if path.name != "stillsafe"]
    text = (about / "METADATA").read_text(encoding="utf-8")
    for line in ("Project-URL: Repository, https://", "Project-URL: Changelog, https://", "License-File: LICENSE"):
        assert f"\n{line}" in text
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert all(link.startswith(("https://", "#")) for link in links)
    assert len(links) > 10
    with tarfile.open(archive) as sources:
        names = [name.partition("/")[2] for name in sources.getnames()]
    assert {"pyproject.toml", "README.md", "LICENSE", "scripts/package_readme.py"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]
    code = "import stillsafe; from stillsafe.demo import read_flights; print(stillsafe.__file__, len(read_flights()))"
    place, count = run("-c", code, folder=extraction).split()
    assert (Path(place).parent, int(count) > 20_000) == (extraction / "stillsafe", True)


def source_files(folder: Path) -> list[Path]:
    """The files of a folder, without what Python compiled."""
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def run(module: str, *words: str, folder: Path) -> str:
    """The output of a module of this Python, or of its `-c`, started in a folder."""
    command = [sys.executable, *(("-c",) if module == "-c" else ("-m", module)), *words]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout
