from trimtab.endpoint import Endpoint


def test_the_price_is_looked_up_under_its_own_name_or_the_models():
    assert Endpoint("a", "u", model="m").price_name == "m"
    assert Endpoint("a", "u", model="m", price="p").price_name == "p"
    assert Endpoint("a", "u").price_name == ""
