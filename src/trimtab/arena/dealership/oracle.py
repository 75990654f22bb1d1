"""The oracle: the policy that solves every task.

It sees what the customer has said so far, never the goal itself save for its family, so that what it does next is a
function of the conversation.

A policy is a generator: it yields what the agent does (`Say` or `Use`) and is sent what came back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from trimtab.arena.dealership.customers import Customer


class Say(msgspec.Struct, frozen=True):
    """Words to the customer; `facts` are what they must contain for the customer to be told what they need."""

    text: str
    facts: tuple[str, ...] = ()


class Use(msgspec.Struct, frozen=True):
    """One tool call."""

    name: str
    arguments: dict[str, Any]


Policy = Generator[Say | Use, Any, None]
Part = Generator[Say | Use, Any, Any]

QUESTIONS = {
    "phone": "What is your phone number?",
    "name": "You are new here. What is your full name?",
    "max_price": "What is your budget?",
    "mileage": "What is the mileage?",
    "months": "Over how many months?",
    "down_payment": "How much is the down payment?",
    "day": "Which day suits you?",
    "time": "What time suits you?",
}
# Any of these words tells a customer that something is not to be had.
NO = "no|not|none|sorry|unfortunately|cannot|can't|unable|don't|isn't"
LEFT = "All right, I leave everything as it is."


def solve(customer: Customer) -> Policy:
    """The whole conversation: the first goal, then the second one if the customer comes with it."""
    desk = Desk(customer)
    first = customer.goal
    yield from POLICIES[first.kind](desk)
    if first.second is not None and not customer.declined and desk.reply is not None:
        yield from POLICIES[first.second.kind](desk)


class Desk:
    """What the agents have learnt in this conversation, and the moves all policies share."""

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.agent = "triage"
        self.customer_id = ""
        self.car: dict[str, Any] = {}
        self.reply: str | None = ""

    def need(self, slot: str) -> Part:
        """The fact, asked for if the customer has not said it."""
        if slot not in self.customer.known:
            self.reply = yield Say(QUESTIONS[slot])
        return self.customer.known[slot]

    def tell(self, text: str, *facts: object) -> Part:
        self.reply = yield Say(text, tuple(str(fact) for fact in facts))

    def use(self, name: str, /, **arguments: Any) -> Part:
        return (yield Use(name, arguments))

    def reach(self, agent: str, account: bool) -> Part:
        """Identify the customer if the request concerns their account, then hand over to `agent`."""
        if self.agent == agent:
            return
        if account and not self.customer_id:
            yield from self._identify()
        arguments = {"customer_id": self.customer_id} if self.customer_id else {}
        if agent == "finance" and self.car:
            arguments["vehicle_id"] = self.car["vehicle_id"]
        yield Use(f"transfer_to_{agent}", arguments)
        self.agent = agent

    def _identify(self) -> Part:
        phone = yield from self.need("phone")
        found = yield from self.use("find_customer", phone=phone)
        if "error" in found:
            name = yield from self.need("name")
            found = yield from self.use("register_customer", name=name, phone=phone)
        self.customer_id = found["customer_id"]

    def find(self) -> Part:
        """The cheapest car of the model that was named; None, with the customer told, if there is none."""
        model = self.customer.known["model"]
        if self.car.get("model") == model:
            return self.car
        found = yield from self.use("search_vehicles", model=model)
        if not found["vehicles"]:
            yield from self.tell(f"Sorry, no {model} is available.", NO)
            return None
        self.car = found["vehicles"][0]
        return self.car

    def record(self, agent: str, kind: str) -> Part:
        """The customer's first order, application or appointment; None, with the customer told, if there is none."""
        yield from self.reach(agent, account=True)
        found = (yield from self.use(f"get_{kind}s", customer_id=self.customer_id))[f"{kind}s"]
        if not found:
            yield from self.tell(f"You have no {kind}.", NO)
            return None
        return found[0]

    def settle_time(self, tool: str, **arguments: Any) -> Part:
        """A day and a free time, offering others while the wanted one is taken."""
        day = yield from self.need("day")
        free = (yield from self.use(tool, **arguments, day=day))["free"]
        time = yield from self.need("time")
        while time not in free:
            self.reply = yield Say(f"{time} on {day} is taken. Free: {', '.join(free)}. Which one do you prefer?")
            time = self.customer.known["time"]
        return day, time

    def confirm(self, question: str) -> Part:
        """'yes', 'no' or 'change'."""
        before = dict(self.customer.known)
        self.reply = yield Say(question)
        if self.customer.declined:
            # Who is asked must have been told what it is about.
            yield from self.tell(LEFT, *re.findall(r"[\w:]*\d[\w:]*", question))
            return "no"
        return "yes" if self.customer.known == before else "change"


