"""The tools of the dealership's agents: real side effects on the world, and error returns as data.

A tool is a function of the database and its arguments; its schema is written beside it, once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from trimtab.arena.dealership import world

Result = dict[str, Any]
JSON_TYPES = {"string": str, "integer": int}


class Tool(msgspec.Struct, frozen=True):
    """One tool: `params` maps a name to 'string' or 'integer', with '?' behind if it may be left out."""

    name: str
    description: str
    params: dict[str, str]
    run: Callable[..., Result]

    def schema(self) -> dict[str, Any]:
        """The OpenAI function schema."""
        kinds = {name: {"type": kind.rstrip("?")} for name, kind in self.params.items()}
        required = [name for name, kind in self.params.items() if not kind.endswith("?")]
        parameters = {"type": "object", "properties": kinds, "required": required}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


TOOLS: dict[str, Tool] = {}


def tool(description: str, **params: str) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Register a function as the tool of its own name."""

    def register(function: Callable[..., Result]) -> Callable[..., Result]:
        name = function.__name__
        TOOLS[name] = Tool(name=name, description=description, params=params, run=function)
        return function

    return register


def call(db: sqlite3.Connection, name: str, arguments: Any, allowed: tuple[str, ...]) -> Result:
    """Run one tool as an agent asked for it. Whatever is wrong comes back as {'error': ...}, never as an exception."""
    if name not in allowed or name not in TOOLS:
        return {"error": f"no tool named {name}"}
    if not isinstance(arguments, dict):
        return {"error": "arguments must be an object"}
    spec = TOOLS[name]
    for key, value in arguments.items():
        if key not in spec.params:
            return {"error": f"unknown argument {key}"}
        if not _fits(value, spec.params[key].rstrip("?")):
            return {"error": f"{key} must be {spec.params[key].rstrip('?')}"}
    missing = [key for key, kind in spec.params.items() if not kind.endswith("?") and key not in arguments]
    if missing:
        return {"error": f"missing argument {missing[0]}"}
    return spec.run(db, **arguments)


def _fits(value: Any, kind: str) -> bool:
    """Whether a value has this JSON type and can go into the database: half a surrogate and huge numbers cannot."""
    if not isinstance(value, JSON_TYPES[kind]) or isinstance(value, bool):
        return False
    if isinstance(value, int):
        return abs(value) <= 10**9
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _one(db: sqlite3.Connection, query: str, *values: object) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(query, values).fetchone()
    return row


def _customer(db: sqlite3.Connection, customer_id: str) -> Result | None:
    known = _one(db, "SELECT 1 FROM customers WHERE id = ?", customer_id)
    return None if known else {"error": "unknown customer"}


def _free(db: sqlite3.Connection, kind: str, day: str) -> list[str]:
    """Free times of a day: the bays of that kind less what is booked by a still valid appointment in them."""
    rows = db.execute("SELECT time FROM bays WHERE kind = ? AND day = ? ORDER BY time", (kind, day))
    return [row["time"] for row in rows]


@tool("Look up what the house says of a topic: hours, address, parking, payment, delivery, warranty", topic="string")
def store_info(db: sqlite3.Connection, topic: str) -> Result:
    row = _one(db, "SELECT text FROM info WHERE topic = ?", topic)
    return {"text": row["text"]} if row else {"error": "unknown topic"}


@tool("Find a customer by phone", phone="string")
def find_customer(db: sqlite3.Connection, phone: str) -> Result:
    row = _one(db, "SELECT id, name FROM customers WHERE phone = ?", phone)
    return {"customer_id": row["id"], "name": row["name"]} if row else {"error": "not found"}


@tool("Add a new customer", name="string", phone="string")
def register_customer(db: sqlite3.Connection, name: str, phone: str) -> Result:
    if _one(db, "SELECT 1 FROM customers WHERE phone = ?", phone):
        return {"error": "phone is already registered"}
    customer_id = world.number(db, "C")
    db.execute("INSERT INTO customers VALUES (?, ?, ?)", (customer_id, name, phone))
    return {"customer_id": customer_id}


@tool("Hand the customer to sales", customer_id="string?")
def transfer_to_sales(db: sqlite3.Connection, customer_id: str = "") -> Result:
    return {"transferred": "sales"}


@tool("Hand the customer to finance", customer_id="string?", vehicle_id="string?")
def transfer_to_finance(db: sqlite3.Connection, customer_id: str = "", vehicle_id: str = "") -> Result:
    return {"transferred": "finance"}


@tool("Hand the customer to service", customer_id="string?")
def transfer_to_service(db: sqlite3.Connection, customer_id: str = "") -> Result:
    return {"transferred": "service"}


