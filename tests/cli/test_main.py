import subprocess
import sys

import pytest

from trimtab import __version__
from trimtab.cli import main as cli
from trimtab.errors import PortInUse


def run(*words):
    command = [sys.executable, "-m", "trimtab", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"trimtab {__version__}\n")


def test_help_names_every_command():
    done = run("--help")
    assert done.returncode == 0
    assert all(noun in done.stdout for noun in cli.NOUNS)


@pytest.mark.parametrize("noun", cli.NOUNS)
def test_each_command_has_help(noun, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([noun, "--help"])
    assert end.value.code == 0
    assert f"usage: trimtab {noun}" in capsys.readouterr().out


def test_help_of_one_command_loads_no_other(monkeypatch, capsys):
    asked = []
    real = cli.importlib.import_module
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: asked.append(name) or real(name))
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    assert asked == ["trimtab.cli.serve"]


@pytest.mark.parametrize("words", [["sevre"], []])
def test_an_unknown_command_or_none_says_which_there_are(words):
    done = run(*words)
    assert done.returncode == 2
    assert "usage: trimtab" in done.stderr
    assert "Traceback" not in done.stderr
    if words:
        assert "'sevre'" in done.stderr
        assert "serve" in done.stderr


@pytest.fixture
def noun(monkeypatch):
    """Registers a command 'try' that runs the function given to it."""

    def register(function):
        module = type(sys)("trimtab.cli.try")
        module.add = lambda parser: parser.set_defaults(run=function)
        monkeypatch.setitem(sys.modules, "trimtab.cli.try", module)
        monkeypatch.setattr(cli, "NOUNS", {"try": "a test"})

    return register


def test_an_error_of_the_tree_is_one_line_and_its_exit_code(noun, capsys):
    def taken(args):
        raise PortInUse("127.0.0.1", 8400)

    noun(taken)
    assert cli.main(["try"]) == PortInUse.exit_code
    captured = capsys.readouterr()
    assert captured.err == f"trimtab: {PortInUse('127.0.0.1', 8400)}\n"
    assert captured.out == ""


def test_an_error_outside_the_tree_is_a_bug_and_not_hidden(noun):
    noun(lambda args: {}["x"])
    with pytest.raises(KeyError):
        cli.main(["try"])


def test_ctrl_c_ends_with_130(noun, capsys):
    def stopped(args):
        raise KeyboardInterrupt

    noun(stopped)
    assert cli.main(["try"]) == 130
    assert capsys.readouterr().err == "trimtab: stopped\n"


@pytest.mark.parametrize(("answer", "code"), [(0, 0), (None, 0), (3, 3)])
def test_the_exit_code_is_what_the_command_returns(noun, answer, code):
    noun(lambda args: answer)
    assert cli.main(["try"]) == code
