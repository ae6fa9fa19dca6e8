"""A service whose model runs elsewhere, from `init` to the recovery, as its callers and operators see it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from starlette.testclient import TestClient

from stillsafe import service
from stillsafe.cli import main
from stillsafe.errors import NoModel
from stillsafe.guard import Guard
from stillsafe.init.recorded_answers import AnswerColumns
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from tests.init.external import FEATURES, applicants, external_service
from tests.stores import with_store

STEP = timedelta(minutes=10)
Change = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Clock:
    """Simulated time."""

    now: datetime = field(default=datetime(2026, 4, 1, 9, tzinfo=UTC))

    def __call__(self) -> datetime:
        """Now."""
        return self.now


@dataclass
class Caller:
    """A program that has a model of its own, and obeys the guard."""

    guard: Guard
    clock: Clock
    row_count: int = 60
    step_count: int = 0
    prediction_ids: list[str] = field(default_factory=list)

    def step(self, change: Change, *, flip: bool = False, share: float = 0.0) -> str:
        """Ten minutes of requests and a run of the monitor; the state after it.

        Args:
            change: what a fault makes of the features.
            flip: whether the model answers the opposite.
            share: of the rows whose answers are recorded even while the model is bypassed.
        """
        self.step_count += 1
        table = applicants(self.row_count, seed=100 + self.step_count)
        rows = [change({name: row[name] for name in FEATURES}) for row in table.to_dict("records")]
        count = int(share * self.row_count) if self.guard.state().is_bypassed else self.row_count
        self.prediction_ids = self._record(rows[:count], table[:count], flip=flip)
        for row in rows[count:]:
            answer = self.guard.fallback(row)
            assert (answer.decided_by, answer.system_state) == ("fallback", "DEGRADED")
            self.prediction_ids.append(answer.prediction_id)
        self.clock.now += STEP
        decision = service.monitor(self.guard.settings, now=self.clock.now).decision
        assert decision is not None
        return decision.memory.effective_state.value

    def _record(self, rows: list[dict[str, Any]], table: pd.DataFrame, *, flip: bool) -> list[str]:
        shares = (1 - table["p_yes"] if flip else table["p_yes"]).tolist()
        answers = ["yes" if share > 0.5 else "no" for share in shares]
        records = self.guard.record_many(rows, answers, [{"yes": share, "no": 1 - share} for share in shares])
        return [record.prediction_id for record in records]  # type: ignore[union-attr] # each row is right


def healthy(row: dict[str, Any]) -> dict[str, Any]:
    """No fault."""
    return row


def without_age(row: dict[str, Any]) -> dict[str, Any]:
    """A feed that lost the age."""
    return {**row, "age": None}


@pytest.fixture(scope="module")
def external_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `init` writes, once."""
    return external_service(tmp_path_factory.mktemp("external")).folder


@pytest.fixture
def caller(external_folder: Path, tmp_path: Path, named_store: str) -> Iterator[Caller]:
    """The caller of a new external service, on either store."""
    assert named_store
    folder, clock = with_store(Path(shutil.copytree(external_folder, tmp_path / "service"))), Clock()
    with Guard(folder / "stillsafe.toml", clock=clock) as guard:
        yield Caller(guard, clock)


