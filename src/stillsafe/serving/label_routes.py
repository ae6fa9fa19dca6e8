"""The route by which labels come in."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from stillsafe.core.schema import Violation, summary
from stillsafe.core.text import display_name
from stillsafe.label_intake import LabelForm, LabelItem, LabelReport, take_in
from stillsafe.serving.access.rate_limit import charge_items
from stillsafe.serving.body import json_body
from stillsafe.serving.body.request_id import MOST_CHARACTERS, is_request_id
from stillsafe.serving.openapi import labels_body
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import RefusedRequest, problem, problem_responses, schema_problem
from stillsafe.serving.schemas import LabelReportDocument
from stillsafe.store import database
from stillsafe.time_share import TimeShare

MOST_LABELS, MOST_SHOWN = 1_000, 20
SLICE_LABELS = 200
"""Most labels of one transaction, during which predictions on SQLite wait. A repeated delivery stores nothing twice."""
ID_ALLOWED = f"either `prediction_id` or `id`, a string of 1 to {MOST_CHARACTERS} printable characters"
KEYS = ("prediction_id", "id", "label")


def label_routes(context: Context) -> APIRouter:
    """`POST /v1/labels`."""
    routes = APIRouter(prefix="/v1", tags=["labels"])
    form, share = LabelForm(context.model.classes), TimeShare()

    @routes.post(
        "/labels",
        responses={200: {"model": LabelReportDocument}, **problem_responses(400, 404, 408, 413, 415, 422, 503)},
        openapi_extra=labels_body(MOST_LABELS, context.model.classes),
    )
    async def labels(request: Request) -> Response:
        """Add the labels of predictions. They are durable once this answers."""
        most_bytes = context.settings.serving.max_body_bytes
        content = await json_body.read_body(request.scope, request.receive, most_bytes)
        body = await share.run(lambda: _read_labels(form, content))
        for start in range(0, len(body.items), SLICE_LABELS):
            body.report.add(await share.run(partial(_take_in, context, body.items[start : start + SLICE_LABELS])))
        charge_items(request.scope, body.label_count)
        if body.is_single and body.report.unknown_count:
            raise RefusedRequest(problem(404, "The log has no prediction with this identifier."))
        return Response(json.dumps(body.report.document()), media_type="application/json")

    return routes


class _Labels(NamedTuple):
    """A body: the labels that can be stored, how many it has, whether it is a single one, a report of the others."""

    items: Sequence[LabelItem]
    label_count: int
    is_single: bool
    report: LabelReport


def _read_labels(form: LabelForm, content: bytes) -> _Labels:
    document = json_body.parse(content, interruptible=True)
    is_single = isinstance(document, Mapping) and "labels" not in document
    entries = [document] if is_single else _entries(document)
    checks = [_check(form, entry) for entry in entries]
    if is_single and isinstance(checks[0], tuple) and not isinstance(checks[0], LabelItem):
        raise RefusedRequest(schema_problem(checks[0]))
    report = LabelReport()
    for index, check in enumerate(checks):
        if not isinstance(check, LabelItem):
            report.refuse(f"labels[{index}]: {check[0]}")
    items = [check for check in checks if isinstance(check, LabelItem)]
    return _Labels(items, len(entries), is_single, report)


def _take_in(context: Context, items: Sequence[LabelItem]) -> LabelReport:
    if context.failover is not None:
        context.failover.require_store()
    # On SQLite all writers of the process take turns, which is faster than waiting for the database's lock.
    with context.write_lock, database.writing(context.engine) as connection:
        return take_in(connection, items, context.clock())


def _entries(document: object) -> list[Any]:
    allowed = f"an array of 1 to {MOST_LABELS} objects"
    if not isinstance(document, Mapping):
        violation = Violation(json_body.BODY, "wrong_type", "not an object", '{"labels": [...]}')
        raise RefusedRequest(schema_problem([violation]))
    others = [name for name in document if name != "labels"]
    violations = [Violation(display_name(name), "unknown_key", "no such key", "only `labels`") for name in others]
    entries = document["labels"]
    if not isinstance(entries, list) or not entries:
        violations.append(Violation("labels", "wrong_type", "not an array with labels", allowed))
    if violations or json_body.repeated_keys(document):
        raise RefusedRequest(schema_problem(_first(violations or [_repetition(document)])))
    if len(entries) > MOST_LABELS:
        violation = Violation("labels", "too_many", f"{len(entries)} labels are too many", allowed)
        raise RefusedRequest(problem(413, f"A request must not hold more than {MOST_LABELS} labels.", [violation]))
    return list(entries)


def _check(form: LabelForm, entry: object) -> LabelItem | tuple[Violation, ...]:
    """The label of one entry, or what is wrong with it."""
    if not isinstance(entry, Mapping):
        return (Violation("labels", "wrong_type", "not an object", "an object with an identifier and a label"),)
    violations = [
        Violation(display_name(name), "unknown_key", "no such key", f"only {', '.join(KEYS)}")
        for name in entry
        if name not in KEYS
    ]
    if json_body.repeated_keys(entry):
        violations.append(_repetition(entry))
    ids = [entry.get(name) for name in KEYS[:2]]
    if ids.count(None) != 1 or not is_request_id(next(each for each in (*ids, "") if each is not None)):
        violations.append(Violation("prediction_id", "missing", "not one identifier", ID_ALLOWED))
    text = form.text(entry.get("label"))
    if text is None:
        violations.append(Violation("label", "not_allowed", "no label of this model", form.allowed))
    if violations or text is None:
        return _first(violations)
    return LabelItem(ids[0], ids[1], text)


def _first(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    return summary(violations[:MOST_SHOWN], len(violations), MOST_SHOWN)


def _repetition(document: Mapping[str, Any]) -> Violation:
    name = json_body.repeated_keys(document)[0]
    return Violation(display_name(name), "repeated", "given more than once", "once")
