"""The estimate held to account: bias, error, intervals, and the words for them."""

from dataclasses import replace
from datetime import UTC, datetime

from stillsafe.core.evidence.estimate_account import WindowAccount, account_of

AT = datetime(2026, 3, 2, tzinfo=UTC)
WINDOW = WindowAccount(AT, AT, 300, 0.02, 0.01, 0.01, 0.01)


def test_a_window_is_within_two_standard_errors_of_both() -> None:
    """Those of the estimate and of the labels."""
    assert WINDOW.is_within
    assert not replace(WINDOW, realised_loss=0.06).is_within
    assert replace(WINDOW, realised_loss=0.06, realised_error=0.03).is_within


def test_an_account_that_holds() -> None:
    """The words of the product for forty windows."""
    windows = [replace(WINDOW, realised_loss=0.007)] * 38 + [replace(WINDOW, realised_loss=0.2)] * 2
    account = account_of(windows, "points")
    assert account is not None
    assert account.is_trusted
    assert account.sentence == (
        "Over the last 40 labelled windows the estimate was 1.3 points off, 38 within its interval."
    )


def test_an_account_that_does_not_hold_says_why() -> None:
    """On which side it errs, and what that is usually a sign of; of few windows nothing is said."""
    blind = account_of([replace(WINDOW, realised_loss=0.12)] * 10, "points")
    timid = account_of([replace(WINDOW, estimated_loss=0.4)] * 10, "growth")
    assert blind is not None
    assert timid is not None
    assert blind.sentence == (
        "The estimate is not to be trusted on this service: over the last 10 labelled windows the estimate was 10.0 "
        "points off, 0 within its interval; it saw 10.0 points too little loss on average, as it does where the same "
        "inputs have another truth now."
    )
    assert "39% too much loss" in timid.sentence
    few = account_of([replace(WINDOW, realised_loss=0.12)], "loss")
    assert few is not None
    assert few.sentence == "Over one labelled window the estimate was 0.1 off, 0 within its interval."
    assert account_of([], "loss") is None
