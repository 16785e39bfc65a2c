"""Reading settings from the environment: a wrong or missing value stops the start, by name."""

import os

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}


def text(name, default=None):
    """The value of `name`; without a default the variable has to be there."""
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"set the environment variable {name}")
    return default


def flag(name, default=False):
    """A yes or a no."""
    value = os.environ.get(name)
    if value is None:
        return default
    value = value.strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ImproperlyConfigured(f"{name} has to be 1 or 0, not {value!r}")


def number(name, default, kind=int):
    """A number, for example of seconds."""
    value = text(name, str(default))
    try:
        return kind(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} has to be a number, not {value!r}") from None


def items(name, default=None):
    """A list that is written with commas between its items; like `text`, needed or not."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]
