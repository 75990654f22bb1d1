"""OpenVINO IR folders: written whole, read back, and the sizes of the model in one. Knows not where it came from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import DiskFull, MissingExtra, ModelError

MODEL = "openvino_model.xml"
_COUNTED = re.compile(r"\w+_\d+(\.\d+)?")


class Sizes(msgspec.Struct, frozen=True):
    """What the key-value budget needs of a decoder."""

    vocab: int
    layers: int
    kv_heads: int
    head_dim: int


def write_ir(model: Any, folder: Path) -> None:
    """Write `model` as openvino_model.xml and .bin into `folder`.

    Errors: DiskFull if what was written cannot be read back whole (the library reports no failed write).
    """
    import openvino

    path = folder / MODEL
    number(model)
    try:
        openvino.serialize(model, str(path))
        openvino.Core().read_model(str(path))
    except RuntimeError as error:
        raise DiskFull(f"{path} was not written whole: free some disk space and try again") from error


def number(model: Any) -> None:
    """Nodes and tensors without a name of ours are numbered by their place in this graph, not by how many were made
    before in this process: the same graph is then the same file."""
    for place, node in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}.{place}")
        for output in node.outputs():
            names = output.get_tensor().get_names()
            own = {name for name in names if not _COUNTED.fullmatch(name)}
            if len(own) < len(names):
                output.get_tensor().set_names(own or {f"{node.get_type_name()}.{place}.{output.get_index()}"})


def read_ir(folder: Path) -> Sizes:
    """The sizes of the stateful decoder in `folder`.

    Errors: ModelError if the files are broken or hold another kind of model.
    """
    model = _read(folder / MODEL)
    states = [node for node in model.get_ordered_ops() if node.get_type_name() == "ReadValue"]
    names = {name for port in model.inputs for name in port.names}
    if not states or "input_ids" not in names:
        raise ModelError(f"{folder} holds no stateful text decoder: export it for text generation with past states")
    cells = states[0].get_output_partial_shape(0)
    vocab = model.outputs[0].get_partial_shape()[-1]
    if cells.rank.is_dynamic or len(cells) != 4 or cells[1].is_dynamic or cells[3].is_dynamic or vocab.is_dynamic:
        raise ModelError(f"{folder}: the decoder's key-value shape is not [batch, heads, tokens, size]: export it anew")
    return Sizes(vocab.get_length(), len(states) // 2, cells[1].get_length(), cells[3].get_length())


def _read(path: Path) -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("engine", "openvino") from error

    if not path.with_suffix(".bin").exists():
        raise ModelError(f"{path.with_suffix('.bin')} is missing: copy the weights beside {path.name}")
    try:
        return openvino.Core().read_model(str(path))
    except RuntimeError as error:
        raise ModelError(f"{path} cannot be read by OpenVINO: export or copy it again") from error
