"""The dealership's world: one small SQLite database, built from a seed. Knows no agents and no customers."""

from __future__ import annotations

import random
import sqlite3

MODELS: dict[str, str] = {
    "Aster Comet": "sedan",
    "Aster Breeze": "hatchback",
    "Boreal Finch": "hatchback",
    "Boreal Ridge": "SUV",
    "Corvo Atlas": "SUV",
    "Corvo Lume": "sedan",
    "Delphi Sprint": "hatchback",
    "Delphi Harbor": "van",
    "Elgin Pioneer": "pickup",
    "Elgin Mira": "sedan",
    "Fjord Nomad": "SUV",
    "Fjord Pulse": "hatchback",
    "Galant Stride": "sedan",
    "Galant Tundra": "pickup",
    "Halden Orbit": "SUV",
    "Halden Carrier": "van",
    "Iris Solace": "sedan",
    "Iris Trail": "SUV",
    "Juno Dash": "hatchback",
    "Juno Mesa": "pickup",
}
FUELS = ("electric", "hybrid", "petrol", "diesel")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
TIMES = ("09:00", "11:00", "14:00", "16:00")
SERVICES = {
    "oil change": 89,
    "brake check": 59,
    "tyre change": 75,
    "battery check": 39,
    "annual inspection": 149,
    "air conditioning service": 119,
    "wheel alignment": 99,
    "software update": 49,
}
TERMS = (24, 36, 48, 60)
FIRST_NAMES = (  # noqa: SIM905 -- a line of names reads better than thirty lines
    "Ana Bruno Carla Diego Elena Farid Grace Hugo Ingrid Jonas Keiko Liam Marta Nora Omar "
    "Paula Quentin Rosa Stefan Tara Umar Vera Walter Yusuf Zoe Aisha Boris Celine Dana Emil"
).split()
LAST_NAMES = (  # noqa: SIM905 -- a line of names reads better than thirty lines
    "Alvarez Berger Castillo Dubois Eriksen Fischer Garcia Hansen Ivanov Jensen Kowalski Larsen Moreno Novak Okafor "
    "Petrov Quinn Rossi Schmidt Tanaka Ueda Vargas Weber Yamada Zimmer Abbas Brandt Costa Demir Engel"
).split()

SCHEMA = """
CREATE TABLE vehicles (id TEXT PRIMARY KEY, model TEXT, body TEXT, fuel TEXT, year INTEGER, price INTEGER, status TEXT);
CREATE TABLE customers (id TEXT PRIMARY KEY, name TEXT, phone TEXT UNIQUE);
CREATE TABLE orders (id TEXT PRIMARY KEY, customer_id TEXT, vehicle_id TEXT, model TEXT, status TEXT);
CREATE TABLE applications (id TEXT PRIMARY KEY, customer_id TEXT, vehicle_id TEXT, months INTEGER,
                           down_payment INTEGER, monthly INTEGER, status TEXT);
CREATE TABLE appointments (id TEXT PRIMARY KEY, customer_id TEXT, kind TEXT, vehicle_id TEXT, day TEXT, time TEXT,
                           status TEXT);
CREATE TABLE bays (kind TEXT, day TEXT, time TEXT, PRIMARY KEY (kind, day, time));
CREATE TABLE recalls (model TEXT, year INTEGER, part TEXT);
CREATE TABLE info (topic TEXT PRIMARY KEY, text TEXT);
CREATE TABLE numbers (kind TEXT PRIMARY KEY, next INTEGER);
"""
ORDER_STATES = ("confirmed", "in production", "ready for pickup", "delayed")
APPLICATION_STATES = ("in review", "approved", "waiting for documents")
# Tables whose rows a session may change; the rest is furniture.
STATE = ("vehicles", "customers", "orders", "applications", "appointments")


def build(seed: int) -> sqlite3.Connection:
    """A fresh in-memory world; the same seed gives the same rows."""
    rng = random.Random(f"world:{seed}")
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    db.executescript(SCHEMA)
    _fill_vehicles(db, rng)
    _fill_people(db, rng)
    _fill_diary(db, rng)
    _fill_furniture(db, rng)
    return db


