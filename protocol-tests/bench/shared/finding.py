"""Lines below a table: what is measured once, on a server of its own."""

import time
from dataclasses import dataclass


@dataclass
class Finding:
    """One line below the table. `good` is None where nothing is required."""

    name: str
    title: str
    text: str
    value: float
    good: bool | None

    def line(self):
        return f"{self.name:<18}{self.title:<36} {self.text}" + ("   WORSE THAN ITS BOUND" if self.good is False else "")

    def figures(self):
        return {"row": self.name, "title": self.title, "text": self.text, "value": self.value, "good": self.good}


def settled(read, seconds=10):
    """The value once two readings in a row agree within 1 %; the last one if they never do."""
    last, end = read(), time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.3)
        now = read()
        if abs(now - last) <= 0.01 * last:
            return now
        last = now
    return last
