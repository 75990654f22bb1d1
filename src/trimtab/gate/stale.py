"""Stale: whether a verdict still speaks of what is to be rolled out."""

from __future__ import annotations

from collections.abc import Iterable

from trimtab.deployment import Deployment
from trimtab.verdict import Verdict, fingerprint


def reopened(
    verdict: Verdict,
    baseline: Deployment,
    candidate: Deployment,
    prompts: Iterable[str] = (),
    models: dict[str, str] | None = None,
) -> str:
    """Why the verdict does not hold for these Deployments any more; empty while it does.

    `prompts` are digests (`gate.sides.system_prompts`) of the system prompts now in use, `models` what the servers say
    of their models now (`gate.sides.said_of_models`); what is not given is not looked at.
    """
    return changed(verdict, (fingerprint(baseline), fingerprint(candidate)), prompts, models)


def changed(
    verdict: Verdict, now: tuple[str, str], prompts: Iterable[str] = (), models: dict[str, str] | None = None
) -> str:
    """`reopened` for the fingerprints of baseline and candidate as they are `now`: a side's has its prompt in it."""
    for name, gated, found in (("baseline", verdict.baseline, now[0]), ("candidate", verdict.candidate, now[1])):
        if found != gated:
            return f"the {name} is not the one that was gated: gate it again"
    unknown = sorted(set(prompts) - set(verdict.prompts))
    if unknown:
        return f"{len(unknown)} system prompts in use were not gated ({unknown[0][:12]}): gate them"
    for name, said in (models or {}).items():
        if verdict.models.get(name, said) != said:
            return f"the model behind the {name} changed since it was gated: gate it again"
    return ""
