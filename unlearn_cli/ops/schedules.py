"""Learning rates as functions of the epoch."""

import math

RESTARTS_END = 20
"""What a cycle of `restarts` divides the rate by: from 0.1 to 0.005 in the publication."""


def rate(schedule: str, lr: float, at: float, epochs: int) -> float:
    """The rate after `at` of `epochs` epochs, 0 <= at < epochs, fractions included.

        constant   lr
        step       lr / 10 after a third of the epochs, lr / 100 after two thirds
        cosine     falls to zero at the end
        restarts   falls to lr / 20 along a cosine, in cycles of 1, 2, 4, 8, .. epochs

    Source of the last: Loshchilov and Hutter, "SGDR", 2017, Eq. 5, with T_0 = 1 and T_mult = 2.
    """
    if schedule == "constant":
        return lr
    if schedule == "step":
        return lr / 10 ** int(3 * at / epochs)
    if schedule == "cosine":
        return lr * _half_cosine(at / epochs)
    if schedule == "restarts":
        length = 2 ** int(math.log2(at + 1))
        low = lr / RESTARTS_END
        return low + (lr - low) * _half_cosine((at + 1 - length) / length)
    raise AssertionError(f"no schedule called {schedule}")


def stepped(lr: float, epoch: int, milestones: list[int], decay: float) -> float:
    """lr · decay^(number of milestones < epoch), epochs counted from 1."""
    return lr * decay ** sum(epoch > milestone for milestone in milestones)


def _half_cosine(part: float) -> float:
    return (1 + math.cos(math.pi * part)) / 2
