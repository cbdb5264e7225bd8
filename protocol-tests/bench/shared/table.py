"""A table of rows, each measured on several sides, with bounds on Granary's figures."""

import statistics
from dataclasses import dataclass
from typing import Callable

import command


@dataclass
class Sample:
    """One measurement: the figure of the row, and the CPU that the server used, in the row's units."""

    value: float
    cpu: float


@dataclass
class Bound:
    """`value` or `cpu` of Granary; divided by that of a side, if one is named."""

    of: str
    least: float | None = None
    most: float | None = None
    against: str | None = None

    def judge(self, medians):
        """(what it is, whether that is good)"""
        figure = getattr(medians["granary"], self.of)
        if self.against:
            figure /= getattr(medians[self.against], self.of)
        return figure, (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)

    def text(self, figure, form):
        kind = "at least" if self.most is None else "at most"
        limit = self.least if self.most is None else self.most
        if self.against:
            return f"{figure:.2f}x {self.against} ({kind} {limit:g})"
        return f"{'CPU ' if self.of == 'cpu' else ''}{form(figure)} ({kind} {form(limit)})"


@dataclass
class Row:
    """`prepare(world, side, round)` returns a callable that is measured and gives a Sample."""

    name: str
    title: str
    prepare: Callable
    value: Callable
    """Prints a figure, as `cpu` does the CPU."""
    cpu: Callable
    bounds: list
    sides: tuple = ("granary",)

    def side(self, world, name):
        return world.side(name)

    def begin(self, world, side, round):
        return self.prepare(world, side, round)


def micros(figure):
    return f"{figure * 1e6:,.0f} us"


def millis(figure):
    return f"{figure * 1e3:,.2f} ms"


def per_second(figure):
    return f"{figure:,.0f}/s"


def per_cpu_second(figure):
    return f"{figure:,.0f}/CPU-s"


def cpu_of(side, run):
    """(what it returned, CPU seconds of the server)"""
    before = side.cpu_seconds()
    result = run()
    return result, side.cpu_seconds() - before


def run(rows, world, given):
    """Prints the table; what it says, as --json has it."""
    print(f"{'row':<22}{'operation':<40}{'side':<9}{'figure':>13}{'CPU':>16}   bounds")
    results = []
    for row in rows:
        medians, samples = _measure(row, world, given)
        judged = _show(row, medians)
        results.append({
            "row": row.name, "title": row.title, "medians": {name: vars(each) for name, each in medians.items()},
            "samples": {name: [vars(each) for each in taken] for name, taken in samples.items()}, "bounds": judged,
            "good": all(each["good"] for each in judged)})
    print()
    return results


def _measure(row, world, given):
    samples = {name: [] for name in row.sides}
    for number in range(given.rounds):
        # Who goes first changes, so that a machine that slows down or speeds up favours nobody.
        for name in row.sides if number % 2 == 0 else row.sides[::-1]:
            side = row.side(world, name)
            measured = row.begin(world, side, number)
            perf = given.perf if name == "granary" and number == given.rounds - 1 else None
            with command.profiled(perf, row.name, perf and side.hub.pid):
                samples[name].append(measured())
    medians = {name: Sample(*(statistics.median(getattr(sample, of) for sample in taken) for of in ("value", "cpu")))
               for name, taken in samples.items()}
    return medians, samples


def _show(row, medians):
    """Prints a line for each side, the bounds beside Granary's. Returns what is known of the bounds."""
    judged = []
    for name in ("granary", *(side for side in row.sides if side != "granary")):
        if name not in medians:
            continue
        first = name == "granary" or "granary" not in medians
        bounds = ""
        if name == "granary":
            for bound in row.bounds:
                if bound.against is None or bound.against in medians:
                    figure, good = bound.judge(medians)
                    form = row.cpu if bound.of == "cpu" else row.value
                    judged.append({"text": bound.text(figure, form), "figure": figure, "good": good})
            bounds = ", ".join(each["text"] + ("" if each["good"] else " WORSE THAN ITS BOUND") for each in judged)
        print(f"{row.name if first else '':<22}{row.title if first else '':<40}{name:<9}"
              f"{row.value(medians[name].value):>13}{row.cpu(medians[name].cpu):>16}   {bounds}".rstrip(), flush=True)
    return judged
