"""`trimtab quantization`: llm-compressor's environment, audit, calibration sets, the collapse map."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trimtab.errors import ConfigError

SUMMARY = "make llm-compressor's environment, audit a model in fewer bits, compare what it is rounded by"


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab quantization setup|audit|compare|collapse`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    making = verbs.add_parser("setup", help="make the environment that llm-compressor runs in (once, about 6 GB)")
    making.add_argument("--folder", type=Path, metavar="DIR", help="where (default: beside the built models)")
    making.add_argument("--json", action="store_true", help="print JSON instead of text")
    making.set_defaults(run=setup)
    auditing = _verb(verbs, "audit", audit, "who flips against the old model, by agent and class, on held-out calls")
    auditing.add_argument("artifact", help="the artefact's digest, or the beginning of it")
    auditing.add_argument("--limit", type=int, default=200, help="calls asked, newest first (default %(default)s)")
    _verb(verbs, "compare", compare, "clipping and error by what is rounded by and length of prompt")
    _verb(verbs, "collapse", collapse, "how many answers of each class stay, down the bit widths")


def _verb(verbs: Any, name: str, run: object, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    command.add_argument("--store", type=Path, metavar="DIR", default=Path(".trimtab"), help="the store's folder")
    option = "an option of the lever, as in TOML: public='\"FILE\"'; may be given several times"
    command.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=option)
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.set_defaults(run=run)
    return command


def setup(args: argparse.Namespace) -> int:
    from trimtab.levers.quantization import compressor

    found = compressor.make(args.folder)
    print(json.dumps({"python": str(found)}) if args.json else f"llm-compressor: {found}")
    return 0


def audit(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from trimtab.levers import splitting
    from trimtab.levers.quantization import audit as auditing
    from trimtab.levers.quantization import options
    from trimtab.store.artifacts import ArtifactStore

    held = ArtifactStore(args.store)
    found = [each.digest for each in held.list() if each.digest.startswith(args.artifact)]
    if len(found) != 1:
        raise ConfigError(f"'{args.artifact}' names {len(found)} artefacts in {held.folder}: give more of the digest")
    artifact = held.get(found[0])
    its = options.read(dict(artifact.manifest.get("options") or {}))  # type: ignore[call-overload]
    if not its.embedded:
        raise ConfigError(
            f"{its.scheme} is served by vLLM: type  trimtab rollout recipe {args.artifact}  and gate it there"
        )
    asked = auditing.items(splitting.held_out(_traces(args)), args.limit)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("calls", total=len(asked))
        drift = auditing.run(asked, its.model, artifact.folder, lambda: progress.advance(bar))
    return _say(args, auditing.rows(drift))


def compare(args: argparse.Namespace) -> int:
    from trimtab.engines.weights import Format, group_of
    from trimtab.levers.quantization import measure, samples

    its, checkpoint, reader, own, check = _looked(args)
    public = samples.public_samples(reader, its) if its.public else []
    sets: dict[str, Sequence[samples.Sample]] = {"none": [], "own": own}
    if public:
        sets |= {"public": public[: len(own)], "mixed": samples.calibration(reader, own, its)}

    def form(columns: int) -> Format:
        return Format(4, its.group or group_of(columns) or 0, its.symmetric)

    found = measure.compared(checkpoint, sets, check, form)
    return _say(
        args,
        [
            {
                "rounded by": each.calibration,
                "prompt": each.length,
                "answers": each.answers,
                "clipped": f"{each.clipped:.2e}",
                "KL": f"{each.kl:.2e}",
                "unchanged": each.unchanged,
            }
            for each in found
        ],
    )


def collapse(args: argparse.Namespace) -> int:
    from trimtab.levers.quantization import layers, measure

    its, checkpoint, _, own, check = _looked(args)
    found = layers.moments(layers.Tapped(checkpoint), own) if its.calibrate else None
    return _say(args, measure.collapse(checkpoint, check, found, its.keep))


def _looked(args: argparse.Namespace) -> tuple[Any, Any, Any, Any, Any]:
    """Options, checkpoint, reader, and samples of the fit split and of what is held out."""
    from trimtab.levers import splitting
    from trimtab.levers.quantization import lab, options, samples

    try:
        its = options.read(tomllib.loads("\n".join(args.option)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"an --option is no TOML ({error}): write name=value, texts in quotes") from error
    checkpoint = lab.opened(its)
    reader = samples.Reader(checkpoint)
    traces = list(_traces(args))
    own = samples.chosen(lab.own(reader, splitting.fit(traces), its), its.samples, its.seed)
    check = samples.chosen(lab.own(reader, splitting.held_out(traces), its), its.samples, its.seed)
    return its, checkpoint, reader, own, check


def _traces(args: argparse.Namespace) -> Iterator[Any]:
    from trimtab.store.traces import TraceReader

    if not args.store.is_dir():
        raise ConfigError(f"there is no store at {args.store}: name its folder with --store")
    return iter(TraceReader(args.store).scan())


def _say(args: argparse.Namespace, rows: list[dict[str, Any]]) -> int:
    if args.json:
        print(json.dumps(rows))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(held) for held in row.values()))
    Console().print(table)
    return 0
