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
    for name, deployment, gated in (
        ("baseline", baseline, verdict.baseline),
        ("candidate", candidate, verdict.candidate),
    ):
        if fingerprint(deployment) != gated:
            return f"the {name} is not the one that was gated: gate it again"
    unknown = sorted(set(prompts) - set(verdict.prompts))
    if unknown:
        return f"{len(unknown)} system prompts in use were not gated ({unknown[0][:12]}): gate them"
    for name, now in (models or {}).items():
        if verdict.models.get(name, now) != now:
            return f"the model behind the {name} changed since it was gated: gate it again"
    return ""
