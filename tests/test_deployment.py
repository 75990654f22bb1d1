import msgspec
import pytest

from trimtab.deployment import Deployment, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError

BIG = Endpoint("big", "http://one/v1", model="teacher")
SMALL = Endpoint("small", "http://two/v1", model="student")


def test_a_model_goes_to_its_route_then_to_its_own_endpoint_then_nowhere():
    deployment = Deployment("d", (BIG, SMALL), routes={"fast": "small", "teacher": "small"})
    found = {model: deployment.endpoint_for(model) for model in ("fast", "teacher", "student", "big", "other")}
    assert found == {"fast": SMALL, "teacher": SMALL, "student": SMALL, "big": BIG, "other": None}


def test_models_lists_every_name_once():
    deployment = Deployment("d", (BIG, SMALL, Endpoint("any", "u")), routes={"fast": "small", "teacher": "big"})
    assert deployment.models == ("fast", "teacher", "student", "any")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"endpoints": (BIG, BIG)}, "twice"),
        ({"endpoints": (BIG,), "routes": {"m": "nobody"}}, "nobody"),
        ({"endpoints": (BIG,), "split": {"nobody": 1.0}}, "nobody"),
        ({"endpoints": (BIG, SMALL), "split": {"big": 0.5, "small": 0.6}}, "1.1"),
        ({"endpoints": (BIG, SMALL), "fallbacks": {"nobody": ("big",)}}, "nobody"),
        ({"endpoints": (BIG, SMALL), "fallbacks": {"big": ("nobody",)}}, "nobody"),
    ],
)
def test_what_does_not_fit_is_refused(fields, named):
    with pytest.raises(ConfigError, match=named):
        Deployment("d", **fields)


def test_fallbacks_go_by_the_model_asked_for_then_by_the_endpoint():
    deployment = Deployment("d", (BIG, SMALL), fallbacks={"teacher": (), "big": ("big", "small")})
    assert deployment.fallbacks_for("teacher", BIG) == ()
    assert deployment.fallbacks_for("other", BIG) == (SMALL,)
    assert deployment.fallbacks_for("student", SMALL) == ()


def test_a_split_that_sums_to_one_is_taken():
    assert Deployment("d", (BIG, SMALL), split={"big": 0.9, "small": 0.1}).split["small"] == 0.1


def test_a_deployment_is_a_plain_value():
    """Written to JSON and read back it is the same; a change makes a new one."""
    deployment = Deployment("d", (BIG,), steps=(StepSpec("cache", options={"ttl_s": 1}),))
    assert msgspec.json.decode(msgspec.json.encode(deployment), type=Deployment) == deployment
    with pytest.raises(AttributeError):
        deployment.name = "e"


def test_the_same_server_in_another_dialect_is_found():
    twin = Endpoint("twin", BIG.url, model=BIG.model, dialect="responses")
    elsewhere = Endpoint("elsewhere", "http://else/v1", model=BIG.model, dialect="messages")
    deployment = Deployment("d", (BIG, elsewhere, twin))
    assert deployment.twin(BIG, "responses") is twin
    assert deployment.twin(BIG, "messages") is BIG
