"""One line of plain text in a request: a rule that the OpenAPI document can state as a pattern.

Control characters, line separators, and characters that hide text or reverse it are none of it.
"""

import re

_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
PATTERN = rf"^[^{_CONTROLS}]*$"
"""As a regular expression of JSON Schema (ECMA-262), with escapes that Python reads the same way."""
_SPACES = r"\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
TEXT_PATTERN = rf"^[{_SPACES}]*[^{_SPACES}{_CONTROLS}][^{_CONTROLS}]*$"
"""The same, and not of spaces alone."""
_LINE = re.compile(rf"[^{_CONTROLS}\ud800-\udfff]*")


def is_plain_line(text: str) -> bool:
    """Whether a text matches `PATTERN` and can be stored: half a surrogate pair, which JSON can escape, cannot."""
    return _LINE.fullmatch(text) is not None


def is_plain_text(text: str) -> bool:
    """Whether a text is a plain line that matches `TEXT_PATTERN`."""
    return is_plain_line(text) and text.strip() != ""
