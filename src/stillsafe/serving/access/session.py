"""Sessions of the dashboard: a cookie that stands for a key with the scope `read`, for twelve hours.

The cookie has the key's id, the end of the session and an HMAC of both. It is made with the key's digest and the
service's salt, so it ends with the key, and neither the database nor the settings alone are enough to forge one.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from stillsafe.serving.access.key_cache import KeyTable
from stillsafe.serving.access.keys import KeyScope
from stillsafe.store.read.keys import KeyRecord

LENGTH = timedelta(hours=12)
"""How long a session lasts."""
_VALUE = re.compile(r"(\d{1,18})\.(\d{1,11})\.([0-9a-f]{64})", flags=re.ASCII)


class Sessions:
    """Makes and reads the cookies of one service.

    Args:
        service: its name. Cookies are shared by all ports of a host, so each service has one of its own.
        salt: the secret of its settings.
    """

    def __init__(self, service: str, salt: str) -> None:
        self.cookie_name = f"stillsafe_session_{hashlib.sha256(service.encode()).hexdigest()[:8]}"
        self._salt = salt.encode()
        self._cookie_start = f"{self.cookie_name}=".encode()

    def cookie(self, record: KeyRecord, now: datetime, *, secure: bool) -> str:
        """The header `Set-Cookie` that begins a session.

        Args:
            record: the key that was presented.
            now: the time now, aware UTC.
            secure: whether the browser came by HTTPS.
        """
        end = int((now + LENGTH).timestamp())
        value = f"{record.id}.{end}.{self._signature(record, end)}"
        return self._set_cookie(value, int(LENGTH.total_seconds()), secure=secure)

    def end_cookie(self) -> str:
        """The header `Set-Cookie` that ends a session."""
        return self._set_cookie("", 0, secure=False)

    def key(self, headers: Iterable[tuple[bytes, bytes]], table: KeyTable, now: datetime) -> KeyRecord | None:
        """The key for which the cookie of a request stands, or None without a valid session.

        Args:
            headers: of the request.
            table: the valid keys.
            now: the time now, aware UTC.
        """
        cookies = (part.strip() for name, value in headers if name == b"cookie" for part in value.split(b";"))
        own_cookies = (part[len(self._cookie_start) :] for part in cookies if part.startswith(self._cookie_start))
        match = _VALUE.fullmatch(next(own_cookies, b"").decode("latin-1"))
        if match is None:
            return None
        record, end = table.by_id.get(int(match[1])), int(match[2])
        if record is None or now.timestamp() >= end or KeyScope.READ not in record.scopes:
            return None
        return record if hmac.compare_digest(match[3], self._signature(record, end)) else None

    def _signature(self, record: KeyRecord, end: int) -> str:
        secret = hmac.digest(self._salt, f"stillsafe session:{record.digest}".encode(), "sha256")
        return hmac.digest(secret, f"{record.id}.{end}".encode(), "sha256").hex()

    def _set_cookie(self, value: str, seconds: int, *, secure: bool) -> str:
        attributes = f"Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
        return f"{self.cookie_name}={value}; {attributes}" + ("; Secure" if secure else "")
