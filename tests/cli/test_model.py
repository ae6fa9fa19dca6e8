"""`model show` and `model accept`: the libraries of the served model, and their acceptance on record."""

from pathlib import Path

import sklearn

from tests.upgrades import OLD_VERSION, answered_otherwise, edit_reference

from .commands import Command, document


def test_the_libraries_are_shown(run: Command) -> None:
    """Each library with its versions here, at the last measurement and in the file; as JSON too."""
    code, output, _ = run("model", "show")
    assert code == 0
    assert f"scikit-learn: {sklearn.__version__} here, {sklearn.__version__} at the last measurement" in output
    assert "60 synthetic rows are those of the last measurement" in output
    status = document(run("model", "show", "--json")[1])
    assert (status["compared_rows"], status["changed_rows"], status["accepted_by"]) == (60, 0, None)


def test_an_acceptance_has_who_and_why(run: Command, made_service: Path) -> None:
    """Changed answers are status with the command; the acceptance needs a reason and is shown afterwards."""
    edit_reference(made_service, answered_otherwise)
    output = " ".join(run("model", "show")[1].split())
    assert "10 of 60 synthetic rows" in output
    assert OLD_VERSION in output
    assert run("model", "accept", "--reason", " ")[0] == 2
    assert run("model", "accept")[0] == 2
    code, output, _ = run("model", "accept", "--reason", "compared", "--by", "Ada")
    assert code == 0
    assert "Accepted, on record" in output
    output = run("model", "show")[1]
    assert "Accepted by Ada on " in output
    assert "those of the last measurement" in output
