"""What customers want: the goal families, and one goal drawn from a seed. Knows no agents."""

from __future__ import annotations

import random
import sqlite3
from typing import Any

import msgspec

from trimtab.arena.dealership import world

Slots = dict[str, Any]


class Family(msgspec.Struct, frozen=True):
    """A kind of goal.

    `slots` are the facts it needs; `account` = the customer must be identified; `mind` = what may happen when the
    agent asks for confirmation; `weight` = how often it comes; `steps` = tool calls when all goes well; `second` =
    the goal that follows in the same session.
    """

    name: str
    slots: tuple[str, ...] = ()
    account: bool = False
    mind: tuple[str, ...] = ()
    weight: int = 4
    steps: int = 1
    second: str = ""


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("info", ("topic",), weight=8, steps=1),
        Family("find_car", ("fuel", "body", "max_price"), weight=6, steps=2),
        Family(
            "test_drive", ("model", "day", "time"), account=True, mind=("yes", "yes", "no", "change"), weight=6, steps=5
        ),
        Family("reserve", ("model",), account=True, mind=("yes", "yes", "yes", "no"), steps=4),
        Family("order_status", account=True, weight=7, steps=3),
        Family("cancel_order", account=True, mind=("yes", "yes", "no"), steps=4),
        Family("trade_in", ("model", "year", "mileage"), steps=2),
        Family("finance_quote", ("model", "months", "down_payment"), weight=5, steps=3),
        Family(
            "finance_apply",
            ("model", "months", "down_payment"),
            account=True,
            mind=("yes", "yes", "no", "change"),
            steps=5,
        ),
        Family("finance_status", account=True, weight=5, steps=3),
        Family("withdraw_loan", account=True, mind=("yes", "yes", "no"), weight=2, steps=4),
        Family(
            "service_book",
            ("service", "day", "time"),
            account=True,
            mind=("yes", "yes", "no", "change"),
            weight=7,
            steps=4,
        ),
        Family("reschedule", ("day", "time"), account=True, mind=("yes", "yes", "no", "change"), weight=3, steps=5),
        Family("cancel_visit", account=True, mind=("yes", "yes", "no"), weight=3, steps=4),
        Family("recall", ("model", "year"), weight=3, steps=2),
        Family("service_price", ("service",), weight=6, steps=2),
        Family("buy_on_credit", ("model",), account=True, mind=("yes",), weight=3, steps=7, second="finance_apply"),
        Family(
            "service_and_drive",
            ("service", "day", "time"),
            account=True,
            mind=("yes",),
            weight=3,
            steps=8,
            second="test_drive",
        ),
        Family("out_of_scope", weight=3, steps=0),
        Family("forbidden", ("model", "person"), weight=3, steps=0),
    )
}
# A family that is two goals in one starts like the first of them.
STARTS_AS = {"buy_on_credit": "reserve", "service_and_drive": "service_book"}
# Facts that belong to the ask itself; the others may be missing and must then be asked for.
IN_ASK = ("topic", "fuel", "body", "model", "year", "service", "person")


class Goal(msgspec.Struct, frozen=True):
    """One customer's wish: the facts, which of them are said at once, and what they answer when asked to confirm."""

    family: str
    slots: Slots
    at_once: frozenset[str]
    mind: str = "yes"
    changed: Slots = {}
    second: Goal | None = None

    @property
    def kind(self) -> str:
        """The family whose policy applies."""
        return STARTS_AS.get(self.family, self.family)


def draw(family: str, db: sqlite3.Connection, rng: random.Random) -> Goal:
    """A goal of this family that fits the world `db`."""
    spec = FAMILIES[family]
    slots = {slot: _value(slot, db, rng) for slot in spec.slots}
    if spec.second and "model" in slots:
        slots["model"] = rng.choice(_stocked(db))
    if spec.account:
        slots |= _identity(db, rng)
    mind = rng.choice(spec.mind) if spec.mind else "yes"
    at_once = frozenset(slot for slot in slots if slot in IN_ASK or (slot != "name" and rng.random() < 0.6))
    changed = _changed(slots, rng) if mind == "change" else {}
    goal = Goal(family=family, slots=slots, at_once=at_once, mind=mind, changed=changed)
    return msgspec.structs.replace(goal, second=_second(spec, goal, db, rng)) if spec.second else goal


def _second(spec: Family, first: Goal, db: sqlite3.Connection, rng: random.Random) -> Goal:
    """The wish that follows: of the same customer, and, where a car was reserved, about that car."""
    goal = draw(spec.second, db, rng)
    kept = {key: first.slots[key] for key in ("phone", "name", "new", "model") if key in first.slots}
    said = goal.at_once - {"phone"}
    return msgspec.structs.replace(goal, slots={**goal.slots, **kept}, at_once=said, mind="yes", changed={})


def _value(slot: str, db: sqlite3.Connection, rng: random.Random) -> Any:
    match slot:
        case "model":
            return rng.choice(_stocked(db) if rng.random() < 0.92 else sorted(world.MODELS))
        case "person":
            return f"{rng.choice(world.FIRST_NAMES)} {rng.choice(world.LAST_NAMES)}"
        case "max_price":
            return rng.randrange(18, 56) * 1000
        case "mileage":
            return rng.randrange(8, 180) * 1000 + rng.choice((0, 0, 500))
        case "down_payment":
            return rng.randrange(2, 13) * 500
        case "year":
            return rng.randint(2018, 2025)
        case _:
            return rng.choice(CHOICES[slot])


def _stocked(db: sqlite3.Connection) -> list[str]:
    return sorted({row["model"] for row in db.execute("SELECT model FROM vehicles WHERE status = 'available'")})


CHOICES: dict[str, tuple[Any, ...]] = {
    "topic": ("hours", "hours", "hours", "address", "parking", "payment", "delivery", "warranty"),
    "fuel": world.FUELS,
    "body": tuple(sorted(set(world.MODELS.values()))),
    "day": world.DAYS,
    "time": world.TIMES,
    "months": world.TERMS,
    "service": tuple(world.SERVICES),
}


def _identity(db: sqlite3.Connection, rng: random.Random) -> Slots:
    """A customer of the house, or (one in eight) somebody new, whose phone no row has."""
    rows = db.execute("SELECT name, phone FROM customers ORDER BY rowid").fetchall()
    if rng.random() < 0.875:
        row = rng.choice(rows)
        return {"phone": row["phone"], "name": row["name"], "new": False}
    known = {row["phone"] for row in rows}
    phone = next(p for p in iter(lambda: f"555-{rng.randrange(10_000):04d}", "") if p not in known)
    return {"phone": phone, "name": f"{rng.choice(world.FIRST_NAMES)} {rng.choice(world.LAST_NAMES)}", "new": True}


def _changed(slots: Slots, rng: random.Random) -> Slots:
    """What the customer changes their mind to: another term, or another day and time."""
    if "months" in slots:
        return {"months": rng.choice([term for term in world.TERMS if term != slots["months"]])}
    return {
        "day": rng.choice([day for day in world.DAYS if day != slots["day"]]),
        "time": rng.choice(world.TIMES),
    }
