"""The content of a new reference file: the baseline, the confidence scale, and facts and answers of the model."""

from collections.abc import Mapping
from dataclasses import replace

from stillsafe.core.baseline import Baseline
from stillsafe.init import inspect
from stillsafe.model.library_versions import SKLEARN, running_version, running_versions
from stillsafe.model.model import Model
from stillsafe.model.probe_answers import probe_answers
from stillsafe.model.reference import ModelFacts, Reference


def reference_content(model: Model, baseline: Baseline, facts: ModelFacts | None) -> bytes:
    """The bytes of the file, with the library versions and the answers of this Python; of an external model without.

    Args:
        model: the served model.
        baseline: measured with it.
        facts: about the model, or None if an older file had none.
    """
    if model.is_external:
        return Reference(baseline, model.scale).to_json().encode()
    versions = running_versions(model.estimator)
    reference = Reference(baseline, model.scale, None if facts is None else replace(facts, library_versions=versions))
    with inspect.suppress_warnings():
        return replace(reference, probes=probe_answers(model, reference)).to_json().encode()


def model_facts(model: Model, sha256: str, origin_versions: Mapping[str, str]) -> ModelFacts:
    """The facts of a model that `init` read; `origin_versions` are those that its file named."""
    check = model.compiled.equivalence if model.compiled is not None else None
    version = running_version(SKLEARN) or ""
    return ModelFacts(model.kind, model.classes, version, sha256, check, origin_versions=origin_versions)
