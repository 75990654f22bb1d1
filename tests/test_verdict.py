import pytest

from trimtab.errors import ConfigError
from trimtab.verdict import Margin


def test_a_margin_is_a_share():
    assert Margin(0.02).value == 0.02


@pytest.mark.parametrize("value", [0, 1, -0.1, 2, float("nan")])
def test_a_margin_outside_the_open_unit_interval_is_refused(value):
    with pytest.raises(ConfigError, match="margin"):
        Margin(value)
