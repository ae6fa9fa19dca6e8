"""The labels in force, for tests of what stores them."""

from collections.abc import Sequence

from sqlalchemy import Connection

from stillsafe.store.read.labels import label_history


def labels_in_force(connection: Connection, prediction_ids: Sequence[str]) -> dict[str, str]:
    """The last label that arrived for each of these predictions that has one."""
    histories = {each: label_history(connection, each) for each in prediction_ids}
    return {name: history[-1].label for name, history in histories.items() if history}
