"""The database of a service folder that a test made without the command `init`, which creates it."""

from pathlib import Path

from stillsafe import service, settings


def with_store(folder: Path, url: str | None = None) -> Path:
    """The folder, once the database exists that the URL names, else that its settings and the environment name."""
    new_settings = service.settings_of(folder / settings.DEFAULT_FILE)
    if url is not None:
        section = new_settings.service.model_copy(update={"database": url})
        new_settings = new_settings.model_copy(update={"service": section})
    service.open_store(new_settings, create=True).dispose()
    return folder
