"""Template filters for posts and comments."""

import hashlib

from django import template

from posts.formatting import to_html

register = template.Library()

HUES = 6


@register.filter
def formatted(text):
    """An author's text as HTML."""
    return to_html(text)


@register.filter
def initials(name):
    """Up to two letters, for the round picture beside a name."""
    words = [word for word in str(name).split() if word[0].isalnum()]
    return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper() or "?"


@register.filter
def hue(name):
    """The same one of six colours for the same name, on every machine."""
    digest = hashlib.sha256(str(name).encode()).digest()
    return digest[0] % HUES