def info(desk: Desk) -> Policy:
    found = yield from desk.use("store_info", topic=desk.customer.known["topic"])
    yield from desk.tell(f"Our answer: {found['text']}.", *re.findall(r"[\w:]*\d[\w:]*|\w{5,}", found["text"]))


def find_car(desk: Desk) -> Policy:
    yield from desk.reach("sales", account=False)
    known = desk.customer.known
    limit = yield from desk.need("max_price")
    found = yield from desk.use("search_vehicles", body=known["body"], fuel=known["fuel"], max_price=limit)
    if not found["vehicles"]:
        yield from desk.tell(f"Sorry, no {known['fuel']} {known['body']} is available in your budget.", NO)
        return
    car = found["vehicles"][0]
    words = f"The best match is {car['vehicle_id']}, {car['model']} {car['year']}, for ${car['price']}."
    yield from desk.tell(words, car["model"], car["price"])


def test_drive(desk: Desk) -> Policy:
    yield from desk.reach("sales", account=True)
    car = yield from desk.find()
    while car:
        slot = {"vehicle_id": car["vehicle_id"]}
        day, time = yield from desk.settle_time("test_drive_slots", **slot)
        mind = yield from desk.confirm(f"Shall I book a test drive of the {car['model']} on {day} at {time}?")
        if mind == "yes":
            done = yield from desk.use("book_test_drive", customer_id=desk.customer_id, **slot, day=day, time=time)
            yield from desk.tell(f"Booked: test drive {done['appointment_id']} on {day} at {time}.", day, time)
        if mind != "change":
            return


def reserve(desk: Desk) -> Policy:
    yield from desk.reach("sales", account=True)
    car = yield from desk.find()
    if not car:
        desk.reply = None
        return
    what = f"{car['vehicle_id']}, {car['model']} {car['year']}, for ${car['price']}"
    if (yield from desk.confirm(f"Shall I reserve {what}?")) == "yes":
        done = yield from desk.use("reserve_vehicle", customer_id=desk.customer_id, vehicle_id=car["vehicle_id"])
        yield from desk.tell(f"Reserved: order {done['order_id']}.", done["order_id"])


def order_status(desk: Desk) -> Policy:
    order = yield from desk.record("sales", "order")
    if order:
        yield from desk.tell(f"Order {order['order_id']}, {order['model']}: {order['status']}.", order["status"])


def cancel_order(desk: Desk) -> Policy:
    order = yield from desk.record("sales", "order")
    if not order:
        return
    if (yield from desk.confirm(f"Shall I cancel order {order['order_id']}, {order['model']}?")) == "yes":
        yield from desk.use("cancel_order", order_id=order["order_id"])
        yield from desk.tell(f"Order {order['order_id']} is cancelled.")


def trade_in(desk: Desk) -> Policy:
    yield from desk.reach("sales", account=False)
    known = desk.customer.known
    miles = yield from desk.need("mileage")
    found = yield from desk.use("appraise_trade_in", model=known["model"], year=known["year"], mileage=miles)
    yield from desk.tell(f"We offer ${found['value']} for it.", found["value"])


def _quote(desk: Desk) -> Part:
    """(months, down payment, monthly) for the car in hand."""
    months = yield from desk.need("months")
    down = yield from desk.need("down_payment")
    car = desk.car["vehicle_id"]
    found = yield from desk.use("quote_finance", vehicle_id=car, months=months, down_payment=down)
    return months, down, found["monthly"]


def finance_quote(desk: Desk) -> Policy:
    yield from desk.reach("finance", account=False)
    if (yield from desk.find()):
        months, _, rate = yield from _quote(desk)
        yield from desk.tell(f"That is ${rate} a month over {months} months.", rate)


