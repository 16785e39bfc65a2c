"""Who may write what in the admin."""

import pytest

from comments.models import Comment
from posts.models import Post


def fields(post, **changes):
    day, time = post.published_at.strftime("%Y-%m-%d %H:%M:%S").split()
    return {
        "title": post.title,
        "slug": post.slug,
        "summary": post.summary,
        "body": post.body,
        "status": post.status,
        "published_at_0": day,
        "published_at_1": time,
    } | changes


@pytest.fixture
def mine(make_post):
    return make_post("Mine")


@pytest.fixture
def other(make_post, make_author):
    return make_post("Theirs", author=make_author("stephane"))


@pytest.fixture
def as_author(client, author):
    client.force_login(author)
    return client


def test_an_author_logs_in(client, author):
    response = client.post(
        "/admin/login/?next=/admin/", {"username": "django", "password": "minor swing"}
    )
    assert response.status_code == 302
    assert client.get("/admin/").status_code == 200


def test_the_list_has_only_ones_own_posts(as_author, mine, other):
    text = as_author.get("/admin/posts/post/").text
    assert "Mine" in text
    assert "Theirs" not in text


def test_an_author_writes_and_signs_with_their_own_name(as_author, author, other, mine):
    response = as_author.post(
        "/admin/posts/post/add/",
        fields(mine, title="Fresh", slug="fresh", author=other.author.pk),
    )
    assert response.status_code == 302
    assert Post.objects.get(slug="fresh").author == author


def test_an_author_changes_their_own_post(as_author, mine):
    url = f"/admin/posts/post/{mine.pk}/change/"
    assert as_author.get(url).status_code == 200
    assert as_author.post(url, fields(mine, title="Better")).status_code == 302
    mine.refresh_from_db()
    assert mine.title == "Better"


@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_another_authors_post_is_out_of_reach(as_author, other, page):
    url = f"/admin/posts/post/{other.pk}/{page}/"
    # Django sends who may not know of a row back to the index.
    assert as_author.get(url).status_code in (302, 403)
    as_author.post(url, fields(other, title="Taken over") | {"post": "yes"})
    other.refresh_from_db()
    assert other.title == "Theirs"


def test_actions_reach_only_ones_own_posts(as_author, mine, other):
    as_author.post(
        "/admin/posts/post/", {"action": "withdraw", "_selected_action": [mine.pk, other.pk]}
    )
    mine.refresh_from_db()
    other.refresh_from_db()
    assert (mine.status, other.status) == (Post.Status.DRAFT, Post.Status.PUBLISHED)


def test_a_superuser_reaches_everything(client, admin_user, other):
    client.force_login(admin_user)
    assert client.get(f"/admin/posts/post/{other.pk}/change/").status_code == 200
    assert client.get("/admin/posts/post/?q=theirs").status_code == 200


def test_authors_do_not_manage_accounts(as_author):
    assert as_author.get("/admin/accounts/user/").status_code == 403


class TestModeration:
    def test_an_author_approves_on_their_own_posts_only(self, as_author, mine, other, make_comment):
        here = make_comment(mine, state=Comment.State.WAITING)
        there = make_comment(other, state=Comment.State.WAITING)
        as_author.post(
            "/admin/comments/comment/",
            {"action": "approve", "_selected_action": [here.pk, there.pk]},
        )
        here.refresh_from_db()
        there.refresh_from_db()
        assert (here.state, there.state) == (Comment.State.APPROVED, Comment.State.WAITING)
        assert as_author.get(f"/admin/comments/comment/{there.pk}/change/").status_code == 302

    def test_nobody_changes_a_readers_words(self, as_author, mine, make_comment):
        comment = make_comment(mine, body="Original")
        as_author.post(
            f"/admin/comments/comment/{comment.pk}/change/",
            {"state": "rejected", "body": "Changed", "name": "X"},
        )
        comment.refresh_from_db()
        assert (comment.body, comment.state) == ("Original", Comment.State.REJECTED)

    def test_comments_are_not_made_in_the_admin(self, client, admin_user):
        client.force_login(admin_user)
        assert client.get("/admin/comments/comment/add/").status_code == 403
