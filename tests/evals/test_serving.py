"""A Deployment as a file that `trimtab serve` reads, and served by it."""

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evals.test_replay import PRICES, RIGHT, asked
from tests.gateway.upstream import FakeUpstream
from trimtab import config
from trimtab.deployment import BreakerPolicy, Deployment, RetryPolicy, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, TrimtabError
from trimtab.evals import serving
from trimtab.money import Price, PriceTable

VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_what_is_written_is_what_toml_reads(value):
    assert tomllib.loads(f"x = {serving.toml(value)}")["x"] == value


def test_what_toml_cannot_say():
    with pytest.raises(ConfigError, match="NoneType"):
        serving.toml([None])
    assert serving.toml({"a": None, "b": 1}) == '{ "b" = 1 }'


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PATIENCE = st.floats(0.1, 1e6)
ENDPOINTS = st.builds(Endpoint, name=TEXTS, url=TEXTS, model=TEXTS, price=TEXTS, timeout_s=PATIENCE, stall_s=PATIENCE)
NUMBERS = st.floats(0, 1e4)


@given(
    st.lists(ENDPOINTS, min_size=1, max_size=3, unique_by=lambda each: each.name),
    st.builds(RetryPolicy, attempts=st.integers(1, 9), deadline_s=PATIENCE),
    st.dictionaries(TEXTS, VALUES, max_size=3),
    st.dictionaries(TEXTS, st.builds(Price, input=NUMBERS, output=NUMBERS, cache_read=st.none() | NUMBERS), max_size=3),
)
def test_the_file_describes_the_very_deployment(endpoints, retry, options, prices):
    names = [each.name for each in endpoints]
    made = Deployment(
        "config",
        tuple(endpoints),
        steps=(StepSpec("cache", "ab" * 32, options),),
        routes={"alias": names[-1]},
        split={name: 1 / len(names) for name in names},
        fallbacks={"alias": tuple(names)},
        retry=retry,
        breaker=BreakerPolicy(failures=2),
    )
    text = serving.configuration(made, PriceTable("v", prices), "/store")
    read = msgspec.toml.decode(text, type=config.Settings)
    assert read.deployment() == made and read.store.record == "metadata"
    table = read.price_table()
    assert table.version == "v" and all(table.prices[name] == price for name, price in prices.items())


@pytest.fixture(scope="module")
def model():
    with FakeUpstream() as upstream:
        yield upstream


def test_a_split_is_served(model):
    """Two endpoints of one server under other models: both get their share, one cluster stays at one."""
    endpoints = tuple(Endpoint(name=name, url=model.url, model=name) for name in ("one", "two"))
    made = Deployment("d", endpoints, split={"one": 0.5, "two": 0.5}, routes={"any": "one"})
    with serving.served(made, PRICES) as url:
        prints = [
            asked(url, msgspec.structs.replace(RIGHT, cluster=str(number // 2)), model="any").fingerprint
            for number in range(24)
        ]
    assert {each.partition("/")[0] for each in prints} == {"one", "two"}
    assert prints[::2] == prints[1::2]


def test_a_step_that_is_not_there_is_said_at_once(model):
    made = Deployment("d", (Endpoint(name="one", url=model.url),), steps=(StepSpec("nobody"),))
    with pytest.raises(TrimtabError, match="there is no lever 'nobody'"), serving.served(made, PRICES):
        pass


def test_nothing_is_left(model, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    held = tmp_path / "held"
    (held / "artifacts" / "x").mkdir(parents=True)
    with serving.served(Deployment("d", (Endpoint(name="fake-model", url=model.url),)), PRICES, held) as url:
        (home,) = tmp_path.glob("trimtab-gate-*")
        assert (home / "store" / "artifacts" / "x").is_dir()
        assert asked(url).score == 1
    assert not home.exists() and (held / "artifacts" / "x").is_dir()
