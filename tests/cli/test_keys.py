"""`trimtab keys` as a user types it."""

import json
import sqlite3

import pytest

from trimtab.cli import main as cli
from trimtab.gateway import keydb
from trimtab.gateway.keyring import Ring
from trimtab.gateway.keys import Key, digest
from trimtab.gateway.ledger import Ledger


@pytest.fixture
def trimtab(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    (tmp_path / "trimtab.toml").write_text('[store]\nfolder = "kept"\n')

    def run(*words, code=0):
        assert cli.main(["keys", *words]) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return run


@pytest.fixture
def ring(tmp_path):
    return Ring(tmp_path / "kept")


def test_create_prints_the_secret_once(trimtab, ring):
    limits = ["--models", "gpt-4o", "fake*", "--requests", "60", "--tokens", "9000"]
    limits += ["--day", "2.5", "--month", "40", "--run", "0.000001", "--expires", "90d"]
    secret = trimtab("create", "ci", "--tenant", "acme", *limits).split()[0]
    key = ring.get("ci")
    assert Ledger(ring.folder).key(secret) == key
    assert (key.models, key.requests_per_minute, key.tokens_per_minute) == (("gpt-4o", "fake*"), 60, 9000)
    assert (key.day_nanodollars, key.month_nanodollars, key.run_nanodollars) == (25 * 10**8, 40 * 10**9, 1000)
    assert key.expires_ns - key.created_ns == pytest.approx(90 * 86_400 * 10**9, rel=1e-3)
    for words in (["list"], ["list", "--json"], ["show", "ci"], ["show", "ci", "--json"]):
        said = trimtab(*words)
        assert "ci" in said and secret not in said and digest(secret).hex() not in said


def test_list_and_show_say_what_was_used(trimtab, ring):
    assert "trimtab keys create" in trimtab("list")
    assert json.loads(trimtab("list", "--json")) == []
    assert not keydb.path_of(ring.folder).exists(), "looking makes no file"
    ring.create(Key(name="ci", tenant="acme", day_nanodollars=10**10))
    ring.create(Key(name="other"))
    ledger = Ledger(ring.folder)
    ledger.settle(ledger.reserve(ring.get("ci"), "t", 5, 5), 70, 2 * 10**9)
    ledger.close()
    assert "$2.0000" in trimtab("list")
    (shown,) = json.loads(trimtab("list", "--tenant", "acme", "--json"))
    assert shown == json.loads(trimtab("show", "ci", "--json"))
    assert (shown["limits"], shown["used"]["day_usd"], shown["used"]["day_tokens"]) == ({"day_usd": 10.0}, 2.0, 70)
    assert (shown["state"], shown["expires"]) == ("active", None)
    assert "day_usd 10.0" in trimtab("show", "ci")


def test_limits_change_where_they_are_named(trimtab, ring):
    trimtab("create", "ci", "--models", "a", "--requests", "5", "--day", "1")
    trimtab("limit", "ci", "--day", "3", "--requests", "none", "--tokens", "10")
    key = ring.get("ci")
    assert (key.models, key.requests_per_minute, key.tokens_per_minute, key.day_nanodollars) == (
        ("a",),
        None,
        10,
        3 * 10**9,
    )
    trimtab("limit", "ci", "--models", "none")
    assert ring.get("ci").models == ()


def test_rotate_expire_revoke(trimtab, ring):
    first = trimtab("create", "ci").split()[0]
    second = json.loads(trimtab("rotate", "ci", "--grace", "1h", "--json"))["key"]
    ledger = Ledger(ring.folder)
    assert ledger.key(first).state(ledger.clock()) == ledger.key(second).state(ledger.clock()) == "active"
    assert json.loads(trimtab("expire", "ci", "--after", "30m", "--json"))["state"] == "active"
    assert json.loads(trimtab("expire", "ci", "--json"))["state"] == "expired"
    assert json.loads(trimtab("expire", "ci", "--never", "--json"))["expires"] is None
    assert "revoked" in trimtab("revoke", "ci")
    assert ledger.key(second).state(ledger.clock()) == "revoked"
    assert "final" in trimtab("rotate", "ci", code=2)


def test_errors_are_one_line(trimtab, ring):
    trimtab("create", "ci")
    for words in (["create", "ci"], ["show", "cd"], ["create", "a b"], ["revoke", "cd"]):
        said = trimtab(*words, code=2)
        assert said.startswith("trimtab: ") and said.count("\n") == 1
    keydb.path_of(ring.folder).write_bytes(b"no database " * 100)
    assert "keys.sqlite" in trimtab("list", code=6)


@pytest.mark.parametrize("words", [["--day", "0"], ["--day", "nan"], ["--requests", "-1"], ["--expires", "soon"]])
def test_a_limit_that_is_none_is_refused(trimtab, ring, words, capsys):
    with pytest.raises(SystemExit):
        cli.main(["keys", "create", "ci", *words])
    assert words[1] in capsys.readouterr().err
    assert ring.all() == []


def test_the_database_holds_no_secret_after_a_rotation(trimtab, ring):
    secrets = [trimtab("create", "ci").split()[0], trimtab("rotate", "ci").split()[0]]
    with sqlite3.connect(keydb.path_of(ring.folder)) as db:
        dump = "\n".join(db.iterdump())
    assert not [secret for secret in secrets if secret.removeprefix("tt-") in dump]