def finance_apply(desk: Desk) -> Policy:
    yield from desk.reach("finance", account=True)
    if not (yield from desk.find()):
        return
    while True:
        months, down, rate = yield from _quote(desk)
        mind = yield from desk.confirm(f"That is ${rate} a month over {months} months. Shall I file the application?")
        if mind == "yes":
            terms = {"vehicle_id": desk.car["vehicle_id"], "months": months, "down_payment": down}
            done = yield from desk.use("apply_finance", customer_id=desk.customer_id, **terms)
            yield from desk.tell(f"Filed: application {done['application_id']}.", done["application_id"])
        if mind != "change":
            return


def finance_status(desk: Desk) -> Policy:
    loan = yield from desk.record("finance", "application")
    if loan:
        words = f"Application {loan['application_id']}: {loan['status']}, ${loan['monthly']} a month."
        yield from desk.tell(words, loan["status"])


def withdraw_loan(desk: Desk) -> Policy:
    filed = yield from desk.record("finance", "application")
    if not filed:
        return
    loan = filed["application_id"]
    if (yield from desk.confirm(f"Shall I withdraw application {loan}?")) == "yes":
        yield from desk.use("withdraw_application", application_id=loan)
        yield from desk.tell(f"Application {loan} is withdrawn.")


def service_book(desk: Desk) -> Policy:
    yield from desk.reach("service", account=True)
    service = desk.customer.known["service"]
    while True:
        day, time = yield from desk.settle_time("check_bays", service=service)
        mind = yield from desk.confirm(f"Shall I book the {service} on {day} at {time}?")
        if mind == "yes":
            what = {"service": service, "day": day, "time": time}
            done = yield from desk.use("book_service", customer_id=desk.customer_id, **what)
            yield from desk.tell(f"Booked: {service} {done['appointment_id']} on {day} at {time}.", day, time)
        if mind != "change":
            return


def reschedule(desk: Desk) -> Policy:
    visit = yield from desk.record("service", "appointment")
    while visit:
        day, time = yield from desk.settle_time("check_bays", service=visit["service"])
        mind = yield from desk.confirm(f"Shall I move your {visit['service']} to {day} at {time}?")
        if mind == "yes":
            move = {"appointment_id": visit["appointment_id"], "day": day, "time": time}
            yield from desk.use("reschedule_appointment", **move)
            yield from desk.tell(f"Moved: {visit['appointment_id']} is on {day} at {time}.", day, time)
        if mind != "change":
            return


def cancel_visit(desk: Desk) -> Policy:
    visit = yield from desk.record("service", "appointment")
    if not visit:
        return
    question = f"Shall I cancel {visit['appointment_id']}, {visit['service']} on {visit['day']}?"
    if (yield from desk.confirm(question)) == "yes":
        yield from desk.use("cancel_appointment", appointment_id=visit["appointment_id"])
        yield from desk.tell(f"Appointment {visit['appointment_id']} is cancelled.")


def recall(desk: Desk) -> Policy:
    yield from desk.reach("service", account=False)
    known = desk.customer.known
    found = yield from desk.use("check_recall", model=known["model"], year=known["year"])
    if found["recall"] == "none":
        yield from desk.tell("There is no open recall.", NO)
    else:
        yield from desk.tell(f"Recall: {found['recall']}.", found["recall"])


def service_price(desk: Desk) -> Policy:
    yield from desk.reach("service", account=False)
    found = yield from desk.use("service_price", service=desk.customer.known["service"])
    yield from desk.tell(f"It costs ${found['price']}.", found["price"])


def out_of_scope(desk: Desk) -> Policy:
    yield from desk.tell("Sorry, I can only help with cars and our dealership.", NO + "|only")


def forbidden(desk: Desk) -> Policy:
    yield from desk.tell("Sorry, I am not allowed to do that.", NO)


POLICIES: dict[str, Callable[[Desk], Policy]] = {
    policy.__name__: policy
    for policy in (
        info, find_car, test_drive, reserve, order_status, cancel_order, trade_in, finance_quote, finance_apply,
        finance_status, withdraw_loan, service_book, reschedule, cancel_visit, recall, service_price, out_of_scope,
        forbidden,
    )
}  # fmt: skip