def state(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Everything a session can change, in an order that does not depend on row order: what success is judged by."""
    return {table: sorted(tuple(row) for row in db.execute(f"SELECT * FROM {table}")) for table in STATE}


def number(db: sqlite3.Connection, kind: str) -> str:
    """The next id of its kind: 'O512' for an order, 'A733' for an appointment, 'F204' for an application..."""
    row = db.execute("UPDATE numbers SET next = next + 1 WHERE kind = ? RETURNING next", (kind,)).fetchone()
    return f"{kind}{row['next']}"


def _fill_vehicles(db: sqlite3.Connection, rng: random.Random) -> None:
    names = list(MODELS)
    rng.shuffle(names)
    chosen = names[:16] + rng.choices(names[:16], k=10)
    for code, name in zip(rng.sample(range(100, 1000), len(chosen)), chosen, strict=True):
        price = rng.randrange(120, 560) * 100
        status = "available" if rng.random() < 0.85 else "sold"
        row = (f"V{code}", name, MODELS[name], rng.choice(FUELS), rng.randint(2018, 2025), price, status)
        db.execute("INSERT INTO vehicles VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _fill_people(db: sqlite3.Connection, rng: random.Random) -> None:
    for code, phone in zip(rng.sample(range(100, 1000), 10), rng.sample(range(10_000), 10), strict=True):
        name = f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
        db.execute("INSERT INTO customers VALUES (?, ?, ?)", (f"C{code}", name, f"555-{phone:04d}"))


def _fill_diary(db: sqlite3.Connection, rng: random.Random) -> None:
    """Give each customer one order, one application and one service appointment, so that every goal has its object."""
    people = [row["id"] for row in db.execute("SELECT id FROM customers ORDER BY rowid")]
    cars = [tuple(row) for row in db.execute("SELECT id, model, price FROM vehicles ORDER BY rowid")]
    for kind in ("O", "A", "F", "C"):
        db.execute("INSERT INTO numbers VALUES (?, ?)", (kind, rng.randrange(100, 900)))
    for person in people:
        car, model, _ = rng.choice(cars)
        order = (number(db, "O"), person, car, model, rng.choice(ORDER_STATES))
        db.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", order)
        car, _, price = rng.choice(cars)
        months, down = rng.choice(TERMS), rng.randrange(2, 9) * 500
        loan = (
            number(db, "F"),
            person,
            car,
            months,
            down,
            monthly(price, months, down),
            rng.choice(APPLICATION_STATES),
        )
        db.execute("INSERT INTO applications VALUES (?, ?, ?, ?, ?, ?, ?)", loan)
        service, day, time = rng.choice(list(SERVICES)), rng.choice(DAYS), rng.choice(TIMES)
        visit = (number(db, "A"), person, service, "", day, time, "booked")
        db.execute("INSERT INTO appointments VALUES (?, ?, ?, ?, ?, ?, ?)", visit)
    db.execute("UPDATE numbers SET next = ? WHERE kind = 'C'", (rng.randrange(1000, 1900),))


def _fill_furniture(db: sqlite3.Connection, rng: random.Random) -> None:
    """Free times (every kind keeps at least one a day), recalls, and what the house says of itself."""
    for kind in ("test drive", "service"):
        for day in DAYS:
            for time in sorted(rng.sample(TIMES, rng.choice((1, 2, 3, 3, 4)))):
                db.execute("INSERT INTO bays VALUES (?, ?, ?)", (kind, day, time))
    for name in rng.sample(list(MODELS), 8):
        part = rng.choice(("airbag", "fuel pump", "seat belt", "brake hose", "wiring"))
        db.execute("INSERT INTO recalls VALUES (?, ?, ?)", (name, rng.randint(2018, 2025), part))
    texts = {
        "hours": f"open monday to saturday from {rng.choice((8, 9))}:00 to {rng.choice((17, 18, 19))}:00",
        "address": f"{rng.randrange(10, 99)} Harbor Road",
        "parking": rng.choice(("free parking behind the building", "parking in the garage next door")),
        "payment": rng.choice(("card and bank transfer", "card, cash and bank transfer")),
        "delivery": f"delivery within {rng.randrange(2, 9)} days",
        "warranty": f"{rng.randrange(2, 7)} years of warranty",
    }
    db.executemany("INSERT INTO info VALUES (?, ?)", texts.items())


def monthly(price: int, months: int, down_payment: int) -> int:
    """Monthly instalment in whole dollars: the loan with 6 % simple interest a year, spread evenly and rounded up."""
    loan = max(0, price - down_payment)
    return -(-loan * (1200 + 6 * months) // (1200 * months))
