"""How long a text takes to read."""

import math

WORDS_PER_MINUTE = 220


def reading_minutes(text):
    """Whole minutes, at least one."""
    return max(1, math.ceil(len(text.split()) / WORDS_PER_MINUTE))
