import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engines import tiny
from trimtab.engines.text import Codec, StopStrings, overlap
from trimtab.errors import ModelError

TEXT = 'Grüße ✓ 漢字 🚗 {"name": "x"}'


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Codec:
    folder = tmp_path_factory.mktemp("bytes")
    tiny.save_tokenizer(folder)
    return Codec(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def metaspace(tmp_path_factory) -> Codec:
    """A tokenizer as Llama 2 has it: ▁ for spaces, <0xNN> for bytes without a token."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    vocab = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"▁": 256, "▁a": 257, "a": 258, "b": 259, "é": 260}
    tokenizer = Tokenizer(models.BPE(vocab, [("▁", "a")], byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    path = tmp_path_factory.mktemp("metaspace") / "tokenizer.json"
    tokenizer.save(str(path))
    return Codec(path)


def decoded(codec: Codec, pieces: list[list[int]]) -> str:
    decoder = codec.decoder()
    return "".join(decoder.push(piece) for piece in pieces) + decoder.flush()


def cut(whole: list[int], data) -> list[list[int]]:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def test_text_comes_back(codec: Codec, metaspace: Codec) -> None:
    assert decoded(codec, [[token] for token in codec.encode(TEXT)]) == TEXT
    assert decoded(metaspace, [[token] for token in metaspace.encode("a b é 🚗 a")]) == "a b é 🚗 a"


def test_no_character_is_cut(codec: Codec) -> None:
    decoder = codec.decoder()
    for token in codec.encode("🚗✓"):
        assert "�" not in decoder.push([token])


def test_special_tokens_are_left_out_but_tool_marks_stay(codec: Codec) -> None:
    ids = codec.encode("<|im_start|>a<tool_call>b</tool_call><|im_end|>")
    assert decoded(codec, [ids]) == "a<tool_call>b</tool_call>" == codec.decode(ids)


@given(st.lists(st.integers(0, tiny.VOCAB - 1), max_size=30), st.data())
def test_any_chunking_gives_the_same_and_the_library_agrees(codec: Codec, ids: list[int], data) -> None:
    ids = [number for number in ids if number < 300]
    assert decoded(codec, cut(ids, data)) == decoded(codec, [ids]) == codec.decode(ids)


@given(st.lists(st.integers(0, 260), max_size=20), st.data())
def test_any_chunking_gives_the_same_for_other_tokenizers(metaspace: Codec, ids: list[int], data) -> None:
    assert decoded(metaspace, cut(ids, data)) == decoded(metaspace, [ids])


@given(st.text(max_size=40))
def test_any_text_survives(codec: Codec, text: str) -> None:
    assert decoded(codec, [codec.encode(text)]) == text


def test_the_bytes_of_one_token(codec: Codec) -> None:
    assert b"".join(codec.piece(token) for token in codec.encode("ü✓")) == "ü✓".encode()


def test_stop_string_across_pieces() -> None:
    stops = StopStrings(["END", "\n\n"])
    assert [stops.push(piece) for piece in ("one E", "Ntwo\n", "\nthree")] == ["one ", "ENtwo", ""]
    assert stops.hit
    assert stops.push("more") == stops.flush() == ""


@given(
    st.text(alphabet="abc", max_size=20),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_stop_strings_do_not_depend_on_the_pieces(text: str, stops: list[str], data) -> None:
    def run(pieces: list[str]) -> tuple[str, bool]:
        watch = StopStrings(stops)
        given = "".join(watch.push(piece) for piece in pieces)
        return given + watch.flush(), watch.hit

    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    given, hit = run(pieces)
    assert (given, hit) == run([text])
    assert not any(stop in given for stop in stops)
    assert hit == any(stop in text for stop in stops)
    assert text.startswith(given)


def test_overlap() -> None:
    assert overlap("abc<to", "<tool") == 3
    assert overlap("abc", "<tool") == 0


def test_a_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for text in ("{", json.dumps({"model": {"type": "nothing"}})):
        path.write_text(text)
        with pytest.raises(ModelError, match="cannot be read"):
            Codec(path)
