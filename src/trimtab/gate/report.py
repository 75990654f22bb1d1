"""Report: a verdict as Markdown fit for a pull request, with the path of its evidence."""

from __future__ import annotations

import math
from pathlib import Path

from trimtab.evals.drift import Drift
from trimtab.gate import bets, drifting, plot
from trimtab.store import schema
from trimtab.store.surroundings import surroundings
from trimtab.verdict import Decision, Finding, Verdict, title

REPORT, PICTURE = "report.md", "evidence.svg"
_MARKS = {
    Decision.PROMOTE: "✅ promote",
    Decision.REJECT: "❌ reject",
    Decision.INCONCLUSIVE: "⚪ inconclusive",
    Decision.UNCERTIFIED: "⚪ uncertified",
}
# What figures beside the tests are called, and how they are written.
_FACTS = {
    "score": ("mean score", "{:.1%}"),
    "errors": ("items without an answer", "{:,.0f}"),
    "tokens_per_solved": ("output tokens for a solved item", "{:,.1f}"),
    "usd": ("cost, USD", "{:.6f}"),
    "usd_per_solved": ("USD for a solved item", "{:.8f}"),
    "median_first_s": ("median time to the first token, s", "{:.3f}"),
    "median_total_s": ("median time of the whole, s", "{:.3f}"),
}


def write(verdict: Verdict, path: Path, entry: str = "", drift: Drift | None = None) -> Path:
    """The report at `path` and, for a sequential run, evidence.svg beside it. `entry` is the hash in the ledger.
    StoreError where they cannot be written."""
    picture = plot.svg(verdict.findings[0]) if verdict.findings else ""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if picture:
            (folder / PICTURE).write_text(picture, encoding="utf-8")
        text = markdown(verdict, entry, picture=PICTURE if picture else "", drift=drift)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise schema.refusal(error, folder) from error
    return path


def markdown(verdict: Verdict, entry: str = "", picture: str = "", drift: Drift | None = None) -> str:
    names = verdict.names
    lines = [
        f"## Gate: {_MARKS[verdict.decision]}",
        "",
        f"{_cell(verdict.reason)}.",
        "",
        f"Candidate {_code(names.get('candidate', verdict.candidate[:12]))} against baseline "
        f"{_code(names.get('baseline', verdict.baseline[:12]))} on {_code(names.get('suite', verdict.suite[:12]))}: "
        f"{verdict.n:,} clusters"
        + (f" of at most {int(names['cap']):,}" if "cap" in names else "")
        + (f", planned for a power of {power:.0%}." if (power := _power(verdict)) else "."),
        "",
        *_findings(verdict.findings),
        *_beside(verdict.facts),
    ]
    if picture:
        lines += [f"![The evidence after each cluster]({picture})", ""]
    if verdict.findings and (path := [math.log(max(w, 1e-9)) for w, _ in bets.paths(verdict.findings[0])]):
        lines += [f"Evidence for promotion, from first to last cluster: `{plot.spark(path)}`", ""]
    lines += drifting.lines(drift) if drift is not None else []
    return "\n".join(lines + _made(verdict, entry))


def _power(verdict: Verdict) -> float | None:
    return verdict.findings[0].power if verdict.findings else None


def _findings(findings: tuple[Finding, ...]) -> list[str]:
    rows = [
        "| criterion | decision | difference | interval | margin | alpha | clusters | evidence | why |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for finding in findings:
        margin = finding.counts.get("rule_margin", finding.criterion.margin.value)
        wealth = finding.counts.get("wealth")
        evidence = "" if wealth is None else f"{wealth:.3g} (harm {finding.counts.get('harm_wealth', 0):.3g})"
        cells = [
            _cell(title(finding)),
            _MARKS[finding.decision],
            _written(finding, finding.difference),
            f"{_written(finding, finding.low)} … {_written(finding, finding.high)}",
            # A claim has no margin: it is of more than nothing.
            "" if finding.test == "claim" else f"{margin * 100:.3g} pt",
            f"{finding.criterion.alpha:g}",
            f"{finding.n:,}",
            evidence,
            _cell(finding.reason),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return [*rows, ""]


def _written(finding: Finding, value: float) -> str:
    """A finding's number: a share in points, a claim's in the claim's own unit."""
    return f"{value:+.4g}" if finding.test == "claim" else f"{value * 100:+.2f} pt"


def _beside(facts: dict[str, float]) -> list[str]:
    rows = [
        f"| {words} | {_figure(facts, f'baseline_{name}', form)} | {_figure(facts, f'candidate_{name}', form)} |"
        for name, (words, form) in _FACTS.items()
        if f"baseline_{name}" in facts or f"candidate_{name}" in facts
    ]
    if not rows:
        return []
    lines = ["| beside the tests | baseline | candidate |", "|---|--:|--:|", *rows, ""]
    told = [
        f"{words} {facts[name]:{form}}"
        for name, words, form in (
            ("gained", "items gained", ".1%"),
            ("lost", "items lost", ".1%"),
            ("length_ratio", "output length, candidate/baseline", ".3f"),
            ("cost_ratio", "cost, candidate/baseline", ".3f"),
        )
        if name in facts
    ]
    return [*lines, "; ".join(told) + ".", ""] if told else lines


def _figure(facts: dict[str, float], name: str, form: str) -> str:
    return form.format(facts[name]) if name in facts else "unknown"


def _made(verdict: Verdict, entry: str) -> list[str]:
    made = surroundings()
    rows = {
        "ledger entry": entry,
        "baseline": verdict.baseline,
        "candidate": verdict.candidate,
        "suite": verdict.suite,
        "order": f"{verdict.order} (seed {verdict.seed})",
        "judge": verdict.judge,
        "made": f"{verdict.made_at}, trimtab {made['trimtab']}, {made['cpu']}",
    }
    lines = ["<details><summary>What exactly was compared</summary>", ""]
    lines += [f"- {name}: `{value}`" for name, value in rows.items() if value]
    if entry:
        lines += ["", "`trimtab ledger verify` recomputes this verdict from its counts."]
    return [*lines, "", "</details>", ""]


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("\n", " ") + "`"


def _cell(text: str) -> str:
    """Text that may come from a server, made harmless in a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
