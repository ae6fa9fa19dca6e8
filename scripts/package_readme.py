"""The long description of the package: the README with absolute links, which a package index needs.

Hatchling runs the hook at every build. `[project.urls]` in `pyproject.toml` names the repository.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?!https?://|#)[^)\s]+)\)")


def absolute_links(text: str, repository: str, version: str) -> str:
    """A page of the repository's root whose links and images work anywhere.

    Args:
        text: Markdown.
        repository: its address, without a slash at the end.
        version: of the package; links of a released version lead to its tag, those of others to `main`.
    """
    branch = "main" if "dev" in version else f"v{version}"

    def link(match: re.Match[str]) -> str:
        view = "raw" if match["image"] else "blob"
        return f"{match['image']}[{match['text']}]({repository}/{view}/{branch}/{match['target']})"

    return _LINK.sub(link, text)


class PackageReadme(MetadataHookInterface):
    """Sets the field `readme` of the package."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README with absolute links."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = absolute_links(text, metadata["urls"]["Repository"], metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
