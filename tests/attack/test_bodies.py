"""Whatever JSON, or nearly JSON, arrives: an answer with its row, or a problem that is not larger than its cause."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families

from stillsafe.serving.problems import ProblemDocument
from tests.attack.rows import answered_ids, is_served, stored_ids
from tests.faults.api import BODY
from tests.faults.figures import Figure
from tests.serving.server_process import ServerProcess

VALUES = [
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1e-999",
        "-0",
        "-0.0",
        "1E400",
        "01",
        "+1",
        ".5",
        "1.",
        "0x10",
    ),
    *(
        "9" * 400,
        "9" * 5_000,
        "-" + "9" * 30,
        "1." + "0" * 5_000 + "1",
        "2" * 4_301,
        "1_000",
        "١٢",
        "true",
        "false",
        "null",
    ),
    *("[]", "{}", "[[[[[[[[[[[[1]]]]]]]]]]]]", "[" * 5_000 + "]" * 5_000, '{"a":' * 5_000 + "1" + "}" * 5_000),
    *('""', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\x41"', '"\t"', '"\\"', '"' + "a" * 100_000 + '"', "'1'"),
    *('"1"', '"NaN"', '"<script>alert(1)</script>"', '"\'; DROP TABLE prediction_logs; --"', '"{{7*7}}"', '"%s%n"'),
    *(
        '"../../etc/passwd"',
        '"\\u202e\\u0007\\u001b[31m"',
        '"=1+1"',
        "1 // c",
        "1 /* c */",
        "undefined",
        "1,",
        "[1,]",
        "\ufeff1",
    ),
]
KEYS = [
    "",
    "\x00",
    "__proto__",
    "constructor",
    "mean radius\x00",
    "Mean Radius",
    "ｍean radius",
    "\ud800",
    "<b>",
    "a" * 100_000,
]
MOST_EXTRA_BYTES = 20_000
"""Most bytes by which an answer is longer than the request, apart from the first problem of each instance."""
MOST_BYTES_PER_INSTANCE = 300
"""Most bytes of the one problem that each instance of a batch is told."""


def _bodies() -> Iterator[tuple[str, bytes]]:
    """Each with its path."""
    good = json.dumps(BODY)
    for value in VALUES:
        yield "/v1/predict", value.encode(errors="surrogatepass")
        for text in (f'{{"features": {value}}}', f'{{"features": {good}, "synthetic": {value}}}'):
            yield "/v1/predict", text.encode(errors="surrogatepass")
        for name in BODY:
            features = good.replace(json.dumps(BODY[name]), value, 1)
            yield "/v1/predict", f'{{"features": {features}}}'.encode(errors="surrogatepass")
        for instances in (value, f"[{value}]", f"[{good}, {value}, {good}]"):
            yield "/v1/predict/batch", f'{{"instances": {instances}}}'.encode(errors="surrogatepass")
    for key in KEYS:
        yield "/v1/predict", json.dumps({"features": {**BODY, key: 1}}).encode()
        yield "/v1/predict", json.dumps({"features": {key: BODY}}).encode()
        yield "/v1/predict", json.dumps({"features": BODY, key: 1}).encode()
    for name in BODY:
        yield "/v1/predict", f'{{"features": {good[:-1]}, "{name}": 1}}}}'.encode()
    for encoding in ("utf-16", "utf-32", "utf-8-sig", "utf-7"):
        yield "/v1/predict", json.dumps({"features": BODY}).encode(encoding)
    yield "/v1/predict", b'{"features": {' + b",".join(b'"k%d":1' % number for number in range(80_000)) + b"}}"
    yield "/v1/predict/batch", b'{"instances": [' + b",".join([b"{}"] * 1_001) + b"]}"
    yield "/v1/predict/batch", b'{"instances": [' + b",".join([b'{"k": [[[1]]]}'] * 1_000) + b"]}"


def test_no_body_breaks_the_service(target: ServerProcess, figure: Figure) -> None:
    """No server error; each answer has its row; a problem names what is wrong and grows no faster than the body."""
    connection = HTTPConnection("127.0.0.1", target.port, timeout=60)
    counts: dict[int, int] = {}
    ids: set[str] = set()
    for path, body in _bodies():
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        counts[response.status] = counts.get(response.status, 0) + 1
        ids |= answered_ids(answer)
        assert response.status in (200, 413, 422), (path, body[:200], answer)
        most = len(body) + MOST_EXTRA_BYTES + MOST_BYTES_PER_INSTANCE * answer.count(b'"error":')
        assert len(answer) < most, (path, body[:200])
        if response.status != 200:
            assert ProblemDocument.model_validate_json(answer).violations
    connection.close()
    assert is_served(target)
    assert ids == stored_ids(target)
    figure("hostile bodies by status", dict(sorted(counts.items())))


def test_what_was_sent_is_shown_nowhere_as_markup(target: ServerProcess) -> None:
    """Names and values of a hostile body reach no page, and no metric, as anything but text."""
    connection = HTTPConnection("127.0.0.1", target.port, timeout=60)
    hostile = '<script>alert(1)</script>\n# HELP x\nx{a="b"} 1'
    for features in ({**BODY, hostile: 1}, {hostile: hostile}, dict.fromkeys(BODY, hostile)):
        connection.request("POST", "/v1/predict", json.dumps({"features": features}))
        assert connection.getresponse().read()
    for path in ("/", "/metrics", "/v1/incidents", "/v1/windows"):
        connection.request("GET", path)
        text = connection.getresponse().read().decode()
        assert "alert(1)" not in text, path
        if path == "/metrics":
            assert [family.name for family in text_string_to_metric_families(text) if family.name == "x"] == []
    connection.close()
