"""Virtual keys: secrets, allow-lists, expiry, rotation."""

import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ConfigError, StoreError
from trimtab.gateway import keydb
from trimtab.gateway.keyring import Ring
from trimtab.gateway.keys import PREFIX, Key, State, digest, mint
from trimtab.gateway.ledger import Ledger

SECOND = 10**9


@pytest.fixture
def ring(tmp_path):
    return Ring(tmp_path, clock=lambda: 1000 * SECOND)


def find(ring, secret, at_s=1000):
    """The state of the key of `secret` at a time; None where there is no such key."""
    with closing(Ledger(ring.folder)) as ledger:
        key = ledger.key(secret)
    return key and key.state(round(at_s * SECOND))


def test_a_secret_is_never_in_the_database(ring):
    secret = ring.create(Key(name="ci", tenant="acme", models=("gpt-*",), day_nanodollars=5))
    assert secret.startswith(PREFIX) and len(secret) >= 40 and secret != mint()
    key = ring.get("ci")
    assert (key.tenant, key.models, key.day_nanodollars, key.created_ns) == ("acme", ("gpt-*",), 5, 1000 * SECOND)
    content = b"".join(path.read_bytes() for path in ring.folder.iterdir())
    assert digest(secret) in content
    assert secret.encode() not in content and secret.removeprefix(PREFIX).encode() not in content
    assert keydb.path_of(ring.folder).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("models", "asked", "allowed"),
    [
        ((), "anything", True),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o*",), "gpt-4o-mini", True),
        (("a", "b*"), "b", True),
        (("a", "b*"), "A", False),
    ],
)
def test_the_allow_list(models, asked, allowed):
    assert Key(name="k", models=models).allows(asked) is allowed


@given(models=st.lists(st.text(max_size=5), min_size=1, max_size=4), asked=st.text(max_size=6))
def test_only_what_is_named_is_allowed(models, asked):
    expected = any(asked == held or (held[-1:] == "*" and asked[: len(held) - 1] == held[:-1]) for held in models)
    # A name ending in * is only a prefix, save that the prefix plus a star matches itself.
    assert Key(name="k", models=tuple(models)).allows(asked) is expected


def test_expiry_to_the_nanosecond_and_revocation_for_good(ring):
    secret = ring.create(Key(name="ci", expires_ns=1500 * SECOND))
    assert find(ring, secret, 1499.9) is State.ACTIVE
    assert find(ring, secret, 1500) is State.EXPIRED
    ring.expire("ci", None)
    assert find(ring, secret, 10**9) is State.ACTIVE
    ring.revoke("ci")
    assert find(ring, secret) is State.REVOKED
    for verb in (lambda: ring.expire("ci", None), lambda: ring.rotate("ci"), lambda: ring.revoke("ci")):
        with pytest.raises(ConfigError, match="final"):
            verb()


def test_rotation_keeps_the_key_and_ends_the_old_secret_with_its_grace(ring):
    first = ring.create(Key(name="ci"))
    second = ring.rotate("ci", grace_s=60)
    assert find(ring, first, 1059.9) is State.ACTIVE
    assert find(ring, first, 1060) is State.EXPIRED
    third = ring.rotate("ci")
    assert [find(ring, secret) for secret in (first, second, third)] == [State.EXPIRED, State.EXPIRED, State.ACTIVE]
    assert len(ring.all()) == 1


def test_unknown_secrets_and_names(ring):
    ring.create(Key(name="ci"))
    assert find(ring, mint()) is None
    assert find(ring, "tt-é\udc80".encode("utf-8", "replace").decode("latin-1")) is None
    with pytest.raises(ConfigError, match="keys list"):
        ring.get("cd")
    with pytest.raises(ConfigError, match="already"):
        ring.create(Key(name="ci"))


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {"name": "a b"}, {"name": "a", "tenant": "x\n"}, {"name": "a", "requests_per_minute": 0}]
)
def test_nonsense_is_refused(ring, fields):
    with pytest.raises(ConfigError):
        ring.create(Key(**fields))
    assert ring.all() == []


def test_a_file_that_is_no_database_is_an_error_of_the_tree(ring):
    keydb.path_of(ring.folder).write_bytes(b"not a database " * 100)
    with pytest.raises(StoreError, match=r"keys\.sqlite"):
        ring.all()


def test_a_newer_database_is_left_alone(ring):
    ring.create(Key(name="ci"))
    with closing(keydb.connect(ring.folder, wait_s=1)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="newer"):
        ring.all()


def test_times_are_now_by_default(tmp_path):
    before = time.time_ns()
    Ring(tmp_path).create(Key(name="ci"))
    assert before <= Ring(tmp_path).get("ci").created_ns <= time.time_ns()