@tool(
    "Available cars, cheapest first",
    model="string?",
    body="string?",
    fuel="string?",
    max_price="integer?",
)
def search_vehicles(
    db: sqlite3.Connection, model: str = "", body: str = "", fuel: str = "", max_price: int = 10**9
) -> Result:
    query = (
        "SELECT id, model, year, price FROM vehicles WHERE status = 'available' AND price <= ?"
        " AND (? = '' OR lower(model) = lower(?)) AND (? = '' OR lower(body) = lower(?))"
        " AND (? = '' OR lower(fuel) = lower(?)) ORDER BY price, id LIMIT 2"
    )
    rows = db.execute(query, (max_price, model, model, body, body, fuel, fuel)).fetchall()
    cars = [{"vehicle_id": r["id"], "model": r["model"], "year": r["year"], "price": r["price"]} for r in rows]
    return {"vehicles": cars}


@tool("Free times for a test drive", vehicle_id="string", day="string")
def test_drive_slots(db: sqlite3.Connection, vehicle_id: str, day: str) -> Result:
    if not _one(db, "SELECT 1 FROM vehicles WHERE id = ? AND status = 'available'", vehicle_id):
        return {"error": "vehicle is not available"}
    return {"free": _free(db, "test drive", day)} if day in world.DAYS else {"error": "unknown day"}


@tool("Book a test drive", customer_id="string", vehicle_id="string", day="string", time="string")
def book_test_drive(db: sqlite3.Connection, customer_id: str, vehicle_id: str, day: str, time: str) -> Result:
    if wrong := _customer(db, customer_id):
        return wrong
    if not _one(db, "SELECT 1 FROM vehicles WHERE id = ? AND status = 'available'", vehicle_id):
        return {"error": "vehicle is not available"}
    return _book(db, (customer_id, "test drive", vehicle_id), day, time)


def _book(db: sqlite3.Connection, what: tuple[str, str, str], day: str, time: str) -> Result:
    bay = "test drive" if what[1] == "test drive" else "service"
    if time not in _free(db, bay, day):
        return {"error": "time is not free", "free": _free(db, bay, day)}
    appointment = world.number(db, "A")
    db.execute("INSERT INTO appointments VALUES (?, ?, ?, ?, ?, ?, 'booked')", (appointment, *what, day, time))
    db.execute("DELETE FROM bays WHERE kind = ? AND day = ? AND time = ?", (bay, day, time))
    return {"appointment_id": appointment}


@tool("Reserve a car for a customer", customer_id="string", vehicle_id="string")
def reserve_vehicle(db: sqlite3.Connection, customer_id: str, vehicle_id: str) -> Result:
    if wrong := _customer(db, customer_id):
        return wrong
    car = _one(db, "SELECT model FROM vehicles WHERE id = ? AND status = 'available'", vehicle_id)
    if not car:
        return {"error": "vehicle is not available"}
    order = world.number(db, "O")
    db.execute("UPDATE vehicles SET status = 'reserved' WHERE id = ?", (vehicle_id,))
    db.execute("INSERT INTO orders VALUES (?, ?, ?, ?, 'confirmed')", (order, customer_id, vehicle_id, car["model"]))
    return {"order_id": order}


@tool("The customer's orders", customer_id="string")
def get_orders(db: sqlite3.Connection, customer_id: str) -> Result:
    rows = db.execute("SELECT id, model, status FROM orders WHERE customer_id = ? ORDER BY id", (customer_id,))
    return {"orders": [{"order_id": r["id"], "model": r["model"], "status": r["status"]} for r in rows]}


@tool("Cancel an order", order_id="string")
def cancel_order(db: sqlite3.Connection, order_id: str) -> Result:
    row = _one(db, "SELECT vehicle_id, status FROM orders WHERE id = ?", order_id)
    if not row or row["status"] == "cancelled":
        return {"error": "no such open order"}
    db.execute("UPDATE orders SET status = 'cancelled' WHERE id = ?", (order_id,))
    db.execute("UPDATE vehicles SET status = 'available' WHERE id = ? AND status = 'reserved'", (row["vehicle_id"],))
    return {"cancelled": order_id}


