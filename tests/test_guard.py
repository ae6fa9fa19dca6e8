"""`Guard`: what a server answers, records and refuses, in a program of its own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

import stillsafe
from stillsafe import service
from stillsafe.errors import ConfigurationError, StoreError
from stillsafe.guard import Guard, IdInUse, InvalidFeatures, Prediction
from stillsafe.model.model import Model
from stillsafe.monitoring import hold
from stillsafe.serving.schemas import PredictionDocument
from stillsafe.store import database
from stillsafe.store.read.request_id import prediction_by_id
from stillsafe.store.tables import prediction_logs, refusals
from tests.faults.api import wait_until
from tests.stores import with_store

Row = dict[str, float]
BAD = {"mean radius": "wide"}


@pytest.fixture
def guard(made_service: Path, named_store: str) -> Iterator[Guard]:
    """A guard of a real service, on either store."""
    assert named_store
    with Guard(with_store(made_service) / "stillsafe.toml") as new_guard:
        yield new_guard


def _counts(guard: Guard) -> tuple[int, int]:
    """Rows of the log, and refusals."""
    engine = service.connect(guard.settings)
    with database.reading(engine) as connection:
        counts = [connection.execute(select(func.count()).select_from(each)).scalar_one() for each in _TABLES]
    engine.dispose()
    return counts[0], counts[1]


_TABLES = (prediction_logs, refusals)


def _bypass(guard: Guard) -> None:
    """Hold the state DEGRADED."""
    engine = service.open_store(guard.settings)
    hold.hold(engine, guard.settings.model.version, by="a test", reason="a test", at=service.utc_now())
    engine.dispose()


def test_a_guard_answers_and_records_as_the_server_does(guard: Guard, healthy_rows: list[Row]) -> None:
    """The same fields with the same values, but for identifier and time; and as many rows in the log."""
    with TestClient(service.create_app(guard.settings)) as client:
        over_http = client.post("/v1/predict", json={"features": healthy_rows[0], "id": "a"}).json()
    answer = guard.predict(healthy_rows[0], id="b")
    document = answer.document()
    assert json.loads(json.dumps(document)) == document
    assert [*document] == [*over_http] == [*PredictionDocument.model_fields] == [each.name for each in fields(answer)]
    own = {"prediction_id", "timestamp", "id"}
    assert {name: document[name] for name in document if name not in own} == {
        name: over_http[name] for name in over_http if name not in own
    }
    assert _counts(guard) == (2, 0)


def test_wrong_features_are_refused_and_recorded(guard: Guard, healthy_rows: list[Row]) -> None:
    """With all violations; a probe's refusal is not recorded, and nothing is answered."""
    for features in (BAD, {**healthy_rows[0], "mean radius": float("inf")}, None, [1]):
        with pytest.raises(InvalidFeatures, match="breaks the schema") as refusal:
            guard.predict(features)  # type: ignore[arg-type] # what a careless caller passes
        assert refusal.value.violations
    with pytest.raises(InvalidFeatures):
        guard.predict(healthy_rows[0], id="")
    with pytest.raises(InvalidFeatures):
        guard.predict(BAD, synthetic=True)
    assert _counts(guard) == (0, 5)


def test_a_retry_gets_the_stored_answer(guard: Guard, healthy_rows: list[Row]) -> None:
    """The id of a request with other features is refused."""
    first, second = guard.predict(healthy_rows[0], id="a"), guard.predict(healthy_rows[0], id="a")
    assert first == second
    with pytest.raises(IdInUse, match="'a'"):
        guard.predict(healthy_rows[1], id="a")
    assert _counts(guard) == (1, 0)


def test_many_rows_are_answered_or_refused_one_by_one(guard: Guard, healthy_rows: list[Row]) -> None:
    """A frame with a missing value, and a list; more rows than a block has."""
    frame = pd.DataFrame(healthy_rows[:3]).astype({"worst area": np.float32})
    frame.loc[0, "worst area"] = np.nan
    frame.loc[1, "mean radius"] = -np.inf
    answers = guard.predict_many(frame, ids=["a", "b", None])
    assert [type(answer) for answer in answers] == [Prediction, InvalidFeatures, Prediction]
    again = guard.predict_many([{**healthy_rows[0], "worst area": None}, healthy_rows[1]], ids=["a", "a"])
    assert again[0] == answers[0]
    assert isinstance(again[1], IdInUse)
    rows = [healthy_rows[number % len(healthy_rows)] for number in range(1_100)]
    assert all(isinstance(answer, Prediction) for answer in guard.predict_many(rows))
    assert _counts(guard) == (1_102, 1)
    with pytest.raises(ValueError, match="1 ids for 2 rows"):
        guard.predict_many(healthy_rows[:2], ids=["a"])


