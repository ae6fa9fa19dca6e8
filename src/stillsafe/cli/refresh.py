"""`init --refresh`: measure a service's sample again, and add what its reference and its settings lack."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from stillsafe import logs, service
from stillsafe.cli.output import console, print_plain, print_result, progress_bar
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import StillsafeError
from stillsafe.monitoring.baseline import adopt_reference
from stillsafe.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from stillsafe.init.refresh import RefreshedService

DEFAULT_FOLDER = Path("service")


def refresh(out: Path | None, sample: Path, label: str | None, form: TableFormat, *, as_json: bool) -> None:
    """Refresh the service of a folder, and activate its new reference baseline.

    Args:
        out: the folder; None for the settings that other commands take, or the folder that `init` writes.
        sample: healthy data.
        label: the column with the true labels, or None.
        form: how a CSV sample is written, as far as the owner states it.
        as_json: whether to print JSON.
    """
    # Imported here: scikit-learn takes seconds to import.
    from stillsafe.init.refresh import RefreshRequest, refresh_service

    logs.set_up("ERROR")
    request = RefreshRequest(config_of(out), sample, service.utc_now(), label, form)
    with progress_bar("Reading the model") as progress:
        refreshed_service = refresh_service(request, progress)
    state = activation_sentence(refreshed_service)
    print_result(refresh_document(refreshed_service, state), as_json, lambda: print_refresh(refreshed_service, state))


def config_of(out: Path | None) -> Path:
    """The settings file of the service to refresh."""
    if out is not None:
        return out / DEFAULT_FILE
    config = Path(service.config_file())
    return config if config.exists() else DEFAULT_FOLDER / DEFAULT_FILE


def activation_sentence(refreshed_service: "RefreshedService") -> str:
    """Store and activate the new reference baseline where that is possible; what became of it."""
    identifier = refreshed_service.baseline.baseline_id
    later = f"`stillsafe baseline activate {identifier}`"
    try:
        settings = service.settings_of(refreshed_service.config)
        url = settings.database_url
        if url.startswith("sqlite") and not Path(url.partition(":///")[2]).exists():
            return f"{identifier} becomes the active baseline when the service starts."
        if adopt_reference(service.open_store(settings), settings):
            return f"{identifier} is the active baseline now."
    except StillsafeError as failure:
        return f"The baseline is not active yet: {failure} Then {later}."
    return (
        "The active baseline is made of the log. Make it anew with `stillsafe baseline create`, or take the new "
        f"reference with {later}."
    )


def refresh_document(refreshed_service: "RefreshedService", state: str) -> dict[str, Any]:
    """The JSON of `init --refresh`."""
    return {
        "config": str(refreshed_service.config),
        "previous_settings": str(refreshed_service.previous_settings),
        "reference": str(refreshed_service.reference),
        "baseline_id": refreshed_service.baseline.baseline_id,
        "sample_size": refreshed_service.baseline.sample_size,
        "added": {section: dict(values) for section, values in refreshed_service.additions.items()},
        "activation": state,
        "warnings": list(refreshed_service.warnings),
    }


def print_refresh(refreshed_service: "RefreshedService", state: str) -> None:
    """Print the text of `init --refresh`."""
    baseline = refreshed_service.baseline
    print_plain(f"Wrote {refreshed_service.reference}: {baseline.sample_size} rows, baseline {baseline.baseline_id}.")
    for section, values in refreshed_service.additions.items():
        print_plain(f"Added to [{section}]: {', '.join(values)}.")
    print_plain(f"Your settings are otherwise unchanged; the file as it was is {refreshed_service.previous_settings}.")
    print_plain(state)
    for warning in refreshed_service.warnings:
        console.print(f"[yellow]Check this:[/] {escape(warning)}")
    print_plain("Restart `stillsafe serve`, so that it reads the new settings.")
