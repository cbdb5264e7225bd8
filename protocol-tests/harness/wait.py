"""Waiting for a condition. No suite sleeps for a fixed time in place of one."""

import time


def until(condition, what, seconds=20.0, every=0.02):
    """Returns the first true value of `condition()`; fails naming `what` once `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)
