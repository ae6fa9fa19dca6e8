"""The site builds strictly from the repository's pages, loads nothing from elsewhere, and its search finds errors."""

import html
import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from scripts.build_site import ROOT, build, page_text

from tests.cli.commands import Command

MOST_RESULTS = 3
FAILURES: dict[str, tuple[str, str]] = {
    "status --config nowhere.toml": ("There is no such file", ""),
    "status": ("There is no database", "lose"),
    "replay": ("The database has no tables", "empty"),
    "check --config wrong.toml": ("must be 'enforce' or 'observe'", ""),
    "monitor --try --config swapped.toml": ("Its SHA-256 is", ""),
    "monitor --try --config modelless.toml": ("The model cannot be read", ""),
    "init --model model.skops --sample sample.csv --out .": ("is a service folder already", ""),
    "monitor --now 2026-01-01": ("runs go forward in time", "run"),
    "monitor --now 2099-01-01": ("is ahead of this machine's clock", ""),
    "baseline activate nonsense": ("There is no baseline", ""),
    "baseline create": ("The log holds", ""),
    "release --reason x": ("Nothing is held", ""),
    "hold --reason again": ("Held already by", "hold"),
    "incidents show nonsense": ("There is no incident", ""),
    "windows show 77": ("There is no run", ""),
    "serve --host 0.0.0.0 --port 0": ("Other machines can reach", ""),
    "backtest nowhere.csv": ("The history cannot be read", ""),
    "erase --id order-1 --reason asked": ("Nothing was erased", ""),
    "predictions show nonsense": ("The log has no such prediction", ""),
    "key revoke nobody": ("There is no valid key", ""),
    "alerts test": ("There is no such receiver", ""),
}
"""A command that fails -> the heading on the page of troubleshooting, and what happens before it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once."""
    folder = tmp_path_factory.mktemp("site")
    process = build(folder)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder / "site"


def test_every_page_is_in_the_navigation_and_is_built(site: Path) -> None:
    """No page is left out, and no entry of the navigation lacks its page."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    places = re.findall(r": ([\w/-]+)\.md$", text, re.MULTILINE)
    assert all((site / f"{place}.html").exists() for place in places)
    pages = {
        str(page.relative_to(site.parent / "pages").with_suffix("")) for page in site.parent.rglob("pages/**/*.md")
    }
    assert {page for page in pages if not page.startswith("decisions/0")} == set(places)
    assert "\n  font: false " in text


def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    """Scripts, styles and pictures of every page are its own."""
    for page in site.rglob("*.html"):
        loads = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?([^\"\s>]+)", page.read_text("utf-8"))
        assert not [address for address in loads if address.startswith(("http:", "https:", "//"))], page


def test_links_are_rewritten() -> None:
    """Links to pages stay on the site, links to the code lead to the repository, and fences lose their notes."""
    places = {"docs/a.md": "a.md", "docs/b/c.md": "b/c.md", "README.md": "index.md"}
    text = "[x](../../README.md) [y](../a.md#z) [s](../../src/stillsafe)\n```sh background\nls\n```\n"
    page = page_text(text, "docs/b/c.md", "b/c.md", places)
    assert page.startswith("[x](../index.md) [y](../a.md#z) [s](https://")
    assert "/blob/main/src/stillsafe)\n```sh\nls\n```" in page


def words_of(text: str) -> list[str]:
    """The words of a text, without markup."""
    return re.findall(r"[a-z0-9]{2,}", html.unescape(re.sub(r"<[^>]+>", " ", text)).lower())


def best_titles(items: list[dict[str, str]], question: str) -> list[str]:
    """The titles that a search by words would show first: rare words count more, and those of a title most."""
    documents = [(item["title"], Counter(words_of(item["title"]) * 4 + words_of(item["text"]))) for item in items]
    frequency = Counter(word for _, counts in documents for word in counts)
    weight = {word: math.log(len(documents) / frequency[word]) for word in frequency}

    def score(counts: Counter[str]) -> float:
        size = sum(counts.values())
        return sum(
            weight.get(word, 0.0) * counts[word] * 2.2 / (counts[word] + 0.3 + 0.9 * size / 120)
            for word in set(words_of(question))
        )

    ranking = sorted(documents, key=lambda document: -score(document[1]))
    return [html.unescape(title) for title, _ in ranking[:MOST_RESULTS]]


def test_every_message_of_the_product_leads_to_its_entry(site: Path, run: Command, made_service: Path) -> None:
    """Each real message, searched as it was printed, has the entry about it among its first three results."""
    items = json.loads((site / "search.json").read_text(encoding="utf-8"))["items"]
    entries = [item for item in items if item["location"].startswith("troubleshooting.html#")]
    settings = (made_service / "stillsafe.toml").read_text()
    changes = {
        "wrong": (r"(?m)^mode = .*", 'mode = "maybe"'),
        "swapped": (r"(?m)^sha256 = .*", f'sha256 = "{"0" * 64}"'),
        "modelless": (r"(?m)^file = .*", 'file = "gone.skops"'),
    }
    for name, (pattern, replacement) in changes.items():
        (made_service / f"{name}.toml").write_text(re.sub(pattern, replacement, settings, count=1))
    (made_service / "sample.csv").write_text("a\n1\n")
    database = made_service / "stillsafe.db"
    for command, (words, cause) in sorted(FAILURES.items(), key=lambda item: item[1][1] in {"lose", "empty"}):
        if cause in {"run", "hold"}:
            run(*({"run": ("monitor",), "hold": ("hold", "--reason", "first")}[cause]))
        elif cause:
            database.unlink(missing_ok=True)
            if cause == "empty":
                database.touch()
        code, out, errors = run(*command.split())
        message = " ".join((out + errors).split())
        assert (code in {1, 2}, words in message) == (True, True), (command, message)
        sentence = message[max(0, message.index(words) - 30) : message.index(words) + 200]
        titles = set(best_titles(items, sentence)) & {html.unescape(entry["title"]) for entry in entries}
        assert any(set(words_of(words)) <= set(words_of(title)) for title in titles), (sentence, titles)
