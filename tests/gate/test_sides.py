import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.scripted import Model, serving
from trimtab.errors import ConfigError, UpstreamError
from trimtab.gate import sides

ONE = '[[endpoints]]\nname = "one"\nurl = "http://127.0.0.1:9/v1"\nmodel = "a"\n'
TWO = ONE + '[[endpoints]]\nname = "two"\nurl = "http://127.0.0.1:9/v1"\nmodel = "b"\n'


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "side.toml"
        path.write_text(text)
        return str(path)

    return write


def test_a_file_with_one_model_needs_no_name(file):
    assert sides.named(file(ONE)).model == "a"


def test_a_file_with_several_needs_one(file):
    place = file(TWO)
    assert sides.named(f"{place}#b").model == "b"
    with pytest.raises(ConfigError, match="serves a, b: name the one"):
        sides.named(place)
    with pytest.raises(ConfigError, match="serves no 'c'"):
        sides.named(f"{place}#c")


@pytest.mark.parametrize("text", ["http://127.0.0.1:1/v1", "https://#m", "http://127.0.0.1:1/v1#", "http://[::1/v1#m"])
def test_an_address_needs_a_model(text):
    with pytest.raises(ConfigError, match="names no model"):
        sides.named(text)


@pytest.mark.parametrize("text", ["http://me:secret@127.0.0.1:1/v1#m", "http://127.0.0.1:1/v1?key=secret#m"])
def test_an_address_with_a_key_in_it_is_refused_and_not_repeated(text):
    with pytest.raises(ConfigError, match="TRIMTAB_KEY") as refused:
        sides.named(text)
    assert "secret" not in str(refused.value)


def test_the_key_of_an_address_is_in_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "not for just any address")
    assert sides.named("http://127.0.0.1:1/v1#m").deployment.endpoints[0].key_env == ""
    monkeypatch.setenv("TRIMTAB_KEY", "k")
    assert sides.named("http://127.0.0.1:1/v1#m").deployment.endpoints[0].key_env == "TRIMTAB_KEY"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        sides.named(str(tmp_path / "none.toml"))


def test_the_fingerprint_is_of_what_is_served_and_of_the_prompt(file, tmp_path):
    prompt = tmp_path / "p.txt"
    prompt.write_text("Be kind.")
    plain, prompted = sides.named(file(ONE)), sides.named(file(ONE), str(prompt))
    assert plain.fingerprint == sides.again(plain).fingerprint != prompted.fingerprint
    other = sides.named(file(ONE.replace('"a"', '"b"')))
    assert other.fingerprint != plain.fingerprint
    assert sides.again(plain) != plain  # the file was written over


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt_is_refused(file, tmp_path, text):
    prompt = tmp_path / "p.txt"
    prompt.write_text(text)
    with pytest.raises(ConfigError, match="is empty"):
        sides.named(file(ONE), str(prompt))


def test_a_prompt_takes_the_place_of_the_system_message():
    body = {"messages": [{"role": "system", "content": "old"}, {"role": "user", "content": "hi"}], "n": 1}
    assert sides.prompted(body, "new") == {
        "messages": [{"role": "system", "content": "new"}, {"role": "user", "content": "hi"}],
        "n": 1,
    }
    assert sides.prompted(body, "") is body


def test_system_prompts_are_told_apart():
    bodies = [{"messages": [{"role": "system", "content": text}]} for text in ("a", "b", "a")]
    found = sides.system_prompts([*bodies, {"messages": ["no message"]}, {}])
    assert len(found) == 2
    assert found == sides.system_prompts(reversed(bodies))


def test_what_servers_say_of_their_models_shows_a_change(file):
    with serving(a=Model(), b=Model()) as endpoint:
        side = sides.named(f"{endpoint.url}#a")
        first = asyncio.run(sides.said_of_models(side))
        endpoint.listed = {"b": {"root": "other"}, "a": {"created": 7}}
        assert asyncio.run(sides.said_of_models(side)) == first  # another model, another time
        endpoint.listed = {"a": {"root": "other"}}
        assert asyncio.run(sides.said_of_models(side)) != first
    with pytest.raises(UpstreamError, match="nothing answers"):
        asyncio.run(sides.said_of_models(sides.named(file(ONE))))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": 3}', b'{"data": [3]}', b"\xff", b"[" * 100_000])
def test_a_server_that_lists_no_models_is_silent(body):
    assert sides._models(body, "a") == []


# What a command line can hold.
typed = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30)


@given(typed | typed.map("http://".__add__) | typed.map(lambda text: f"http://h:1/v1#{text}"))
def test_whatever_is_named_is_a_side_or_refused(text):
    try:
        side = sides.named(text)
    except ConfigError as error:
        assert str(error)
    else:
        assert side.model and side.deployment.endpoints
