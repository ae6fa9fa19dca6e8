"""Request ids: a client names a request, so that a retry of it gets the first answer and is no second request.

The id stands beside the features, or in the header `Idempotency-Key`. A batch has one per instance; with the header,
the instances without one have the key with their number: `KEY#0`, `KEY#1` and so on.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from stillsafe.core.schema import Row, Violation
from stillsafe.serving.body.json_body import Headers
from stillsafe.serving.body.text_rule import is_plain_line
from stillsafe.serving.problems import RefusedRequest, problem
from stillsafe.store.codec import content_bytes
from stillsafe.store.records import RequestId

REQUEST_ID = "id"
KEY_HEADER = "Idempotency-Key"
MOST_CHARACTERS = 200
ALLOWED = f"a string of 1 to {MOST_CHARACTERS} printable characters"
ON_DEMAND = "\0fallback"
"""In the place of an answer: a request for the fallback has another content than one for the model."""
_SALT_BYTES, _HASH_BYTES = 64, 16

KEY_PATTERN = r"^[ -~\u00a0-\u00ac\u00ae-\u00ff]*[!#-~\u00a1-\u00ac\u00ae-\u00ff][ -~\u00a0-\u00ac\u00ae-\u00ff]*$"
"""A value of the header, as a regular expression of JSON Schema: a plain line of more than spaces and quotes."""


def is_request_id(value: object) -> bool:
    """Whether a value of a body can be an id."""
    return isinstance(value, str) and 0 < len(value) <= MOST_CHARACTERS and is_plain_line(value)


def id_violation(value: object) -> Violation | None:
    """What is wrong with the value of the key `id`, or None."""
    if is_request_id(value):
        return None
    kind = "not_allowed" if isinstance(value, str) else "wrong_type"
    return Violation(REQUEST_ID, kind, "no id" if isinstance(value, str) else "not a string", ALLOWED)


def idempotency_key(headers: Headers) -> str | None:
    """The value of the header `Idempotency-Key`, without quotes around it; None without the header.

    Raises:
        RefusedRequest: 422 for a value that is no id.
    """
    for name, value in headers:
        if name == b"idempotency-key":
            text = value.decode("latin-1").strip()
            text = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
            if not is_request_id(text):
                violation = Violation(KEY_HEADER, "not_allowed", "no id", ALLOWED)
                raise RefusedRequest(problem(422, f"The header {KEY_HEADER} cannot be read.", [violation]))
            return text
    return None


def single_id(body_id: str | None, key: str | None) -> str | None:
    """The id of a request with one instance.

    Raises:
        RefusedRequest: 409 where the body and the header name two ids.
    """
    if body_id is not None and key is not None and body_id != key:
        violation = Violation(KEY_HEADER, "not_allowed", "another id than in the body", "one id, in one place")
        raise RefusedRequest(problem(409, f"The header {KEY_HEADER} and the body name two ids.", [violation]))
    return body_id if key is None else key


def batch_ids(body_ids: Sequence[str | None], key: str | None) -> Sequence[str | None]:
    """The id of each instance of a batch."""
    if key is None:
        return body_ids
    return [f"{key}#{index}" if each is None else each for index, each in enumerate(body_ids)]


def identity_of(text: str | None, row: Row, salt: str, *, synthetic: bool, answer: str = "") -> RequestId | None:
    """An id with the keyed hash of its request's content; None without an id.

    Bodies that differ only in spaces, the order of keys, or null for an absent value have the same content. The answer
    of a model elsewhere belongs to it: another one is another request.
    """
    if text is None:
        return None
    content = content_bytes(row)
    if synthetic:
        content = b"synthetic" + content
    if answer:
        content = f"{answer}\0".encode(errors="surrogatepass") + content
    return RequestId(text, blake2b(content, key=_key_of(salt), digest_size=_HASH_BYTES).hexdigest())


@lru_cache(maxsize=8)
def _key_of(salt: str) -> bytes:
    return salt.encode(errors="surrogatepass")[:_SALT_BYTES]