def test_damaged_input_bypasses_the_model_elsewhere_until_it_is_mended(caller: Caller) -> None:
    """NORMAL, a fault, DEGRADED with answers of the fallback, mended, NORMAL; and a replay finds the same decisions."""
    assert {caller.step(healthy) for _ in range(2)} == {"NORMAL"}
    assert [caller.step(without_age) for _ in range(4)] == ["NORMAL", "WARNING", "DEGRADED", "DEGRADED"]
    assert caller.guard.state().damaged_features == ("age",)
    states = [caller.step(healthy) for _ in range(5)]
    assert states[-1] == "NORMAL"
    assert caller.guard.record({"age": 40.0, "income": 2e4, "town": "Ulm"}, "yes", {"yes": 0.9, "no": 0.1}).judged
    engine = service.open_store(caller.guard.settings)
    result = replay(engine, from_logs=True, log_format=LogFormat.of(caller.guard.settings), model_version="1")
    engine.dispose()
    assert result.difference is None
    assert result.windows == result.runs == caller.step_count


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_labels_bypass_a_wrong_model_and_let_a_share_of_its_answers_take_it_back(caller: Caller) -> None:
    """A model that answers the opposite looks healthy by its input; labels of recorded answers show both ends."""
    app, caller.row_count = service.create_app(caller.guard.settings, clock=caller.clock), 115
    states = []
    with TestClient(app) as client:
        for run in range(12):
            states.append(caller.step(healthy, flip=1 <= run < 6, share=0.9))
            labels = applicants(caller.row_count, seed=100 + caller.step_count)["label"].tolist()
            items = [
                {"prediction_id": key, "label": label} for key, label in zip(caller.prediction_ids, labels, strict=True)
            ]
            assert client.post("/v1/labels", json={"labels": items}).status_code == 200
    assert states[1] == "NORMAL"
    assert "DEGRADED" in states
    assert states[-1] == "NORMAL"


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_over_http_a_caller_is_told_what_to_do(caller: Caller) -> None:
    """Every page answers; whoever asks for a prediction gets 409 with the way; the fallback answers and is recorded."""
    settings, row = caller.guard.settings, {"age": 40.0, "income": 20_000, "town": "Ulm"}
    name = settings.service.name
    with TestClient(service.create_app(settings, clock=caller.clock)) as client:
        for path, body in (
            ("/v1/predict", {"features": row}),
            ("/v1/predict/batch", {"instances": [row]}),
            (f"/v2/models/{name}/infer", {"inputs": []}),
        ):
            refusal = client.post(path, json=body)
            assert refusal.status_code == 409
            assert "/v1/record" in refusal.text
        for path in ("/", "/health/ready", "/v1/model", "/v1/state", "/metrics", "/openapi.json", f"/v2/models/{name}"):
            assert client.get(path).status_code == 200, path
        assert client.post("/v1/record", json={"features": row, "prediction": "yes"}).status_code == 422
        record = {"features": row, "prediction": "yes", "probabilities": {"yes": 0.9, "no": 0.1}}
        assert client.post("/v1/record", json=record).json()["confidence"] == 0.9
        answer = client.post("/v1/fallback", json={"features": row}).json()
        assert (answer["fallback_used"], answer["confidence"]) == (True, None)
    for call in (caller.guard.predict, lambda features: caller.guard.predict_many([features])):
        with pytest.raises(NoModel, match="POST /v1/record"):
            call(row)


def test_commands_that_need_a_model_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others work: `check` names what is missing; `status`, `monitor` and `model show` have a clear answer."""
    table = applicants().drop(columns=["p_no", "p_yes"])
    folder = with_store(external_service(tmp_path, table, AnswerColumns("answer")).folder)
    config, sample = str(folder / "stillsafe.toml"), str(tmp_path / "sample.parquet")
    for arguments, code, words in (
        (["check"], 0, "harm: Missing: the model runs elsewhere"),
        (["check"], 0, "shadow score: Missing: the model runs elsewhere"),
        (["monitor"], 0, ""),
        (["status"], 0, "NORMAL"),
        (["backtest", sample], 1, "A backtest scores each row"),
        (["score", sample, "--out", str(tmp_path / "out.csv")], 1, "POST /v1/record"),
        (["model", "show"], 1, "no libraries here"),
        (["init", "--refresh", "--sample", sample], 1, "--predictions COLUMN"),
    ):
        place = ["--out", str(folder)] if arguments[0] == "init" else ["--config", config]
        monkeypatch.setattr("sys.argv", ["stillsafe", *arguments, *place])
        with pytest.raises(SystemExit) as end:
            main()
        output = capsys.readouterr()
        assert ((end.value.code or 0), words in output.out + output.err) == (code, True), arguments