@tool("Value of a used car", model="string", year="integer", mileage="integer")
def appraise_trade_in(db: sqlite3.Connection, model: str, year: int, mileage: int) -> Result:
    if not 2010 <= year <= 2026 or not 0 <= mileage <= 400_000:
        return {"error": "year or mileage out of range"}
    value = max(500, 21_000 - (2026 - year) * 1_100 - mileage // 1_000 * 60 + len(model) * 100)
    return {"value": value // 100 * 100}


@tool("Monthly rate of a loan", vehicle_id="string", months="integer", down_payment="integer")
def quote_finance(db: sqlite3.Connection, vehicle_id: str, months: int, down_payment: int) -> Result:
    car = _one(db, "SELECT price FROM vehicles WHERE id = ?", vehicle_id)
    if not car:
        return {"error": "unknown vehicle"}
    if months not in world.TERMS:
        return {"error": "months must be 24, 36, 48 or 60"}
    return {"monthly": world.monthly(car["price"], months, down_payment)}


@tool("File a loan application", customer_id="string", vehicle_id="string", months="integer", down_payment="integer")
def apply_finance(db: sqlite3.Connection, customer_id: str, vehicle_id: str, months: int, down_payment: int) -> Result:
    quote = quote_finance(db, vehicle_id, months, down_payment)
    if wrong := _customer(db, customer_id) or (quote if "error" in quote else None):
        return wrong
    application = world.number(db, "F")
    row = (application, customer_id, vehicle_id, months, down_payment, quote["monthly"], "in review")
    db.execute("INSERT INTO applications VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return {"application_id": application}


@tool("The customer's loan applications", customer_id="string")
def get_applications(db: sqlite3.Connection, customer_id: str) -> Result:
    rows = db.execute("SELECT id, monthly, status FROM applications WHERE customer_id = ? ORDER BY id", (customer_id,))
    return {"applications": [{"application_id": r["id"], "monthly": r["monthly"], "status": r["status"]} for r in rows]}


@tool("Withdraw a loan application", application_id="string")
def withdraw_application(db: sqlite3.Connection, application_id: str) -> Result:
    changed = db.execute(
        "UPDATE applications SET status = 'withdrawn' WHERE id = ? AND status != 'withdrawn'", (application_id,)
    )
    return {"withdrawn": application_id} if changed.rowcount else {"error": "no such open application"}


@tool("Price of a service", service="string")
def service_price(db: sqlite3.Connection, service: str) -> Result:
    price = world.SERVICES.get(service.lower())
    return {"price": price} if price else {"error": "unknown service"}


@tool("Free times for a service", service="string", day="string")
def check_bays(db: sqlite3.Connection, service: str, day: str) -> Result:
    if service.lower() not in world.SERVICES:
        return {"error": "unknown service"}
    return {"free": _free(db, "service", day)} if day in world.DAYS else {"error": "unknown day"}


@tool("Book a service", customer_id="string", service="string", day="string", time="string")
def book_service(db: sqlite3.Connection, customer_id: str, service: str, day: str, time: str) -> Result:
    if wrong := _customer(db, customer_id):
        return wrong
    if service.lower() not in world.SERVICES:
        return {"error": "unknown service"}
    return _book(db, (customer_id, service.lower(), ""), day, time)


@tool("The customer's service appointments", customer_id="string")
def get_appointments(db: sqlite3.Connection, customer_id: str) -> Result:
    query = "SELECT id, kind, day, time FROM appointments WHERE customer_id = ? AND status = 'booked' ORDER BY id"
    rows = db.execute(query, (customer_id,)).fetchall()
    fields = [{"appointment_id": r["id"], "service": r["kind"], "day": r["day"], "time": r["time"]} for r in rows]
    return {"appointments": fields}


@tool("Move an appointment", appointment_id="string", day="string", time="string")
def reschedule_appointment(db: sqlite3.Connection, appointment_id: str, day: str, time: str) -> Result:
    row = _one(db, "SELECT kind FROM appointments WHERE id = ? AND status = 'booked'", appointment_id)
    if not row:
        return {"error": "no such appointment"}
    bay = "test drive" if row["kind"] == "test drive" else "service"
    if time not in _free(db, bay, day):
        return {"error": "time is not free", "free": _free(db, bay, day)}
    db.execute("UPDATE appointments SET day = ?, time = ? WHERE id = ?", (day, time, appointment_id))
    db.execute("DELETE FROM bays WHERE kind = ? AND day = ? AND time = ?", (bay, day, time))
    return {"moved": appointment_id}


@tool("Cancel an appointment", appointment_id="string")
def cancel_appointment(db: sqlite3.Connection, appointment_id: str) -> Result:
    changed = db.execute(
        "UPDATE appointments SET status = 'cancelled' WHERE id = ? AND status = 'booked'", (appointment_id,)
    )
    return {"cancelled": appointment_id} if changed.rowcount else {"error": "no such appointment"}


@tool("Open recalls of a model and year", model="string", year="integer")
def check_recall(db: sqlite3.Connection, model: str, year: int) -> Result:
    row = _one(db, "SELECT part FROM recalls WHERE lower(model) = lower(?) AND year = ?", model, year)
    return {"recall": row["part"] if row else "none"}
