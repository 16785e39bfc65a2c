"""Search over published posts.

PostgreSQL's own full-text search where the database is PostgreSQL (word stems, "quoted phrases",
-exclusions, ranking, an index); on SQLite each word has to appear somewhere, or with a minus
nowhere.
"""

import re

from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVector
from django.db import connections
from django.db.models import Q, QuerySet
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import mark_safe

from posts.formatting import to_plain

CONFIG = "english"
FIELDS = ("title", "summary", "body")
SNIPPET = 220


def search(posts: QuerySet, text: str) -> QuerySet:
    """The posts that match, best first."""
    if connections[posts.db].vendor == "postgresql":
        return full_text(posts, text)
    return contains(posts, text)


def full_text(posts, text):
    query = SearchQuery(text, search_type="websearch", config=CONFIG)
    # The filter is written exactly as migration 0006 writes the index, or it would not be used;
    # the weights only put matches in a title first.
    weighted = (
        SearchVector("title", weight="A", config=CONFIG)
        + SearchVector("summary", weight="B", config=CONFIG)
        + SearchVector("body", weight="C", config=CONFIG)
    )
    return (
        posts.annotate(document=SearchVector(*FIELDS, config=CONFIG))
        .filter(document=query)
        .annotate(rank=SearchRank(weighted, query))
        .order_by("-rank", "-published_at")
    )


def contains(posts, text):
    wanted = words(text)
    for word in wanted:
        anywhere = Q()
        for field in FIELDS:
            anywhere |= Q(**{f"{field}__icontains": word.lstrip("-")})
        posts = posts.exclude(anywhere) if word.startswith("-") else posts.filter(anywhere)
    return posts if wanted else posts.none()


def words(text):
    return [word for word in re.split(r'[\s"]+', text) if word.strip("-")]


def snippet(post, text):
    """The passage around the first match, with the matches marked."""
    body = to_plain(f"{post.summary} {post.body}")
    stems = [re.escape(stem(word)) for word in words(text) if not word.startswith("-")]
    pattern = re.compile(rf"\b(?:{'|'.join(stems)})\w*", re.IGNORECASE) if stems else None
    first = pattern.search(body) if pattern else None
    start = max(0, first.start() - SNIPPET // 3) if first else 0
    if start:
        start = body.find(" ", start) + 1
    end = start + SNIPPET
    if end < len(body):
        end = max(body.rfind(" ", start, end), start + SNIPPET // 2)
    passage = body[start:end]
    marked = mark_matches(passage, pattern) if pattern else conditional_escape(passage)
    return format_html("{}{}{}", "… " if start else "", marked, " …" if end < len(body) else "")


def stem(word):
    """A rough stem, so that the marks follow PostgreSQL's matches: deploys, deployed, deploying."""
    word = word.strip("-")
    return re.sub(r"(?<=\w{4})(?:ing|ed|es|s)$", "", word, flags=re.IGNORECASE)


def mark_matches(passage, pattern):
    parts = []
    end = 0
    for match in pattern.finditer(passage):
        parts += [conditional_escape(passage[end : match.start()]), "<mark>"]
        parts += [conditional_escape(match.group()), "</mark>"]
        end = match.end()
    parts.append(conditional_escape(passage[end:]))
    return mark_safe("".join(parts))  # noqa: S308 - the parts are escaped one by one
