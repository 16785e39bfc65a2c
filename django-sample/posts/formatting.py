"""From what an author types to HTML: a small, safe subset of the usual marks.

Everything is escaped before any mark is looked at, so no text can bring in markup of its own, and
an address is a link only with a scheme that cannot run code.
"""

import re
from itertools import groupby

from django.utils.html import escape
from django.utils.safestring import mark_safe

_CODE = re.compile(r"`([^`\n]+)`")
# These run over escaped text: quotes, < and & are entities there.
_LINK = re.compile(r"\[([^\[\]\n]+)\]\(((?:https?://|mailto:|/(?!/))[^\s()]+)\)")
_STRONG = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])")


def to_html(text):
    """The whole text as HTML that is safe to put into a page."""
    blocks = []
    # Odd parts lie between two fences; an open fence runs to the end.
    for position, part in enumerate(re.split(r"^```.*$", normalise(text), flags=re.MULTILINE)):
        if position % 2:
            blocks.append(f"<pre><code>{escape(part.strip(chr(10)))}</code></pre>")
        else:
            blocks.extend(
                block_html(block) for block in re.split(r"\n\s*\n", part) if block.strip()
            )
    return mark_safe("\n".join(blocks))  # noqa: S308 - every part above is escaped


def to_plain(text):
    """The text without its marks, for search results."""
    plain = re.sub(r"^(```.*|#{2,3} |> ?|[-*] )", "", normalise(text), flags=re.MULTILINE)
    plain = _LINK.sub(r"\1", plain)
    plain = _STRONG.sub(r"\1", plain)
    plain = _EMPHASIS.sub(r"\1", plain)
    return " ".join(plain.replace("`", "").split())


def normalise(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


def block_html(block):
    """One block: its lines grouped by the mark they begin with."""
    return "\n".join(
        group_html(mark, [strip_mark(line) for line in lines])
        for mark, lines in groupby(block.strip("\n").split("\n"), key=mark_of)
    )


def mark_of(line):
    for mark in ("### ", "## ", "- ", "* ", "> "):
        if line.startswith(mark):
            return "- " if mark == "* " else mark
    return "> " if line == ">" else ""


def strip_mark(line):
    mark = mark_of(line)
    return line[len(mark) :] if mark else line


def group_html(mark, lines):
    if mark == "- ":
        return "<ul>" + "".join(f"<li>{inline_html(line)}</li>" for line in lines) + "</ul>"
    if mark == "> ":
        return f"<blockquote><p>{inline_html(' '.join(lines))}</p></blockquote>"
    if mark:
        # The page's own title is the first level, so the text's headings begin at the second.
        level = len(mark.strip())
        return "\n".join(f"<h{level}>{inline_html(line)}</h{level}>" for line in lines)
    return f"<p>{inline_html(' '.join(line.strip() for line in lines))}</p>"


def inline_html(line):
    """The marks within a line; what stands between backticks is left alone."""
    parts = _CODE.split(line)
    return "".join(
        f"<code>{escape(part)}</code>" if position % 2 else _marks(escape(part))
        for position, part in enumerate(parts)
    )


def _marks(escaped):
    escaped = _LINK.sub(r'<a href="\2">\1</a>', str(escaped))
    escaped = _STRONG.sub(r"<strong>\1</strong>", escaped)
    return _EMPHASIS.sub(r"<em>\1</em>", escaped)
