"""From an author's text to HTML."""

import random
import re

import pytest

from posts.formatting import to_html, to_plain


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("One\ntwo\n\nthree", "<p>One two</p>\n<p>three</p>"),
        ("One\r\n\r\ntwo", "<p>One</p>\n<p>two</p>"),
        ("## Title\nText", "<h2>Title</h2>\n<p>Text</p>"),
        ("### Small", "<h3>Small</h3>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("* a", "<ul><li>a</li></ul>"),
        ("> a\n> b", "<blockquote><p>a b</p></blockquote>"),
        ("**a** and *b*", "<p><strong>a</strong> and <em>b</em></p>"),
        ("2 * 3 * 4", "<p>2 * 3 * 4</p>"),
        ("`**a**`", "<p><code>**a**</code></p>"),
        ("```py\na < b\n\n# c\n```", "<pre><code>a &lt; b\n\n# c</code></pre>"),
        ("```\nopen", "<pre><code>open</code></pre>"),
        (
            "[a](https://example.org/?x=1&y=2)",
            '<p><a href="https://example.org/?x=1&amp;y=2">a</a></p>',
        ),
        ("[a](/archive/)", '<p><a href="/archive/">a</a></p>'),
        ("", ""),
    ],
)
def test_marks(text, html):
    assert to_html(text) == html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[a](javascript:alert(1))",
        "[a](data:text/html,x)",
        "[a](//example.org)",
        '[a](https://x" onclick="alert(1))',
        "`<img src=x onerror=alert(1)>`",
        "```\n</code></pre><script>\n```",
        "> <iframe>",
        "## <b>",
    ],
)
def test_nothing_dangerous_gets_through(text):
    html = to_html(text)
    assert not re.search(r"<(script|img|iframe|b\b)|href=\"(javascript|data|//)|\" on", html)


def test_whatever_is_written_only_our_tags_come_out():
    # A fixed seed: the same thousand texts on every run.
    dice = random.Random(17)  # noqa: S311
    pieces = ["<", ">", '"', "'", "&", "*", "**", "`", "```", "\n", "\n\n", "- ", "> ", "## "]
    pieces += ["[", "](", ")", "https://a", "javascript:", "onload=", "script", "word", " "]
    tag = re.compile(r'</?(?:p|h2|h3|ul|li|blockquote|pre|code|em|strong)>|<a href="[^"<>]*">|</a>')
    for _ in range(1000):
        text = "".join(dice.choices(pieces, k=dice.randint(1, 30)))
        assert not set('<>"') & set(tag.sub("", to_html(text)).replace("&quot;", "")), text


def test_plain_text_has_no_marks():
    text = "## Title\n\n- **a** `b`\n\n> [c](https://example.org)\n\n```\nd\n```"
    assert to_plain(text) == "Title a b c d"
