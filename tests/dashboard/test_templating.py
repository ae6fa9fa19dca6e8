"""The templates and the static files."""

from hypothesis import given
from hypothesis import strategies as st

from stillsafe.dashboard.templating import build_templates, static_file, version_of, with_code


@given(st.text())
def test_code_is_escaped(text: str) -> None:
    """Whatever a sentence has in it, only our own tags are markup."""
    html = str(with_code(text)).replace("<code>", "").replace("</code>", "")
    assert "<" not in html
    assert ">" not in html


def test_parts_between_backticks_are_code() -> None:
    """In pairs."""
    assert str(with_code("use `a <b>` now")) == "use <code>a &lt;b&gt;</code> now"
    assert str(with_code("one ` alone")) == "one ` alone"


def test_files_have_versions() -> None:
    """Twelve digits that change with the file; templates escape by default."""
    assert len(version_of("stillsafe.css")) == 12
    assert version_of("stillsafe.css") != version_of("stillsafe.js")
    assert b"prefers-color-scheme" in static_file("stillsafe.css")
    assert build_templates().from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
