import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.arena.dealership import agents, goals, tools, world

DB = world.build(7)


def one(query):
    return DB.execute(query).fetchone()[0]


CUSTOMER = one("SELECT id FROM customers")
PHONE = one("SELECT phone FROM customers")
CAR = one("SELECT id FROM vehicles WHERE status = 'available'")
SOLD = one("SELECT id FROM vehicles WHERE status = 'sold'")
MODEL = one("SELECT model FROM vehicles WHERE status = 'available'")
ORDER, LOAN = one("SELECT id FROM orders"), one("SELECT id FROM applications")
VISIT = one("SELECT id FROM appointments")
DRIVE_DAY, DRIVE_TIME = DB.execute("SELECT day, time FROM bays WHERE kind = 'test drive'").fetchone()
BAY_DAY, BAY_TIME = DB.execute("SELECT day, time FROM bays WHERE kind = 'service'").fetchone()
DRIVE = {"customer_id": CUSTOMER, "vehicle_id": CAR, "day": DRIVE_DAY, "time": DRIVE_TIME}
SERVICE = {"customer_id": CUSTOMER, "service": "Oil change", "day": BAY_DAY, "time": BAY_TIME}
MOVE = {"appointment_id": VISIT, "day": BAY_DAY, "time": BAY_TIME}
LOAN_OF = {"customer_id": CUSTOMER, "vehicle_id": CAR, "months": 36, "down_payment": 1000}
QUOTE = {"vehicle_id": CAR, "months": 36, "down_payment": 1000}

# tool: (arguments that work, the result's key, whether the world changes, arguments that do not)
CASES = {
    "store_info": ({"topic": "hours"}, "text", False, {"topic": "politics"}),
    "find_customer": ({"phone": PHONE}, "customer_id", False, {"phone": "555-none"}),
    "register_customer": ({"name": "A B", "phone": "555-x"}, "customer_id", True, {"name": "A B", "phone": PHONE}),
    "transfer_to_sales": ({}, "transferred", False, {"vehicle_id": CAR}),
    "transfer_to_finance": ({"vehicle_id": CAR}, "transferred", False, {"customer_id": 4}),
    "transfer_to_service": ({"customer_id": CUSTOMER}, "transferred", False, {"why": "x"}),
    "search_vehicles": ({"model": MODEL.upper()}, "vehicles", False, {"max_price": "cheap"}),
    "test_drive_slots": ({"vehicle_id": CAR, "day": "monday"}, "free", False, {"vehicle_id": CAR, "day": "sunday"}),
    "book_test_drive": (DRIVE, "appointment_id", True, {**DRIVE, "time": "03:00"}),
    "reserve_vehicle": (
        {"customer_id": CUSTOMER, "vehicle_id": CAR},
        "order_id",
        True,
        {"customer_id": CUSTOMER, "vehicle_id": SOLD},
    ),
    "get_orders": ({"customer_id": CUSTOMER}, "orders", False, {}),
    "cancel_order": ({"order_id": ORDER}, "cancelled", True, {"order_id": "O0"}),
    "appraise_trade_in": (
        {"model": MODEL, "year": 2020, "mileage": 50_000},
        "value",
        False,
        {"model": MODEL, "year": 1950, "mileage": 5},
    ),
    "quote_finance": (QUOTE, "monthly", False, {**QUOTE, "months": 37}),
    "apply_finance": (LOAN_OF, "application_id", True, {**LOAN_OF, "months": 37}),
    "get_applications": ({"customer_id": CUSTOMER}, "applications", False, {"customer_id": None}),
    "withdraw_application": ({"application_id": LOAN}, "withdrawn", True, {"application_id": "F0"}),
    "service_price": ({"service": "OIL CHANGE"}, "price", False, {"service": "haircut"}),
    "check_bays": ({"service": "oil change", "day": "monday"}, "free", False, {"service": "oil change", "day": "x"}),
    "book_service": (SERVICE, "appointment_id", True, {**SERVICE, "customer_id": "C0"}),
    "get_appointments": ({"customer_id": CUSTOMER}, "appointments", False, {"customer_id": True}),
    "reschedule_appointment": (MOVE, "moved", True, {**MOVE, "time": "03:00"}),
    "cancel_appointment": ({"appointment_id": VISIT}, "cancelled", True, {"appointment_id": "A0"}),
    "check_recall": ({"model": MODEL, "year": 2020}, "recall", False, {"model": MODEL, "year": "new"}),
}


