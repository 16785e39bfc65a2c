"""Search, on whichever database the tests run."""

import pytest
from django.db import connection

from posts.models import Post
from posts.search import search, snippet

postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="only PostgreSQL has full-text search"
)


def found(client, text):
    return [post.title for post in client.get("/search/", {"q": text}).context["posts"]]


@pytest.fixture
def posts(make_post):
    make_post("Deploying on Fridays", body="We deploy when we like.", days_ago=3)
    make_post("Violins", summary="About strings", body="Nothing here was deployed.", days_ago=2)
    make_post("Secret deploy", status=Post.Status.DRAFT)


@pytest.mark.parametrize("text", ["violins", "VIOLINS", "strings", "nothing"])
def test_title_summary_and_text_are_searched(client, posts, text):
    assert found(client, text) == ["Violins"]


def test_every_word_has_to_be_there(client, posts):
    assert found(client, "violins nothing") == ["Violins"]
    assert found(client, "violins fridays") == []


def test_a_minus_leaves_posts_out(client, posts):
    assert found(client, "nothing -fridays") == ["Violins"]
    assert found(client, "nothing -violins") == []


def test_drafts_are_not_found(client, posts):
    assert found(client, "secret") == []


@pytest.mark.parametrize(
    "text", ["", "   ", "a\x00b", "x" * 101, "'", '"', "%", "--", '-"', "\\", "&|!():*<->"]
)
def test_odd_input_finds_nothing_and_breaks_nothing(client, posts, text):
    assert client.get("/search/", {"q": text}).status_code == 200
    assert found(client, text) == []


def test_the_searched_text_is_escaped(client, posts):
    assert "<script>" not in client.get("/search/", {"q": "<script>"}).text


def test_pages_keep_the_question(client, make_post):
    for number in range(8):
        make_post(f"Swing {number}")
    assert "?q=swing&amp;page=2" in client.get("/search/", {"q": "swing"}).text


@postgresql
def test_stems_phrases_and_exclusions(client, posts):
    assert found(client, "deploys") == ["Deploying on Fridays", "Violins"]
    assert found(client, '"when we like"') == ["Deploying on Fridays"]
    assert found(client, "deploy -violins") == ["Deploying on Fridays"]


@postgresql
def test_the_index_is_used(posts):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "post_search" in search(Post.objects.all(), "violins").explain()


class TestSnippet:
    def test_marks_the_matches_and_their_forms(self, make_post):
        post = make_post(body="They deploy. It was deployed, while deploying.")
        assert snippet(post, "deploys").count("<mark>") == 3

    def test_starts_near_the_first_match(self, make_post):
        post = make_post(body="word " * 300 + "needle " + "word " * 300)
        passage = snippet(post, "needle")
        assert "<mark>needle</mark>" in passage
        assert passage.startswith("… ")
        assert passage.endswith(" …")
        assert len(passage) < 300

    def test_markup_stays_text(self, make_post):
        post = make_post(body="<b>needle</b> & <script>")
        passage = snippet(post, "needle")
        assert passage == "&lt;b&gt;<mark>needle</mark>&lt;/b&gt; &amp; &lt;script&gt;"

    @pytest.mark.parametrize("text", ["(", "[a", "*", "-x", "", "\\"])
    def test_no_word_is_taken_for_a_pattern(self, make_post, text):
        assert snippet(make_post(body="A text."), text) == "A text."
