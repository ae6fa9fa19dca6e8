"""Requests as no decent client writes them, byte by byte."""

import json

from tests.faults.api import BODY

JSON_BODY = json.dumps({"features": BODY}).encode()
SIZE = b"Content-Length: %d" % len(JSON_BODY)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(JSON_BODY), JSON_BODY)
CHUNK_HEADER = b"Transfer-Encoding: chunked"
SECOND_REQUEST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n%s" % (SIZE, JSON_BODY)


def raw_request(
    *lines: bytes,
    start: bytes = b"POST /v1/predict HTTP/1.1",
    host: bytes | None = b"Host: localhost",
    body: bytes = JSON_BODY,
    end: bytes = b"\r\n",
) -> bytes:
    """A request as bytes; without lines of its own it has the right Content-Length."""
    head = [start, *([] if host is None else [host]), *(lines or (SIZE,)), b"", b""]
    return end.join(head) + body


START_LINES = {
    "lower case": b"post /v1/predict HTTP/1.1",
    "unknown method": b"BREW /v1/predict HTTP/1.1",
    "TRACE": b"TRACE / HTTP/1.1",
    "CONNECT": b"CONNECT example.com:443 HTTP/1.1",
    "asterisk": b"OPTIONS * HTTP/1.1",
    "absolute form": b"GET http://evil.example/ HTTP/1.1",
    "no version": b"GET /",
    "HTTP/0.9": b"GET / HTTP/0.9",
    "HTTP/1.2": b"GET / HTTP/1.2",
    "HTTP/2.0": b"GET / HTTP/2.0",
    "HTTP/11": b"GET / HTTP/11",
    "empty path": b"GET  HTTP/1.1",
    "no slash": b"GET v1/state HTTP/1.1",
    "space in the path": b"GET /v1/ state HTTP/1.1",
    "NUL in the path": b"GET /v1/\0state HTTP/1.1",
    "encoded NUL": b"GET /v1/incidents/%00 HTTP/1.1",
    "bad escapes": b"GET /v1/incidents/%zz%%%1 HTTP/1.1",
    "bytes beyond ASCII": b"GET /v1/incidents/\xff\xfe HTTP/1.1",
    "encoded bytes that are no UTF-8": b"GET /v1/incidents/%ff%fe%c0%af HTTP/1.1",
    "a folder up": b"GET /docs/../../../../etc/passwd HTTP/1.1",
    "an encoded folder up": b"GET /docs/%2e%2e%2f%2e%2e%2fetc/passwd HTTP/1.1",
    "a backslash": b"GET /docs\\..\\..\\etc HTTP/1.1",
    "double slash": b"GET //v1//state HTTP/1.1",
    "a fragment": b"GET /v1/state#a HTTP/1.1",
    "60,000 bytes": b"GET /" + b"a" * 60_000 + b" HTTP/1.1",
    "a query of 60,000 bytes": b"GET /v1/windows?limit=" + b"1" * 60_000 + b" HTTP/1.1",
    "a query of many keys": b"GET /v1/windows?" + b"limit=1&" * 6_000 + b" HTTP/1.1",
    "a query of wrong values": b"GET /v1/windows?limit=-1&before=9223372036854775808 HTTP/1.1",
    "a query that is no text": b"GET /v1/windows?limit=%ff&\xff=1 HTTP/1.1",
    "line feeds": b"GET / HTTP/1.1\n\nGET / HTTP/1.1",
}
HEADER_LINES = {
    "no colon": (SIZE, b"nothing"),
    "space before the colon": (b"Content-Length : %d" % len(JSON_BODY),),
    "empty name": (SIZE, b": x"),
    "folded": (SIZE, b"X-A: b\r\n c"),
    "NUL": (SIZE, b"X-A: \0"),
    "carriage return": (SIZE, b"X-A: b\rX-B: c"),
    "line feed": (SIZE, b"X-A: b\nX-B: c"),
    "bytes beyond ASCII": (SIZE, b"X-\xe4: \xff"),
    "two hosts": (SIZE, b"Host: localhost", b"Host: evil.example"),
    "9,000 headers": (SIZE, *(b"a%d: b" % number for number in range(9_000))),
    "60,000 bytes": (SIZE, b"X-A: " + b"a" * 60_000),
    "negative length": (b"Content-Length: -1",),
    "signed length": (b"Content-Length: +5",),
    "hexadecimal length": (b"Content-Length: 0x10",),
    "length of 30 digits": (b"Content-Length: " + b"9" * 30,),
    "length beyond 64 bits": (b"Content-Length: 18446744073709551617",),
    "length of a list": (b"Content-Length: 5, 5",),
    "empty length": (b"Content-Length:",),
    "two lengths": (SIZE, b"Content-Length: 5"),
    "two equal lengths": (SIZE, SIZE),
    "a length too short": (b"Content-Length: 5",),
    "a length too long": (b"Content-Length: 100000",),
    "a length of 10 GB": (b"Content-Length: 10000000000",),
    "no length": (b"Accept: */*",),
    "expects 100": (SIZE, b"Expect: 100-continue"),
    "expects nonsense": (SIZE, b"Expect: nonsense"),
    "websocket": (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: eA==", SIZE),
    "HTTP/2 upgrade": (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", SIZE),
    "gzip": (SIZE, b"Content-Encoding: gzip"),
    "UTF-16": (SIZE, b"Content-Type: application/json; charset=utf-16"),
    "a form": (SIZE, b"Content-Type: multipart/form-data; boundary=x"),
    "synthetic nonsense": (SIZE, b"Stillsafe-Synthetic: maybe"),
    "a range": (SIZE, b"Range: bytes=0-18446744073709551615"),
    "tag of 8,000 bytes": (SIZE, b'If-None-Match: "' + b"a" * 8_000 + b'"'),
    "proxy headers": (SIZE, b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Host: evil.example", b"Forwarded: for=_x"),
}
"""Header lines of a prediction request with a body of that length."""
SMUGGLING = {
    "length and chunks": raw_request(SIZE, CHUNK_HEADER, body=b"0\r\n\r\n" + SECOND_REQUEST),
    "chunks and a length": raw_request(CHUNK_HEADER, SIZE, body=b"0\r\n\r\n" + SECOND_REQUEST),
    "a hidden coding": raw_request(b"Transfer-Encoding: xchunked", b"Content-Length: 0", body=SECOND_REQUEST),
    "a coding after a tab": raw_request(b"Transfer-Encoding:\tchunked", b"Content-Length: 0", body=SECOND_REQUEST),
    "a coding with a space": raw_request(b"Transfer-Encoding : chunked", b"Content-Length: 0", body=SECOND_REQUEST),
    "two codings": raw_request(CHUNK_HEADER, b"Transfer-Encoding: identity", body=b"0\r\n\r\n" + SECOND_REQUEST),
    "identity, then chunked": raw_request(
        b"Transfer-Encoding: identity, chunked", SIZE, body=b"0\r\n\r\n" + SECOND_REQUEST
    ),
    "two lengths": raw_request(b"Content-Length: 0", SIZE, body=SECOND_REQUEST),
    "a coding in HTTP/1.0": raw_request(
        CHUNK_HEADER, SIZE, start=b"POST /v1/predict HTTP/1.0", body=b"0\r\n\r\n" + SECOND_REQUEST
    ),
    "a folded coding": raw_request(b"Transfer-Encoding:\r\n chunked", b"Content-Length: 0", body=SECOND_REQUEST),
}
"""Requests in which a proxy and the service might see different ends: at most one answer may be a prediction."""
BODIES = {
    "chunks": raw_request(CHUNK_HEADER, body=CHUNKS),
    "chunks of one byte": raw_request(
        CHUNK_HEADER, body=b"".join(b"1\r\n%c\r\n" % byte for byte in JSON_BODY) + b"0\r\n\r\n"
    ),
    "a chunk without an end": raw_request(CHUNK_HEADER, body=b"5\r\nabc"),
    "a chunk of no number": raw_request(CHUNK_HEADER, body=b"zz\r\nabc\r\n0\r\n\r\n"),
    "a negative chunk": raw_request(CHUNK_HEADER, body=b"-5\r\nabc\r\n0\r\n\r\n"),
    "a chunk of 2**64 bytes": raw_request(CHUNK_HEADER, body=b"10000000000000000\r\nabc"),
    "a chunk extension": raw_request(CHUNK_HEADER, body=CHUNKS.replace(b"\r\n", b";a=b\r\n", 1)),
    "an extension of 60,000 bytes": raw_request(CHUNK_HEADER, body=b"5;" + b"a" * 60_000 + b"\r\nabcde\r\n0\r\n\r\n"),
    "trailers": raw_request(CHUNK_HEADER, body=CHUNKS[:-2] + b"Host: evil.example\r\nX-A: b\r\n\r\n"),
    "half a body": raw_request(body=JSON_BODY[:20]),
    "only a head": raw_request(body=b""),
    "half a head": b"POST /v1/predict HTTP/1.1\r\nHost: loc",
    "100 requests at once": raw_request() * 100,
    "a request and rubbish": raw_request() + b"\x16\x03\x01rubbish\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "empty lines": b"\r\n" * 5_000,
    "line feeds as ends": raw_request(end=b"\n"),
    "carriage returns as ends": raw_request(end=b"\r"),
    "zeros": bytes(10_000),
    "nothing": b"",
}
SHAPES = {
    **{f"start: {name}": raw_request(start=line) for name, line in START_LINES.items()},
    **{f"header: {name}": raw_request(*lines) for name, lines in HEADER_LINES.items()},
    "header: no host": raw_request(host=None),
    "header: empty host": raw_request(host=b"Host:"),
    "header: a host of 10,000 bytes": raw_request(host=b"Host: " + b"a" * 10_000),
    **{f"smuggling: {name}": content for name, content in SMUGGLING.items()},
    **{f"body: {name}": content for name, content in BODIES.items()},
}