def test_there_are_enough_tools_and_each_is_tested_and_some_agents():
    assert len(tools.TOOLS) >= 15
    assert set(CASES) == set(tools.TOOLS)
    assert {name for agent in agents.AGENTS.values() for name in agent.tools} == set(tools.TOOLS)


def call(db, name, arguments):
    return tools.call(db, name, arguments, tuple(tools.TOOLS))


@pytest.mark.parametrize("name", CASES)
def test_a_tool_does_its_work(name):
    good, key, writes, _ = CASES[name]
    db = world.build(7)
    before = world.state(db)
    assert key in call(db, name, good)
    assert (world.state(db) != before) is writes


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_data_and_changes_nothing(name):
    db = world.build(7)
    before = list(db.iterdump())
    assert set(call(db, name, CASES[name][3])) >= {"error"}
    assert list(db.iterdump()) == before


@pytest.mark.parametrize("name", ["book_test_drive", "reserve_vehicle", "cancel_order", "withdraw_application",
                                  "book_service", "cancel_appointment"])  # fmt: skip
def test_what_was_done_cannot_be_done_twice(name):
    db = world.build(7)
    assert "error" not in call(db, name, CASES[name][0])
    assert "error" in call(db, name, CASES[name][0])


def test_an_agent_has_only_its_own_tools():
    db = world.build(7)
    assert "error" in tools.call(db, "cancel_order", {"order_id": ORDER}, agents.AGENTS["triage"].tools)
    assert world.state(db) == world.state(DB)


def test_a_cancelled_order_frees_the_car():
    db = world.build(7)
    order = call(db, "reserve_vehicle", {"customer_id": CUSTOMER, "vehicle_id": CAR})["order_id"]
    call(db, "cancel_order", {"order_id": order})
    assert db.execute("SELECT status FROM vehicles WHERE id = ?", (CAR,)).fetchone()[0] == "available"


@pytest.mark.parametrize("name", [name for name, tool in tools.TOOLS.items() if tool.params])
def test_half_a_surrogate_pair_and_huge_numbers_are_refused(name):
    """JSON can say them; a database cannot keep them."""
    db = world.build(7)
    before = list(db.iterdump())
    key = next(iter(tools.TOOLS[name].params))
    for odd in ("\ud800", "555\udfff", 10**10, -(10**30)):
        assert call(db, name, {**CASES[name][0], key: odd})["error"].startswith(f"{key} must be ")
    assert call(db, name, {"\ud800": 1})["error"].startswith("unknown argument")
    assert list(db.iterdump()) == before


KNOWN = st.sampled_from([CUSTOMER, PHONE, CAR, SOLD, MODEL, ORDER, LOAN, VISIT, *goals.CHOICES["day"], BAY_TIME, 36])
ANY_CHARACTER = st.characters(exclude_categories=[])  # half surrogate pairs too, as JSON has them
LEAF = KNOWN | st.none() | st.booleans() | st.integers() | st.floats() | st.text(ANY_CHARACTER, max_size=8)
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))
PARAMS = st.sampled_from(sorted({name for tool in tools.TOOLS.values() for name in tool.params}))


@st.composite
def calls(draw):
    name = draw(st.sampled_from(sorted(tools.TOOLS)) | st.text(max_size=8))
    if name in tools.TOOLS and draw(st.booleans()):
        return name, {key: draw(KNOWN | LEAF) for key in tools.TOOLS[name].params}
    return name, draw(st.dictionaries(PARAMS | st.text(max_size=8), JSON, max_size=4) | JSON)


@settings(max_examples=250, deadline=None)
@given(calls())
def test_no_call_raises_and_no_error_changes_the_world(asked):
    db = world.build(7)
    before = list(db.iterdump())
    result = call(db, *asked)
    assert isinstance(result, dict)
    if "error" in result:
        assert isinstance(result["error"], str)
        assert list(db.iterdump()) == before


def test_schemas_are_openai_functions():
    for tool in tools.TOOLS.values():
        function = tool.schema()["function"]
        assert function["name"] == tool.name
        assert function["description"]
        assert set(function["parameters"]["required"]) <= set(function["parameters"]["properties"])
