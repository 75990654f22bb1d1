import inspect
import re

import pytest

from trimtab import errors
from trimtab.errors import MissingExtra, PortInUse, RequestRefused, TrimtabError


def classes(root=TrimtabError):
    """The tree as the docstring draws it: (depth, name) from the top."""
    found = [(0, root.__name__)]
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            found += [(depth + 1, name) for depth, name in classes(child)]
    return found


def drawn():
    lines = [re.match(r"([│├└─ ]*)([A-Z]\w+)(\s{2,}|$)", line) for line in (errors.__doc__ or "").splitlines()]
    return [(len(line[1]) // 4, line[2]) for line in lines if line]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    assert drawn() == classes()


def test_no_class_stands_outside_the_tree():
    own = [value for _, value in inspect.getmembers(errors, inspect.isclass) if value.__module__ == errors.__name__]
    assert {value.__name__ for value in own} == {name for _, name in classes()}


def test_every_exit_code_is_an_error_and_tells_the_branch():
    codes = [child.exit_code for child in TrimtabError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert all(0 < code < 126 for code in [*codes, TrimtabError.exit_code])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MissingExtra("engine", "openvino-genai"), ["openvino-genai", "pip install 'trimtab[engine]'"]),
        (PortInUse("127.0.0.1", 8400), ["8400", "127.0.0.1", "--port"]),
        (RequestRefused("messages is missing", param="messages"), ["messages is missing"]),
    ],
)
def test_every_message_is_one_line_that_names_what_to_do(error, words):
    text = str(error)
    assert "\n" not in text
    assert all(word in text for word in words)


def test_every_constructor_was_tried_above():
    """An error with its own constructor writes its own message: give it a row."""
    own = {name for _, name in classes() if "__init__" in vars(getattr(errors, name))}
    assert own == {"MissingExtra", "PortInUse", "RequestRefused"}


def test_a_refusal_carries_what_the_answer_needs():
    assert RequestRefused("x").kind == "invalid_request_error"
    busy = RequestRefused("x", status=503, code="busy")
    assert (busy.kind, busy.status, busy.param, busy.code) == ("server_error", 503, None, "busy")
