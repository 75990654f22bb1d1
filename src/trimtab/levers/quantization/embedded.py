"""The model in fewer bits for the embedded engine: which matrix gets what format, and the OpenVINO folder of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trimtab.engines import weights
from trimtab.engines.checkpoint import Checkpoint, expected
from trimtab.engines.ir import MODEL
from trimtab.engines.prepared import LABEL, Label, lay_out
from trimtab.engines.weights import Codes, Format
from trimtab.errors import ConfigError, ModelError
from trimtab.levers.quantization import layers, rounding
from trimtab.levers.quantization.layers import Moments
from trimtab.levers.quantization.options import KV, Options

if TYPE_CHECKING:
    import numpy as np

# How a weight that is left alone is held, by how the checkpoint has it: bit for bit.
EXACT = {"BF16": "bf16", "F16": "f16", "F32": "f32"}


class Plan(NamedTuple):
    """The Format of each matrix by name; None: left alone. `moved`: how far 4 bits would move each one's outputs."""

    formats: dict[str, Format | None]
    moved: dict[str, float]


def matrices(checkpoint: Checkpoint) -> dict[str, tuple[int, int]]:
    """Every weight with two dimensions, with its rows and columns."""
    return {name: (form[0], form[1]) for name, form in expected(checkpoint.shape) if len(form) == 2}


def check(checkpoint: Checkpoint, options: Options) -> None:
    """ConfigError where a group does not divide a matrix, or a weight to keep is not there."""
    held = matrices(checkpoint)
    for name in options.keep:
        # One whose embeddings are tied has no matrix of its own for the output.
        if name not in held and name not in weights.TABLES:
            raise ConfigError(
                f"keep names '{name}', which {checkpoint.folder} has not: use names like {next(iter(held))}"
            )
    for name, (_, columns) in held.items():
        if options.scheme == "int4" and options.group and name not in options.keep and columns % options.group:
            fitting = [str(group) for group in weights.GROUPS if columns % group == 0]
            hint = f"use group = {fitting[0]}" if fitting else "leave group out: what none divides stays in INT8"
            raise ConfigError(f"group {options.group} does not divide the {columns} columns of {name}: {hint}")


def plan(checkpoint: Checkpoint, options: Options, found: Moments | None) -> Plan:
    """The formats; where some are to stay in 8 bits, those that 4 would move most for their size."""
    check(checkpoint, options)
    held = matrices(checkpoint)
    formats: dict[str, Format | None] = {}
    for name, (_, columns) in held.items():
        group = (options.group or weights.group_of(columns) or 0) if options.scheme == "int4" else 0
        bits = 4 if group else 8
        untouched = name in options.keep or options.scheme == "bf16"
        formats[name] = None if untouched else Format(bits, group, options.symmetric or bits == 8)
    small = [name for name, form in formats.items() if form is not None and form.bits == 4]
    if not small or not options.mixed:
        return Plan(formats, {})
    moved = {name: _moved(checkpoint, name, formats[name], found) for name in small}
    sizes = {name: held[name][0] * held[name][1] for name in small}
    left = options.mixed * sum(sizes.values())
    for name in sorted(small, key=lambda each: -moved[each]):
        if sizes[name] <= left:
            formats[name] = Format(8)
            left -= sizes[name]
    return Plan(formats, moved)


def _moved(checkpoint: Checkpoint, name: str, form: Format | None, found: Moments | None) -> float:
    """Without samples: as if all inputs were alike and independent."""
    import numpy as np

    values = checkpoint.weight(name)
    second = second_of(name, found)
    if second is None:
        second = np.eye(values.shape[1])
    return rounding.moved(values, weights.encode(values, form or Format(8)).values, second)


def second_of(name: str, found: Moments | None) -> np.ndarray | None:
    """The second moments of the inputs of the weight `name`."""
    if found is None:
        return None
    for module, second in found.second.items():
        prefix, _, own = module.rpartition("self_attn.") if "self_attn." in module else module.rpartition("mlp.")
        part = "self_attn." if "self_attn." in module else "mlp."
        if name.startswith(prefix) and name[len(prefix) :].removesuffix(".weight") in layers.SHARED[part + own]:
            return second
    return None


def encoded(checkpoint: Checkpoint, its: Plan, found: Moments | None, told: Any = None) -> dict[str, Codes]:
    """The codes of every matrix that is not left alone; `told()` after each."""
    made = {}
    for name, form in its.formats.items():
        if form is not None:
            made[name] = rounding.compensated(checkpoint.weight(name), second_of(name, found), form)
        if told is not None:
            told()
    return made


def storing(checkpoint: Checkpoint, made: dict[str, Codes]) -> weights.Store:
    """Codes where there are some, else the weight bit for bit."""

    def store(name: str, values: np.ndarray) -> Any:
        if name in made:
            return weights.coded(name, made[name])
        return weights.matrix(name, values, EXACT.get(checkpoint.entries[name].dtype, "f32"))

    return store


def write(folder: Path, checkpoint: Checkpoint, made: dict[str, Codes], options: Options) -> list[str]:
    """The engine's folder, and the names of the weights that were found untouched in it.

    Errors: DiskFull; ModelError where a weight that should have been left alone was not.
    """
    lay_out(folder, checkpoint, storing(checkpoint, made))
    (folder / LABEL).write_bytes(msgspec.json.encode(Label(options.served_name, KV[options.kv])))
    return untouched(folder, checkpoint, [name for name in matrices(checkpoint) if name not in made])


def untouched(folder: Path, checkpoint: Checkpoint, names: list[str]) -> list[str]:
    """The same names, each read back from the files and held bit for bit against the checkpoint; else ModelError."""
    import numpy as np
    import openvino

    model = openvino.Core().read_model(str(folder / MODEL))
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"}
    for name in names:
        entry, node = checkpoint.entries[name], nodes.get(f"self.{name}")
        with entry.file.open("rb") as file:
            file.seek(entry.offset)
            before = file.read(entry.size)
        if node is None or np.ascontiguousarray(node.data).view(np.uint8).tobytes() != before:
            raise ModelError(f"{name} was to be left alone and is not what {entry.file.name} has: keep the old model")
    return names
