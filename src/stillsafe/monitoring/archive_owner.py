"""Whose rows an archive has: service ids begin at 1 in every database, so they alone do not decide it.

Each file names the prunes that wrote it, by the times at which the database recorded them. A file of an older release
names none: its rows count as a service's own where everything that they hold fits the service's records.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from stillsafe.errors import RefusedError
from stillsafe.monitoring import archive
from stillsafe.store import database
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.read.retention import archived_prunes
from stillsafe.store.read.versions import version_names
from stillsafe.store.tables import FIRST_SERVICE


@dataclass(frozen=True, slots=True)
class ArchiveOwner:
    """A service of one database, as its archives know it.

    Attributes:
        service_id: of its rows.
        stamps: of its prunes.
        last_cut: the latest time before which one of them archived rows; None where none did.
        versions: its model versions.
    """

    service_id: int
    stamps: frozenset[str]
    last_cut: datetime | None
    versions: frozenset[str]

    @classmethod
    def of(cls, connection: Connection) -> "ArchiveOwner":
        """The owner whose connection it is."""
        prunes = archived_prunes(connection)
        stamps = frozenset(stamp_of(at) for at, _ in prunes)
        last_cut = max((end for _, end in prunes), default=None)
        return cls(database.service_id(connection), stamps, last_cut, frozenset(version_names(connection)))

    def owns(self, stamps: frozenset[str], row: Mapping[str, Any]) -> bool:
        """Whether a row of a file with these stamps is the service's own."""
        if row.get("service_id", FIRST_SERVICE) != self.service_id:
            return False
        if archive.UNKNOWN not in stamps:
            return not stamps.isdisjoint(self.stamps)
        is_known = self.last_cut is not None and row["timestamp"].astimezone(UTC) < self.last_cut
        return is_known and row["model_version"] in self.versions

    def require_own_folder(self, folder: Path) -> None:
        """Require that a folder has no rows of another service or database.

        Raises:
            RefusedError: it has, or a file cannot be read.
        """
        for requests in RequestTable:
            for file in archive.archive_files(folder, requests, keep_partial=True):
                stamps = archive.stamps_of(file)
                is_unknown = archive.UNKNOWN in stamps
                is_foreign = self.last_cut is None if is_unknown else stamps.isdisjoint(self.stamps)
                if is_foreign or not archive.service_ids(file) <= {self.service_id}:
                    raise RefusedError(
                        f"{file}: it holds rows of another service. Give each service a folder of its own."
                    )


def stamp_of(at: datetime) -> str:
    """The stamp of a prune by its time, which has microseconds: two databases do not record the same one."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
