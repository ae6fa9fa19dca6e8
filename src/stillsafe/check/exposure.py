"""Check who may reach the service: where it listens, under which names, with which keys and limits."""

from collections.abc import Iterator, Sequence

from stillsafe.check.findings import Finding, ok, warning
from stillsafe.serving.access.keys import KeyScope
from stillsafe.serving.connections import ConnectionRegistry, Limit
from stillsafe.settings import Settings
from stillsafe.settings_exposure import ANY_HOST, is_loopback
from stillsafe.store.read.keys import KeyRecord

SUBJECT = "exposure"
CREATE = "`stillsafe key create NAME --scope predict`"
"""How an operator makes the first key."""
NO_CHOICE = (
    "Whether clients need a key is not decided in [exposure]. `stillsafe serve` requires keys on this address; an app "
    "that another server serves has none. Set `keys` to true or false."
)


def exposure_findings(settings: Settings, keys: Sequence[KeyRecord] | None) -> Iterator[Finding]:
    """Who may reach the service as its settings are.

    Args:
        settings: of the service.
        keys: those that the store has, or None if it cannot be read.
    """
    exposure, serving = settings.exposure, settings.serving
    is_local = is_loopback(serving.host)
    yield ok(SUBJECT, f"{address_sentence(serving.host, serving.port)} {host_sentence(settings, serving.host)}")
    if exposure.keys is None and not is_local:
        yield warning(SUBJECT, NO_CHOICE)
    if exposure.keys is None and is_local:
        yield ok(
            SUBJECT,
            "Clients need no key, which is not decided in [exposure]: `stillsafe serve` requires none on this address. "
            "Set `keys` to true or false if another server serves the app.",
        )
    elif exposure.keys is False and not is_local:
        yield warning(SUBJECT, f"{key_sentence(are_needed=False, keys=keys)} Other machines reach the service.")
    elif exposure.keys is False:
        yield ok(SUBJECT, key_sentence(are_needed=False, keys=keys))
    elif keys is not None and not valid(keys):
        yield warning(SUBJECT, f"{key_sentence(are_needed=True, keys=keys)} Make one: {CREATE}.")
    else:
        yield ok(SUBJECT, key_sentence(are_needed=True, keys=keys))
    yield ok(SUBJECT, limit_sentence(settings))


def valid(keys: Sequence[KeyRecord]) -> list[KeyRecord]:
    """Those that are not revoked."""
    return [key for key in keys if key.revoked_at is None]


def address_sentence(host: str, port: int) -> str:
    """Where the service listens, and who reaches that."""
    reach = "this machine only" if is_loopback(host) else "other machines too"
    return f"Listens on http://{f'[{host}]' if ':' in host else host}:{port}, reached by {reach}."


def host_sentence(settings: Settings, host: str) -> str:
    """Under which names the service answers."""
    names = settings.exposure.allowed_hosts
    if ANY_HOST in names or (not names and not is_loopback(host)):
        return "It answers under any host name."
    own_names = [*names, *(["the names of this machine"] if is_loopback(host) else ["the address itself"])]
    return f"It answers under: {', '.join(own_names)}."


def key_sentence(*, are_needed: bool, keys: Sequence[KeyRecord] | None) -> str:
    """Whether clients need a key, and which keys there are."""
    if not are_needed:
        return "Clients need no key."
    if keys is None:
        return "Clients need a key; the store cannot be read, so which ones there are is not known."
    if not valid(keys):
        return "Clients need a key, and there is none, so every request but /health is refused."
    names = "; ".join(f"{key.name} ({', '.join(key.scopes)})" for key in valid(keys))
    missing_scopes = [each.value for each in KeyScope if not any(each in key.scopes for key in valid(keys))]
    nobody = f" No key has the scope {', '.join(missing_scopes)}." if missing_scopes else ""
    return f"Clients need a key. Valid keys: {names}.{nobody}"


def limit_sentence(settings: Settings) -> str:
    """The limits of one client in each process."""
    limits = ConnectionRegistry(settings.serving, settings.exposure).limits
    proxies = settings.exposure.trusted_proxies
    exempt = f" (trusted proxies {', '.join(proxies)} as many as all)" if proxies else ""
    return (
        f"Limits in each process: {limits[Limit.CONNECTIONS]:g} connections, "
        f"{limits[Limit.CONNECTIONS_PER_ADDRESS]:g} of one address{exempt}; heads of "
        f"{limits[Limit.HEAD_BYTES]:g} bytes within {limits[Limit.HEAD_SECONDS]:g} s; bodies of "
        f"{settings.serving.max_body_bytes} bytes with {settings.serving.max_batch} instances; idle for "
        f"{limits[Limit.IDLE_SECONDS]:g} s."
    )
