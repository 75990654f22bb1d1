import pytest

from trimtab.config import Settings, read, shipped_prices
from trimtab.errors import ConfigError

GOOD = """
[gateway]
port = 0
[store]
record = "metadata"
[prices]
version = "mine-1"
[prices.models]
"my-model" = { input = 1.0, output = 2.0 }
[[endpoints]]
name = "here"
url = "http://127.0.0.1:9/v1"
model = "my-model"
[routes]
fast = "here"
[fallbacks]
fast = ["here"]
[retry]
attempts = 1
[breaker]
failures = 2
[[steps]]
lever = "cache"
options = { ttl_s = 60 }
"""


def write(tmp_path, text):
    path = tmp_path / "trimtab.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_file_is_read(tmp_path):
    settings = read(write(tmp_path, GOOD))
    deployment = settings.deployment()
    assert settings.gateway.port == 0
    assert deployment.endpoint_for("fast").url == "http://127.0.0.1:9/v1"
    assert deployment.steps[0].options == {"ttl_s": 60}
    assert deployment.fallbacks == {"fast": ("here",)}
    assert (deployment.retry.attempts, deployment.breaker.failures) == (1, 2)


def test_own_prices_lie_over_the_shipped_ones(tmp_path):
    table = read(write(tmp_path, GOOD)).price_table()
    assert table.version == "mine-1"
    assert table.find("my-model").output == 2
    assert table.find("gpt-4o") == shipped_prices().find("gpt-4o")


def test_prices_without_a_version_never_carry_the_shipped_one(tmp_path):
    """A cost is stamped with the table's version: two tables must not share one."""
    table = read(write(tmp_path, GOOD.replace('version = "mine-1"', ""))).price_table()
    assert table.version not in ("", shipped_prices().version)


def test_an_empty_file_is_all_defaults(tmp_path):
    assert read(write(tmp_path, "")) == Settings()
    assert Settings().price_table() == shipped_prices()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[gateway]\nprot = 1", "prot"),
        ("[gatway]", "gatway"),
        ('[gateway]\nport = "x"', "gateway.port"),
        ("[[endpoints]]\nname = 'a'", "url"),
        ("[[endpoints]]\nname = 'a'\nurl = 'u'\nkey = 'secret'", "key"),
        ("[store]\nrecord = 'all'", "store.record"),
        ("[gateway]\nkeys = 'maybe'", "gateway.keys"),
        ("[gateway]\nassumed_output_tokens = -1", "gateway.assumed_output_tokens"),
        ("[prices.models]\nm = { input = 1.0 }", "output"),
        ("[[endpoints]]\nname='a'\nurl='u'\n[[endpoints]]\nname='a'\nurl='v'", "twice"),
        ("[[endpoints]]\nname='a'\nurl='u'\n[routes]\nm = 'b'", "'b'"),
        ("[[endpoints]]\nname='a'\nurl='u'\n[fallbacks]\na = ['b']", "'b'"),
        ("[[endpoints]]\nname='a'\nurl='u'\nstall_s = 0", "stall_s"),
        ("[retry]\nattempts = 0", "retry.attempts"),
        ("[breaker]\nopen_s = -1.0", "breaker.open_s"),
        ("gateway = ", "not valid TOML"),
        ("x = '\udcff'", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_on_one_line(tmp_path, text, named):
    path = tmp_path / "trimtab.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value) or named in ("twice", "'b'")
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_it_and_the_option(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml.*--config"):
        read(tmp_path / "nowhere.toml")


def test_without_endpoints_there_is_no_deployment():
    with pytest.raises(ConfigError, match="endpoints"):
        Settings().deployment()


def test_what_is_recorded_may_differ_by_model(tmp_path):
    text = '[store]\nrecord = "metadata"\nkeep_days = 30\n[store.record_for]\nsecret = "off"\nlab = "full"\n'
    store = read(write(tmp_path, text)).store
    assert [store.recorded(model) for model in ("secret", "lab", "any")] == ["off", "full", "metadata"]
    assert store.records and store.keep_days == 30
    nothing = read(write(tmp_path, '[store]\nrecord = "off"\n[store.record_for]\na = "off"')).store
    assert not nothing.records


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[store.record_for]\nm = "all"', "store.record_for.m"),
        ("[store]\nkeep_days = -1", "store.keep_days"),
        ("[store]\nspill_mb = -1", "store.spill_mb"),
    ],
)
def test_a_bad_word_on_the_store_is_named(tmp_path, text, named):
    with pytest.raises(ConfigError, match=named):
        read(write(tmp_path, text))


LINED = """\
[gateway]
port = 0
[store]
record = "full"
[[endpoints]]
name = "here"
url = "http://127.0.0.1:9/v1"

[[endpoints]]
name = "there"
url = "http://127.0.0.1:9/v1"
timeout_s = 3
[routes]
fast = "here"
[prices.models]
"m" = { input = 1.0, output = 2.0 }
"n" = { input = 1.0, output = 2.0 }
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("port = 0", "prot = 0", 2, "prot"),
        ("port = 0", 'port = "x"', 2, "gateway.port"),
        ("port = 0", "port = ", 2, "line 2"),
        ("[gateway]", "[gatevay]", 1, "gatevay"),
        ('"full"', '"fool"', 4, "store.record"),
        ("timeout_s = 3", "timeout_s = -1", 12, "endpoints[1].timeout_s"),
        ('name = "there"\nurl = "http://127.0.0.1:9/v1"', 'name = "there"', 9, "url"),
        ('name = "there"', 'name = "here"', 6, "here"),
        ('fast = "here"', "fast = 3", 14, "routes"),
        ('fast = "here"', 'fast = "nowhere"', 14, "nowhere"),
        ('"n" = { input', '"n" = { inpt', 17, "inpt"),
    ],
)
def test_an_error_names_its_line_and_key(tmp_path, old, new, line, key):
    assert old in LINED
    path = write(tmp_path, LINED.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert key in str(caught.value)
    assert f"{path}:{line}: " in str(caught.value) or f"at line {line}," in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('model = "my-model"', 'model = "my-model"\ndialect = "french"', "french"),
        ("port = 0", 'port = 0\npassthrough = "there"', "gateway.passthrough names endpoint 'there': use one of here"),
    ],
)
def test_a_dialect_or_an_endpoint_that_is_not_there_is_named(tmp_path, old, new, named):
    with pytest.raises(ConfigError, match=named):
        read(write(tmp_path, GOOD.replace(old, new)))
