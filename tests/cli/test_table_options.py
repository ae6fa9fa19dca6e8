"""The options of a table are the same in every command that reads one, and each is read into the format."""

import dataclasses
import inspect
import typing

import pytest

from stillsafe.cli import table_options
from stillsafe.cli.backtest import backtest
from stillsafe.cli.init import init
from stillsafe.csv_files.table_format import TableFormat

OPTIONS = {field.name: getattr(table_options, field.name.capitalize()) for field in dataclasses.fields(TableFormat)}


@pytest.mark.parametrize("command", [init, backtest])
def test_a_command_that_reads_a_table_has_all_its_options(command: typing.Any) -> None:
    """Each field of the format is an option, and it is not given by default: the content decides."""
    parameters = inspect.signature(command).parameters
    assert {name: parameters[name].annotation for name in OPTIONS} == OPTIONS
    assert all(parameters[name].default is None for name in OPTIONS)
