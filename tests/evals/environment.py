"""A small environment for the judge of end states: a stock of cars that calls may reserve."""


def stock(request, calls):
    free = {"ford": 2, "fiat": 1}
    for call in calls:
        car = call["arguments"]["car"]
        free[car] -= 1 if call["name"] == "reserve" else -1
        if free[car] < 0:
            raise ValueError(f"no {car} left")
    return {"free": free, "asked": len(request["messages"])}


NUMBER = 3
