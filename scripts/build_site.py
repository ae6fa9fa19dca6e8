"""Build the site of the documentation: `python -m scripts.build_site [FOLDER]`, by default `.cache/site`.

The pages are those of the repository. A link that leaves them leads to the repository's own site. Zensical builds
strictly: a link without a target ends the build with an error.
"""

import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEFAULT_FOLDER = ROOT / ".cache" / "site"
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}
"""Pages beside `docs/` -> their names on the site."""
DECISIONS = "decisions/index.md"
_LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^```(\w+)[^\n]*$", re.MULTILINE)


def write_pages(folder: Path) -> None:
    """Write the pages and pictures of the site below a folder, with links that hold there."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    places = {f"docs/{path.relative_to(folder)}": str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    places |= ROOT_PAGES | {"docs/decisions": DECISIONS}
    for name, place in ROOT_PAGES.items():
        (folder / place).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    sources = {place: name for name, place in places.items()}
    for page in folder.rglob("*.md"):
        place = str(page.relative_to(folder))
        text = page.read_text(encoding="utf-8")
        page.write_text(page_text(text, sources[place], place, places), encoding="utf-8")
    (folder / DECISIONS).write_text(decision_list(folder / "decisions"), encoding="utf-8")


def page_text(text: str, source: str, place: str, places: dict[str, str]) -> str:
    """A page as the site needs it.

    Args:
        text: Markdown.
        source: its path in the repository.
        place: its path on the site.
        places: path in the repository -> path on the site, of everything that is on the site.
    """
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        anchor = match[2] or ""
        if target in places:
            return f"]({posixpath.relpath(places[target], posixpath.dirname(place) or '.')}{anchor})"
        return f"]({repository}/blob/main/{target}{anchor})"

    return _FENCE.sub(r"```\1", _LINK.sub(link, text))


def decision_list(folder: Path) -> str:
    """The page that lists the notes of decisions."""
    lines = ["# Decisions", "", "Why it is built this way: what was weighed and rejected.", ""]
    for page in sorted(folder.glob("[0-9]*.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"- [{title}]({page.name})")
    return "\n".join(lines) + "\n"


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site in `folder/site`; the process that did has its output and exit code."""
    write_pages(folder / "pages")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.rmtree(folder / "site", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)  # noqa: S603 - the line above


def main() -> None:
    """Build, and print where the site is."""
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else DEFAULT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    process = build(folder)
    if process.returncode:
        sys.exit(process.stdout + process.stderr)
    sys.stdout.write(f"{folder / 'site' / 'index.html'}\n")


if __name__ == "__main__":
    main()