def test_threads_share_batches_and_get_their_own_answers(guard: Guard, healthy_rows: list[Row]) -> None:
    """Each answer is the one that its row gets alone, and is recorded once."""
    single_answers = [guard.predict(row).probabilities for row in healthy_rows[:20]]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(guard.predict, healthy_rows[:20] * 5))
    for index, answer in enumerate(answers):
        assert answer.probabilities == pytest.approx(single_answers[index % 20])
    assert len({answer.prediction_id for answer in answers}) == 100
    assert _counts(guard) == (120, 0)


def test_event_loops_share_batches(guard: Guard, healthy_rows: list[Row]) -> None:
    """In one loop after another, and beside a thread; a wrong row costs only itself."""

    async def story() -> list[Any]:
        rows: list[Any] = [*healthy_rows[:20], BAD]
        return await asyncio.gather(*(guard.apredict(row) for row in rows), return_exceptions=True)

    for _ in range(2):
        *answers, error = asyncio.run(story())
        assert isinstance(error, InvalidFeatures)
        assert len({answer.prediction_id for answer in answers}) == 20
    assert _counts(guard) == (40, 2)


def test_a_model_that_hangs_delays_each_caller_by_its_time_limit_at_most(
    guard: Guard, healthy_rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coroutines and threads get the fallback's answer, and the model's again when its call has returned."""
    release, score = Event(), Model.score

    def late_score(model: Model, *arguments: Any) -> Any:
        release.wait(60)
        return score(model, *arguments)

    async def answer() -> Prediction:
        async with asyncio.timeout(30):
            return await guard.apredict(healthy_rows[0])

    assert asyncio.run(answer()).decided_by == "model"
    monkeypatch.setattr(Model, "score", late_score)
    answers = [asyncio.run(answer()), guard.predict(healthy_rows[0])]
    assert [each.decided_by for each in answers] == ["fallback"] * 2
    release.set()
    wait_until(lambda: asyncio.run(answer()).decided_by == "model")
    assert "timed out" in answers[0].reason


def test_while_the_model_is_bypassed_the_fallback_answers(guard: Guard, healthy_rows: list[Row]) -> None:
    """The state says so before it is asked; the fallback answers on demand in any state, on record."""
    state = guard.state()
    assert (state.state, state.is_bypassed, state.bypass_reason) == ("NORMAL", False, None)
    on_demand = guard.fallback(healthy_rows[0])
    assert (on_demand.fallback_used, on_demand.reason.startswith("The client asked")) == (True, True)
    _bypass(guard)
    state = guard.state()
    assert (state.state, state.is_bypassed) == ("DEGRADED", True)
    answer = guard.predict(healthy_rows[0])
    assert (answer.decided_by, answer.prediction) == ("fallback", on_demand.prediction)
    assert guard.fallback(healthy_rows[0]).reason == answer.reason
    assert _counts(guard) == (3, 0)


def test_answers_of_a_model_elsewhere_are_recorded(guard: Guard, healthy_rows: list[Row]) -> None:
    """They stand in the log as answers of the model, with their confidence; wrong ones are refused."""
    answer = guard.record(healthy_rows[0], np.int64(1), {0: 0.25, "1": np.float64(0.75)}, id="a")
    assert (answer.prediction, answer.confidence, answer.fallback_used) == (1, 0.75, False)
    assert guard.record(healthy_rows[0], 1, {0: 0.25, 1: 0.75}, id="a") == answer
    with pytest.raises(IdInUse):
        guard.record(healthy_rows[0], 0, {0: 0.9, 1: 0.1}, id="a")
    engine = service.connect(guard.settings)
    with database.reading(engine) as connection:
        row = prediction_by_id(connection, answer.prediction_id)
    engine.dispose()
    assert row is not None
    assert (row.prediction, row.confidence, row.decided_by) == ("1", 0.75, "model")
    wrong: list[tuple[Any, Any]] = [(2, None), ("1", {0: 0.2, 1: 0.8}), (1, {1: 0.8}), (1, {0: 2.0, 1: 0.1}), (1, None)]
    for prediction, probabilities in wrong:
        with pytest.raises(InvalidFeatures):
            guard.record(healthy_rows[0], prediction, probabilities)
    assert guard.record(healthy_rows[0], 1, confidence=0.5).confidence == 0.5
    assert _counts(guard) == (2, 5)


def test_a_wrong_row_among_many_records_fails_alone(guard: Guard, healthy_rows: list[Row]) -> None:
    """Probabilities are a data frame, an array or rows of any form."""
    shares = np.array([[0.25, 0.75], [0.5, 0.5]])
    classes = [*guard.classes]
    for probabilities in (
        shares,
        pd.DataFrame(shares, columns=classes),
        pd.DataFrame(shares[:, ::-1], columns=classes[::-1]),
    ):
        answers = guard.record_many(healthy_rows[:2], np.array([1, 1]), probabilities)
        assert [each.confidence for each in answers if isinstance(each, Prediction)] == [0.75, 0.5]
    mixed_forms: list[Any] = [[0.25, 0.75], 7, {0: 1, 1: 1}, pd.NA, shares[1]]
    answers = guard.record_many(healthy_rows[:5], [1, 1, 1, 1, pd.NA], mixed_forms)
    assert [type(each) for each in answers] == [Prediction, *[InvalidFeatures] * 4]
    assert _counts(guard) == (7, 4)


@pytest.mark.parametrize("form", [dict, pd.Series, lambda row: pd.DataFrame([row])])
def test_decimals_and_missing_values_of_pandas_are_plain_values(
    guard: Guard, healthy_rows: list[Row], form: Any
) -> None:
    """In a mapping, a row and a data frame they are answered as Python's own numbers and None."""
    row: dict[str, Any] = {name: pd.NA if value is None else value for name, value in healthy_rows[0].items()}
    row |= {name: Decimal(repr(value)) for name, value in row.items() if type(value) in (int, float)}
    features = form(row)
    answers = guard.predict_many(features if isinstance(features, pd.DataFrame) else [features])
    assert [each.prediction for each in answers if isinstance(each, Prediction)] == [
        guard.predict(healthy_rows[0]).prediction
    ]


def test_a_data_frame_with_a_column_twice_is_refused_by_its_name(guard: Guard, healthy_rows: list[Row]) -> None:
    """With and without ids; a column that is no feature may occur as often as it likes."""
    table = pd.DataFrame(healthy_rows[:2])
    name = guard.settings.features[0].name
    double_table = pd.concat([table, table[[name]]], axis=1)
    for ids in (None, ["a", "b"]):
        with pytest.raises(ValueError, match=f"the column '{name}' 2 times"):
            guard.predict_many(double_table, ids=ids)
    spare = pd.DataFrame([[1, 2]] * 2, columns=["spare", "spare"])
    answers = guard.predict_many(pd.concat([table, spare], axis=1))
    assert all(isinstance(each, Prediction) for each in answers)


def test_errors_that_are_not_of_features_do_not_speak_of_the_schema(guard: Guard, healthy_rows: list[Row]) -> None:
    """In the program and over HTTP, of every route that takes a body."""
    wrong_id: Any = 5
    with pytest.raises(InvalidFeatures, match=r"^The request has wrong parameters: id\. See /docs\.$"):
        guard.predict(healthy_rows[0], id=wrong_id)
    with pytest.raises(InvalidFeatures, match=r"wrong parameters: prediction, probabilities\. See /docs"):
        guard.record(healthy_rows[0], "?", 7)
    bodies: list[tuple[str, Any, str]] = [
        ("/v1/labels", {"id": "a", "label": "?"}, "label"),
        ("/v1/labels", {"labels": []}, "labels"),
        ("/v1/predict", {"features": healthy_rows[0], "id": 5}, "id"),
        ("/v1/predict/batch", {"instances": []}, "instances"),
        ("/v1/record", {"features": healthy_rows[0], "prediction": "?"}, "prediction"),
        ("/v2/models/made/infer", {"id": 5, "inputs": []}, "id"),
        ("/v2/models/made/infer", {"inputs": 5}, "inputs"),
    ]
    with TestClient(service.create_app(guard.settings)) as client:
        for path, body, place in bodies:
            route = path.replace("/made/", f"/{guard.settings.service.name}/")
            text = client.post(route, json=body).text
            assert f"wrong parameters: {place}. See /docs." in text, (path, text)


def test_numbers_of_numpy_are_recorded(guard: Guard, healthy_rows: list[Row]) -> None:
    """The arrays of a model as they are: classes, probabilities and a confidence are NumPy's scalars."""
    classes = np.array([int(each) for each in guard.classes])
    shares = np.array([0.25, 0.75], dtype=np.float32)
    answer = guard.record(healthy_rows[0], classes[1], dict(zip(classes, shares, strict=True)), id="n1")
    assert (answer.prediction, answer.confidence) == (int(classes[1]), 0.75)
    again = guard.record(healthy_rows[0], classes[1], confidence=np.float32(0.5), id="n2")
    assert again.confidence == 0.5
    assert _counts(guard) == (2, 0)
    with pytest.raises(IdInUse):
        guard.record(healthy_rows[0], classes[0], confidence=0.5, id="n1")
    with pytest.raises(IdInUse):
        guard.predict(healthy_rows[0], id="n1")


def test_a_frame_without_features_is_refused_row_by_row(guard: Guard) -> None:
    """No row is left out without a word."""
    results = guard.predict_many(pd.DataFrame({"Mean Radius": [1.0, 2.0]}))
    assert [type(each) for each in results] == [InvalidFeatures] * 2


def test_loops_that_have_ended_are_let_go(guard: Guard, healthy_rows: list[Row]) -> None:
    """A program that calls `asyncio.run` for each request keeps the last loop at most."""
    for row in healthy_rows[:4]:
        asyncio.run(guard.apredict(row))
    process = guard._open()
    assert len(process.loops) <= 1


def test_an_answer_that_cannot_be_recorded_is_not_given(made_service: Path, healthy_rows: list[Row]) -> None:
    """The database is gone: an error, and after its return answers again."""
    guard = stillsafe.Guard(str(with_store(made_service) / "stillsafe.toml"))
    guard.predict(healthy_rows[0])
    file = made_service / "stillsafe.db"
    file.rename(made_service / "away.db")
    with pytest.raises(StoreError):
        guard.predict(healthy_rows[0])
    (made_service / "away.db").rename(file)
    assert guard.predict(healthy_rows[0]).prediction is not None
    guard.close()
    assert guard.predict(healthy_rows[0]).prediction is not None  # a closed guard opens again
    guard.close()


def test_a_guard_without_a_service_says_what_is_missing(tmp_path: Path) -> None:
    """Where it is made, and not at the first request."""
    with pytest.raises(ConfigurationError, match="There is no such file"):
        Guard(tmp_path / "stillsafe.toml")


def test_an_existing_app_needs_two_lines(made_service: Path, healthy_rows: list[Row]) -> None:
    """The guard, and its answer in place of the model's; the lifespan closes it where one wants that."""
    guard = Guard(with_store(made_service) / "stillsafe.toml")
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/score")
    async def score(features: dict[str, Any]) -> dict[str, Any]:
        return (await guard.apredict(features)).document()

    with TestClient(app) as client:
        answer = client.post("/score", json=healthy_rows[0]).json()
    assert answer["decided_by"] == "model"
    assert _counts(guard) == (1, 0)


FORKS = """
import json, os, sys
from stillsafe import Guard
row = json.loads(sys.argv[2])
guard = Guard(sys.argv[1])
guard.predict(row)
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        for _ in range(10):
            guard.predict(row)
        os._exit(0)
    children.append(child)
for _ in range(10):
    guard.predict(row)
sys.exit(max(os.waitpid(child, 0)[1] for child in children))
"""


def test_forks_and_processes_record_every_answer(made_service: Path, named_store: str, healthy_rows: list[Row]) -> None:
    """A parent that has answered, and three children, at the same time; the database stays intact."""
    assert named_store
    file = with_store(made_service) / "stillsafe.toml"
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(file), json.dumps(healthy_rows[0])]
    subprocess.run(command, check=True, timeout=120)
    with Guard(file) as guard:
        guard.predict(healthy_rows[0])
        assert _counts(guard) == (42, 0)
    engine = service.connect(guard.settings)
    if engine.dialect.name == "sqlite":
        with database.reading(engine) as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    engine.dispose()
