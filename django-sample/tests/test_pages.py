"""What a reader sees."""

import pytest
from django.urls import reverse

from posts.models import Post


def titles(response):
    return [post.title for post in response.context["posts"]]


class TestFrontPage:
    def test_a_new_blog_greets_its_first_reader(self, client, db):
        response = client.get("/")
        assert response.status_code == 200
        assert "Welcome aboard" in response.text

    def test_newest_first(self, client, make_post):
        make_post("Old", days_ago=9)
        make_post("New", days_ago=1)
        assert titles(client.get("/")) == ["New", "Old"]

    def test_drafts_and_the_future_are_not_shown(self, client, make_post):
        make_post("Draft", status=Post.Status.DRAFT)
        make_post("Tomorrow", days_ago=-1)
        assert titles(client.get("/")) == []

    def test_an_empty_blog_says_so(self, client, blank):
        assert "Nothing has been published here yet" in client.get("/").text

    def test_only_approved_comments_are_counted(self, client, make_post, make_comment):
        post = make_post()
        make_comment(post)
        make_comment(post)
        make_comment(post, state="waiting")
        assert "2 comments" in client.get("/").text

    def test_the_number_of_queries_does_not_grow_with_the_posts(
        self, client, make_post, django_assert_max_num_queries
    ):
        for number in range(7):
            make_post(f"Post {number}", tags=[f"Tag {number}"])
        with django_assert_max_num_queries(4):
            client.get("/")

    def test_the_release_is_in_the_footer(self, client, db, monkeypatch):
        monkeypatch.setattr("blog.release.RELEASE", "01K9-TEST")
        monkeypatch.setattr("blog.release.IMAGE_DIGEST", "sha256:0123456789abcdef0123")
        text = client.get("/").text
        assert '<code id="release">01K9-TEST</code>' in text
        assert '<code id="image">0123456789ab</code>' in text


class TestPagination:
    @pytest.fixture(autouse=True)
    def posts(self, make_post):
        for number in range(1, 17):
            make_post(f"Post {number}", days_ago=number)

    def test_pages_follow_each_other(self, client):
        assert titles(client.get("/")) == [f"Post {number}" for number in range(1, 8)]
        assert titles(client.get("/?page=3")) == ["Post 15", "Post 16"]

    def test_the_last_page_leads_back_only(self, client):
        text = client.get("/?page=3").text
        assert 'rel="prev" href="?page=2"' in text
        assert 'rel="next"' not in text

    @pytest.mark.parametrize("page", ["4", "0", "-1", "x", "9" * 30])
    def test_there_is_no_such_page(self, client, page):
        assert client.get("/", {"page": page}).status_code == 404


class TestPost:
    def test_shows_the_text_with_its_marks(self, client, make_post):
        post = make_post(body="First.\n\n## Then\n\n- one\n- *two*")
        text = client.get(post.get_absolute_url()).text
        assert "<p>First.</p>" in text
        assert "<h2>Then</h2>" in text
        assert "<li><em>two</em></li>" in text

    def test_markup_in_a_text_stays_text(self, client, make_post):
        post = make_post("<i>T</i>", slug="t", body="<script>alert(1)</script>")
        text = client.get(post.get_absolute_url()).text
        assert "<script" not in text
        assert "<i>T" not in text

    def test_a_draft_is_there_for_its_author_alone(self, client, make_post, make_author, author):
        url = make_post(status=Post.Status.DRAFT).get_absolute_url()
        assert client.get(url).status_code == 404
        client.force_login(make_author("stranger"))
        assert client.get(url).status_code == 404
        client.force_login(author)
        assert "not published yet" in client.get(url).text

    def test_neighbours(self, client, make_post):
        make_post("Before", days_ago=3)
        middle = make_post("Middle", days_ago=2)
        make_post("After", days_ago=1)
        response = client.get(middle.get_absolute_url())
        assert response.context["older"].title == "Before"
        assert response.context["newer"].title == "After"

    def test_reading_time(self, make_post):
        assert make_post("Short").reading_minutes == 1
        assert make_post("Long", body="word " * 1000).reading_minutes == 5


class TestTopicsAuthorsArchive:
    def test_a_topic_lists_its_posts(self, client, make_post):
        make_post("With", tags=["Jazz"])
        make_post("Without")
        response = client.get("/tags/jazz/")
        assert titles(response) == ["With"]

    def test_an_author_has_a_page(self, client, make_post, author):
        make_post("Mine")
        response = client.get(author.get_absolute_url())
        assert titles(response) == ["Mine"]
        assert "Django Reinhardt" in response.text

    def test_who_has_not_published_has_none(self, client, make_author):
        assert client.get(make_author("new").get_absolute_url()).status_code == 404

    def test_the_archive_has_everything(self, client, make_post):
        for number in range(9):
            make_post(f"Post {number}")
        assert len(client.get("/archive/").context["posts"]) == 9

    def test_an_unknown_page_is_a_404_of_our_own(self, client, db):
        response = client.get("/no/such/page/")
        assert response.status_code == 404
        assert "There is no such page" in response.text


class TestForMachines:
    def test_feed(self, client, make_post):
        make_post("In the feed", tags=["Jazz"], body="**Loud**")
        make_post("Draft", status=Post.Status.DRAFT)
        response = client.get("/feed/")
        assert response["Content-Type"].startswith("application/rss+xml")
        assert "<title>In the feed</title>" in response.text
        assert "&lt;strong&gt;Loud&lt;/strong&gt;" in response.text
        assert "<category>Jazz</category>" in response.text
        assert "Draft" not in response.text

    def test_feed_of_a_topic(self, client, make_post):
        make_post("With", tags=["Jazz"])
        make_post("Without")
        text = client.get("/tags/jazz/feed/").text
        assert "<title>With</title>" in text
        assert "Without" not in text

    def test_sitemap_and_robots(self, client, make_post):
        post = make_post()
        assert post.get_absolute_url() in client.get("/sitemap.xml").text
        assert "Sitemap: http://testserver/sitemap.xml" in client.get("/robots.txt").text

    def test_scripts_from_elsewhere_are_refused(self, client, db):
        assert "default-src 'self'" in client.get("/")["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["home", "archive", "search", "feed", "sitemap", "robots"])
def test_every_page_is_there_on_an_empty_blog(client, blank, name):
    assert client.get(reverse(name)).status_code == 200
