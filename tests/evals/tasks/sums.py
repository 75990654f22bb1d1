"""A suite as people write it for inspect_ai; it knows nothing of Trimtab."""

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import exact, includes
from inspect_ai.solver import generate


def samples(n, twist=""):
    return MemoryDataset(
        [
            Sample(input=f"{number}+1?{twist}", target=str(number + 1), metadata={"session": f"s{number // 2}"})
            for number in range(n)
        ]
    )


@task
def sums(n: int = 160, twist: str = ""):
    return Task(dataset=samples(n, twist), solver=generate(), scorer=exact())


@task
def two_scorers(n: int = 3):
    return Task(dataset=samples(n), solver=generate(), scorer=[exact(), includes()])
