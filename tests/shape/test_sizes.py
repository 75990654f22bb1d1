"""How long files and functions may be, how deep folders, how many parameters."""

import statistics

from tests.shape import tree

FILE_LINES = 450
MEDIAN_LINES = 150
FUNCTION_LINES = 80
PARAMETERS = 6
DEPTH = 2


def test_no_file_is_long():
    long = {tree.name(path): tree.lines(path) for path in tree.modules() if tree.lines(path) > FILE_LINES}
    assert not long, f"split these files, {FILE_LINES} lines is the most: {long}"


def test_the_median_file_is_short():
    sizes = [tree.lines(path) for path in tree.modules() if tree.lines(path)]
    median = statistics.median(sizes)
    assert median <= MEDIAN_LINES, (
        f"the median file has {median:g} lines, {MEDIAN_LINES} is the most: split the longest"
    )


def test_no_function_is_long():
    long = {
        f"{tree.name(path)}:{node.lineno} {node.name}": size
        for path in tree.modules()
        for node in tree.functions(path)
        if (size := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    }
    assert not long, f"split these functions, {FUNCTION_LINES} lines is the most: {long}"


def test_no_function_takes_many_parameters():
    """`self` and `cls` are not counted."""
    many = {}
    for path in tree.modules():
        for node in tree.functions(path):
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = len([each for each in arguments if each.arg not in ("self", "cls")])
            if count > PARAMETERS:
                many[f"{tree.name(path)}:{node.lineno} {node.name}"] = count
    assert not many, f"gather the parameters of these in a value, {PARAMETERS} is the most: {many}"


def test_folders_are_at_most_two_deep():
    deep = [tree.name(path) for path in tree.modules() if len(path.relative_to(tree.PACKAGE).parts) - 1 > DEPTH]
    assert not deep, f"move these up, {DEPTH} folders under trimtab is the most: {deep}"
