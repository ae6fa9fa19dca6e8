"""The ways to a receiver: a signed webhook, or any address of apprise. What fails is said without the address."""

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from stillsafe.errors import StillsafeError
from stillsafe.settings_alerts import Alert

ID_HEADER, SIGNATURE_HEADER = "Stillsafe-Alert-Id", "Stillsafe-Signature"
INSTALL = "pip install stillsafe[alerts]"


class AlertFailed(StillsafeError):
    """An alert was not delivered. The message names no address, which is a secret."""


class _NoRedirects(HTTPRedirectHandler):
    """Another address than the owner's gets nothing."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Follow none."""


_OPENER = build_opener(_NoRedirects)


def send(receiver: Alert, document: Mapping[str, Any], seconds: int) -> None:
    """Send one alert.

    Args:
        receiver: where to.
        document: of the alert, as `message.document_of`.
        seconds: the time now since 1970, which the signature covers.

    Raises:
        AlertFailed: it was not delivered, or not known to be.
    """
    url = receiver.url
    if url is None:
        raise AlertFailed(f"the environment variable {receiver.url_variable} is not set")
    if receiver.kind == "apprise":
        _send_by_apprise(url, document)
    else:
        _post(receiver, url, document, seconds)


def signature(secret: str, seconds: int, body: bytes) -> str:
    """The signature of a body: `t=SECONDS,v1=HEX`, HEX the HMAC-SHA256 of `SECONDS.BODY` by the secret."""
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def _post(receiver: Alert, url: str, document: Mapping[str, Any], seconds: int) -> None:
    if not url.startswith(("http://", "https://")):
        raise AlertFailed(f"the address in {receiver.url_variable} begins with neither http:// nor https://")
    if receiver.secret_variable is not None and receiver.secret is None:
        raise AlertFailed(f"the environment variable {receiver.secret_variable} is not set")
    body = json.dumps(document).encode()
    headers = {"Content-Type": "application/json", ID_HEADER: str(document["alert_id"])}
    try:
        if receiver.secret is not None:
            headers[SIGNATURE_HEADER] = signature(receiver.secret, seconds, body)
        request = Request(url, body, headers, method="POST")  # noqa: S310 - its scheme is checked above
        with _OPENER.open(request, timeout=receiver.timeout) as response:
            status = int(response.status)
    except HTTPError as error:
        raise AlertFailed(f"the receiver answered {error.code}") from None
    except (URLError, OSError, ValueError, HTTPException) as error:
        cause = getattr(error, "reason", error)
        raise AlertFailed(f"the receiver was not reached ({type(cause).__name__})") from None
    if not 200 <= status < 300:
        raise AlertFailed(f"the receiver answered {status}")


def _send_by_apprise(url: str, document: Mapping[str, Any]) -> None:
    try:
        import apprise
    except ImportError:
        raise AlertFailed(f"apprise is not installed: {INSTALL}") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines may name the address
    channel = apprise.Apprise()
    if not channel.add(url):
        raise AlertFailed("apprise does not know the kind of the address")
    kind = "success" if document["is_resolution"] else "failure"
    try:
        is_delivered = channel.notify(title=document["title"], body=document["text"], notify_type=kind)
    except Exception as error:  # noqa: BLE001 - a plugin's code; its message may name the address
        raise AlertFailed(f"apprise raised {type(error).__name__}") from None
    if not is_delivered:
        raise AlertFailed("apprise could not deliver it")
