"""Parquet: the one place that imports its library, which a plain install does not have."""

from typing import Any

from stillsafe.errors import ConfigurationError

EXTRA = "stillsafe[parquet]"


def arrow() -> Any:
    """The module `pyarrow`.

    Raises:
        ConfigurationError: it is not installed; the remedy names the extra.
    """
    try:
        import pyarrow
    except ImportError as error:
        remedy = f"Install it: pip install '{EXTRA}'. CSV needs no package."
        raise ConfigurationError("Parquet files need the package pyarrow, which is not installed.", remedy) from error
    return pyarrow


def parquet() -> Any:
    """The module `pyarrow.parquet`; raises as `arrow`."""
    arrow()
    from pyarrow import parquet as module

    return module
