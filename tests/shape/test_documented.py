"""Every command, option and configuration key is in the documentation; lint holds the floors."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from tests.shape import tree
from trimtab.cli.main import NOUNS, parser
from trimtab.config import Settings


@pytest.fixture(scope="module")
def cli():
    return list(tree.commands(parser(None)))


def test_each_command_is_documented(cli):
    text = tree.documentation()
    wanted = [" ".join(("trimtab", *words)) for words, _ in cli if words]
    missing = [command for command in wanted if command not in text]
    assert len(wanted) >= len(NOUNS)
    assert not missing, f"mention these in README.md or docs/*.md: {missing}"


def test_each_option_is_documented(cli):
    known = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", tree.documentation()))
    missing = sorted(f"{' '.join(words)} {option}" for words, its in cli for option in its - known)
    assert not missing, f"mention these in README.md or docs/*.md: {missing}"


def keys(struct, above=""):
    """Every key the TOML file may have, with dots: tables are walked, maps and lists by what they hold."""
    for field in msgspec.structs.fields(struct):
        yield f"{above}{field.encode_name}"
        for kind in (field.type, *get_args(field.type)):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from keys(kind, f"{above}{field.encode_name}.")


def test_the_walk_of_the_keys_sees_tables_lists_and_maps():
    assert {"gateway.port", "endpoints.key_env", "prices.models.cache_read", "steps.options"} <= set(keys(Settings))


def test_each_key_of_the_configuration_is_documented():
    page = tree.ROOT / "docs" / "config.md"
    assert page.exists(), "write docs/config.md: every key, its default, and what it does"
    text = page.read_text(encoding="utf-8")
    missing = [key for key in keys(Settings) if f"`{key.rpartition('.')[2]}`" not in text and f"`{key}`" not in text]
    assert not missing, f"explain these in docs/config.md, in backticks: {missing}"


def test_every_error_that_names_a_page_names_one_that_is_there():
    named = {word.strip("'\"`.,;:)(") for path in tree.modules() for word in path.read_text("utf-8").split()}
    pages = {word for word in named if word.startswith("docs/") and word.endswith(".md") and "*" not in word}
    missing = sorted(page for page in pages if not (tree.ROOT / page).exists())
    assert not missing, f"messages send the reader to pages that do not exist: {missing}"


def test_lint_holds_the_floors():
    makefile = (tree.ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    for tool in ("ruff check", "mypy", "lint-imports"):
        assert tool in recipe, f"`make lint` does not call {tool}"
    test = makefile.partition("\ntest:")[2].partition("\n")[0]
    assert "lint" in test, "`make test` does not run lint first"


def test_every_folder_has_its_floor():
    """A folder that no contract names could import anything."""
    contracts = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    floors = " ".join(contracts["contracts"][0]["layers"])
    loose = [
        entry.stem
        for entry in tree.PACKAGE.iterdir()
        if is_code(entry) and f"trimtab.{entry.stem}" not in floors and not entry.stem.startswith("__")
    ]
    assert not loose, f"give these a floor in pyproject.toml, [tool.importlinter]: {loose}"


def is_code(entry: Path) -> bool:
    return entry.suffix == ".py" or (entry.is_dir() and (entry / "__init__.py").exists())
