"""Levers that answer without the old model: kept answers, a label head, a smaller model, a tuned one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.errors import FormatError
from trimtab.levers import labels, narrowness
from trimtab.levers.cache import forecast, glance, options, recorded
from trimtab.plan.case import Case, smaller
from trimtab.plan.worth import Budget, Effort, Evidence, Word, Worth
from trimtab.store import personal
from trimtab.store.redaction import scrub_text

if TYPE_CHECKING:
    import numpy as np

    Embed = Callable[[Sequence[str]], np.ndarray[Any, Any]]

LEAST = 0.05  # of an agent's cost: what is worth the trouble
CORE_HOUR = 0.05  # US dollars, for an encoder on a CPU
ROUTED = (
    0.2  # of calls that a router by the prompt alone moved without loss (RouteLLM's tables of MMLU and GSM8K: LOG.md)
)
TUNED = 0.5  # of the outputs in known forms; what a student learns of them is known after training only
TERMS_MOST = 2000


class Eye(NamedTuple):
    """The sentence encoder with its version; `texts` is how many of an agent's it may read."""

    embed: Embed
    version: str
    texts: int


def cache(its: Case, eye: Eye | None, budget: Budget) -> Worth:
    """The cache's policy played on the first calls, and carried on over those that follow."""
    setting = options.read({"seed": budget.seed})
    most = min(budget.calls, eye.texts) if eye is not None else budget.calls
    calls = recorded.calls(its.traces(), setting, len(its.records))[:most]
    if not calls:
        return skipped(its, "cache", "no call has both its bodies")
    told = glance.glance(calls, setting, eye.embed if eye is not None else None)
    hits = [bool(tier) for tier in told.tier]
    # Rarely asked answers come back, too: half of what was new so far may have come before the calls ahead.
    ceiling = min(sum(told.eligible) / len(calls), (1 + told.repeats) / 2)
    found = forecast.forecast(hits, max(len(calls), its.use.calls - len(calls)), ceiling, budget.seed)
    weight = _weight([float(each.call.cost_nanodollars or 0) for each in calls], hits)
    saving, low, high = (min(1.0, share * weight) for share in (found.rate, found.low, found.high))
    wrong, exact = sum(told.wrong), sum(tier == "exact" for tier in told.tier)
    word = Word.WORTH if low >= LEAST else Word.TRY if high >= LEAST and sum(hits) else Word.NO
    by = "" if eye is not None else "; the very same questions only, without the encoder"
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever="cache",
        word=word,
        says=f"{found.rate:.0%} [{found.low:.0%}, {found.high:.0%}] of the {found.ahead:,} calls after these would be "
        f"answered from what was kept ({sum(hits):,} of the {len(calls):,} seen, {exact:,} of them exact repeats)",
        n=len(calls),
        saving=saving,
        low=low,
        high=high,
        seconds=found.rate,
        seconds_low=found.low,
        seconds_high=found.high,
        quality=setting.alpha * found.rate,
        evidence=Evidence.MEASURED,
        missing=("whether answers in other words are the same: `trimtab estimate cache` plays all of it",),
        risk=f"{wrong} of {sum(hits)} hits differed from the recorded answer; bound by alpha = {setting.alpha:g}",
        effort=Effort.OPTION,
        breaks="answers that change while the question does not; new kinds of questions",
        method=f"policy played on the first {len(calls):,} calls, its curve carried on{by}",
        look=tuple(each.call.id for each, hit in zip(calls, hits, strict=True) if hit)[:5],
        facts={
            "eligible": sum(told.eligible) / len(calls),
            "exact": exact,
            "late": found.late,
            "rate": found.rate,
            "low": found.low,
            "high": found.high,
        },
    )


def _weight(costs: Sequence[float], hits: Sequence[bool]) -> float:
    """What a hit saves, over what a call costs on average."""
    total, n = sum(costs), sum(hits)
    if not total or n < 30:
        return 1.0
    return (sum(cost for cost, hit in zip(costs, hits, strict=True) if hit) / n) / (total / len(costs))


