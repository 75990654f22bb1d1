"""What modules may be called, and how each begins."""

import ast

from tests.shape import tree

VAGUE = {"util", "utils", "helper", "helpers", "common", "core", "manager", "managers", "base", "misc", "shared"}


def test_no_module_has_a_name_that_says_nothing():
    vague = [
        tree.name(path)
        for path in tree.modules()
        if VAGUE & {part.removesuffix(".py") for part in path.relative_to(tree.PACKAGE).parts}
    ]
    assert not vague, f"name these after what they hold: {vague}"


def test_each_module_opens_with_one_line_that_says_what_it_is():
    silent = []
    for path in tree.modules():
        if not tree.parsed(path).body:
            continue
        text = ast.get_docstring(tree.parsed(path), clean=False) or ""
        first, _, rest = text.partition("\n")
        # A second sentence below is allowed; a first one that runs on into the next line is not.
        runs_on = rest.strip() and not rest.startswith("\n") and not first.rstrip().endswith((".", "?"))
        if not first.strip() or runs_on:
            silent.append(tree.name(path))
    assert not silent, f"open these with a docstring whose first line says what the module is: {silent}"


def test_init_files_are_empty():
    """Save the package's own, which holds the version, and those of levers, which name the lever."""
    full = [
        tree.name(path)
        for path in tree.modules()
        if path.name == "__init__.py"
        and path.parent != tree.PACKAGE
        and path.relative_to(tree.PACKAGE).parts[0] != "levers"
        and path.read_text(encoding="utf-8").strip()
    ]
    assert not full, f"empty these, and import from the module that holds the name: {full}"


def test_no_folder_stands_empty():
    folders = {path.parent for path in tree.modules() if path.name == "__init__.py"}
    alone = [tree.name(folder) for folder in folders if not any(p for p in folder.rglob("*.py") if p.stat().st_size)]
    assert not alone, f"a folder comes with its first file: {alone}"


def test_tests_do_not_hide_one_another():
    """Two test files of one name need packages; otherwise pytest refuses the second."""
    bare = [
        tree.name(path.parent)
        for path in (tree.ROOT / "tests").rglob("test_*.py")
        if not (path.parent / "__init__.py").exists()
    ]
    assert not bare, f"add an empty __init__.py to {sorted(set(bare))}"


def test_no_tracked_text_says_a_machine_wrote_it():
    """The words are put together here, so that this file does not hold them."""
    words = [" ".join(pair) for pair in (("generated", "by ai"), ("written", "by ai"))]
    words += ["-".join(parts) for parts in (("ai", "generated"), ("chatgpt", "generated"), ("co", "authored", "by:"))]
    found = []
    for path in tree.tracked():
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yml", ""} and path.stat().st_size < 1 << 20:
            text = path.read_text(encoding="utf-8", errors="replace").lower()
            found += [f"{tree.name(path)}: {word}" for word in words if word in text]
    assert not found, f"take these words out: {found}"
