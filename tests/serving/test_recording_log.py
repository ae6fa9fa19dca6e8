"""One line where an outage begins and one where it ends."""

import pytest

from stillsafe.errors import StoreError
from stillsafe.logs import LogEvent
from stillsafe.serving import recording_log
from stillsafe.serving.recording_log import RecordingLog


def attempts(log: RecordingLog, outcomes: str) -> None:
    """An attempt for each letter: `x` fails."""
    for outcome in outcomes:
        if outcome == "x":
            with pytest.raises(StoreError, match="the disk is full"), log.attempt():
                raise StoreError("the disk is full")
        else:
            with log.attempt():
                pass


def new_log() -> RecordingLog:
    return RecordingLog(LogEvent.ANSWERS_LOST, LogEvent.ANSWERS_BACK)


@pytest.mark.parametrize(("outcomes", "events"), [("..", []), (".xxx", ["lost"]), ("xxx..", ["lost", "back"])])
def test_each_outage_has_two_lines(caplog: pytest.LogCaptureFixture, outcomes: str, events: list[str]) -> None:
    """However many attempts fail; the second line counts them."""
    log = new_log()
    attempts(log, outcomes)
    names = {"lost": LogEvent.ANSWERS_LOST.event, "back": LogEvent.ANSWERS_BACK.event}
    assert [record.getMessage() for record in caplog.records] == [names[each] for each in events]
    assert (log.error is not None) is (outcomes[-1] == "x")
    if "back" in events:
        assert caplog.records[-1].fields["failures"] == 3  # type: ignore[attr-defined] # of the log
    for record in caplog.records:
        assert set(record.fields) <= {"error", "failures", "seconds", "process"}  # type: ignore[attr-defined] # the same


def test_a_store_that_comes_and_goes_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an end the next beginning is logged only once it has lasted; and then its end is, too."""
    log = new_log()
    attempts(log, "x." * 100)
    assert len(caplog.records) == 2
    monkeypatch.setattr(recording_log, "PAUSE_SECONDS", 0.0)
    attempts(log, "xx.")
    assert len(caplog.records) == 4