def label_head(its: Case, eye: Eye | None, budget: Budget) -> Worth:
    """Where the outputs are a closed set: TF-IDF + logistic regression and the encoder + linear head, held out."""
    closed = labels.closed_set(map(labels.label, its.examples))
    if closed is None:
        return _no(its, "label head", "its outputs are no closed set of labels", len(its.examples))
    if eye is None:
        return skipped(its, "label head", f"{len(closed.labels)} labels; the encoder is missing or has no time left")
    try:
        parts = labels.parted(its.examples[: eye.texts], closed)
    except FormatError as error:
        return skipped(its, "label head", str(error))
    best = labels.by_encoder(parts, closed, eye.embed, eye.version, budget.alpha)
    plain = labels.by_terms(parts, closed, budget.alpha, TERMS_MOST)
    agreed, cut = best.agreement, best.cutoff
    own = best.ms_per_text * CORE_HOUR / 3.6e6 * 1e9
    kept = max(0.0, 1 - own / its.per_call) if its.per_call else 0.0
    good = agreed.low > agreed.commonest and cut.answered_low >= 0.5
    word = Word.WORTH if good else Word.TRY if cut.answered_high * kept >= LEAST else Word.NO
    said = "a small encoder is enough" if word is Word.WORTH else "a small encoder is not yet enough"
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever="label head",
        word=word,
        says=f"{said}: {len(closed.labels)} labels, {agreed.share:.1%} [{agreed.low:.1%}, {agreed.high:.1%}] of "
        f"{agreed.n:,} held-out answers are the old model's; it answers {cut.answered:.0%}, the old model the rest",
        n=agreed.n,
        saving=cut.answered * kept,
        low=cut.answered_low * kept,
        high=cut.answered_high * kept,
        seconds=cut.answered,
        seconds_low=cut.answered_low,
        seconds_high=cut.answered_high,
        quality=cut.alpha * cut.answered,
        evidence=Evidence.MEASURED,
        missing=("how often the old model itself is right: it is copied, errors too", "the gate on live traffic"),
        risk=f"{cut.wrong:.1%} (at most {cut.wrong_high:.1%}) of its answers differ from the old model's",
        effort=Effort.HOURS,
        breaks="a new label, a new wording of the task, another mix of labels",
        method=f"{best.method} fitted to {best.fitted:,} calls, cut-off at {cut.alpha:.0%} wrong with "
        f"{cut.confidence:.0%} confidence; beside it {plain.method}, {plain.agreement.share:.1%}",
        look=tuple(each.call.id for each in its.examples[:5]),
        facts={
            "labels": [shown(name) for name in closed.labels[:20]],
            "accuracy": agreed.share,
            "accuracy_low": agreed.low,
            "accuracy_high": agreed.high,
            "tfidf": plain.agreement.share,
            "answered": cut.answered,
            "threshold": cut.threshold,
            "ms_per_text": best.ms_per_text,
            "nanodollars_per_call": own,
        },
    )


def smaller_model(its: Case) -> Worth:
    """A stock model of the same maker, by a route or a cascade: nothing but its price is known."""
    found = smaller(its)
    if found is None:
        return skipped(its, "smaller model", "the price table knows no smaller model of the same maker")
    name, share = found
    ceiling = 1 - share
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever="smaller model",
        word=Word.TRY if ceiling >= LEAST else Word.NO,
        says=f"{name} costs {share:.0%} for the same tokens: all calls moved saves {ceiling:.0%}, none is proven yet",
        n=len(its.records),
        saving=ROUTED * ceiling,
        low=0.0,
        high=ceiling,
        quality=0.02,
        evidence=Evidence.CEILING,
        missing=(f"the recorded calls replayed on {name} and compared by the gate: some hundred paid calls",),
        risk="quality unknown until the gate has said promote; margin 2 points",
        effort=Effort.HOURS,
        breaks="a harder mix of questions; another version of either model",
        method=f"list prices; the middle takes {ROUTED:.0%} of calls to be easy, as in public router tables",
        facts={"model": name, "price_share": share},
    )


def tuned_model(its: Case) -> Worth:
    """A narrow agent's work by a small fine-tuned model."""
    if len(its.examples) < 2:
        return skipped(its, "tuned small model", "no call has both its bodies")
    narrow = narrowness.measure(its.examples)
    found = smaller(its, smallest=True)
    facts = {
        "template": narrow.template,
        "covered": narrow.covered,
        "covered_low": narrow.low,
        "structured": narrow.structured,
        "forms": [shown(form.shape)[:120] for form in narrow.forms[:5] if form.kind != "text"],
        "traces": narrow.n,
        "needed": narrowness.ENOUGH,
    }
    why = (
        f"{narrow.template:.0%} of its prompts is constant, {narrow.covered:.0%} [{narrow.low:.0%}, {narrow.high:.0%}] "
    )
    why += f"of later outputs have a known form, {narrow.structured:.0%} are tool calls or JSON, {narrow.n:,} traces"
    if not (narrow.is_narrow or (narrow.structured >= 0.5 and narrow.low >= 0.5)):
        return _no(its, "tuned small model", f"not narrow enough, or too few traces: {why}", narrow.n, facts)
    if found is None:
        return skipped(its, "tuned small model", f"no price to compare with; {why}")
    name, share = found
    ceiling = 1 - share
    missing = [] if narrow.n >= narrowness.ENOUGH else [f"{narrowness.ENOUGH - narrow.n} more traces"]
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever="tuned small model",
        word=Word.TRY,
        says=f"narrow: {why}",
        n=narrow.n,
        saving=ceiling * narrow.low * TUNED,
        low=0.0,
        high=ceiling,
        quality=0.03,
        evidence=Evidence.CEILING,
        missing=(*missing, "the licence to train on these answers", "a student, trained and gated (margin 3 points)"),
        risk="forms that were rare in the traces; the teacher's errors are learned, too",
        effort=Effort.DAYS,
        breaks="a new tool, a changed prompt, new forms of output: train again",
        method=f"forms known from the earlier half, tried on the later; priced as {name}; the middle takes {TUNED:.0%} "
        "of these to be learned",
        facts=facts,
    )


def shown(text: str) -> str:
    """Without secrets and structured personal data."""
    return personal.without(scrub_text(text))


def skipped(its: Case, lever: str, why: str) -> Worth:
    return Worth(workflow=its.agent[0], agent=its.agent[1], lever=lever, word=Word.SKIPPED, says=why)


def _no(its: Case, lever: str, why: str, n: int, facts: dict[str, Any] | None = None) -> Worth:
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever=lever,
        word=Word.NO,
        says=why,
        n=n,
        evidence=Evidence.COUNTED,
        facts=facts or {},
    )
