"""What readers write."""

import pytest
from django.test import Client

from comments.models import Comment
from posts.models import Post

WORDS = {"name": "Joseph", "email": "", "body": "Nice strings."}


@pytest.fixture
def post(make_post):
    return make_post()


@pytest.fixture
def url(post):
    return f"/posts/{post.slug}/comments/"


def test_a_comment_waits_for_approval(client, post, url):
    response = client.post(url, WORDS, follow=True)
    assert response.redirect_chain == [(f"{post.get_absolute_url()}#comments", 302)]
    assert "as soon as it has been read" in response.text
    assert "Nice strings" not in response.text
    assert Comment.objects.get().state == Comment.State.WAITING


def test_an_approved_comment_is_shown_as_text(client, post, make_comment):
    make_comment(post, body="<script>alert(1)</script>\n\nSecond paragraph")
    text = client.get(post.get_absolute_url()).text
    assert "<script" not in text
    assert "<p>Second paragraph</p>" in text
    assert "1 comment" in text


def test_rejected_comments_are_not_shown(client, post, make_comment):
    make_comment(post, body="Buy a violin!", state=Comment.State.REJECTED)
    assert "Buy a violin!" not in client.get(post.get_absolute_url()).text


def test_the_email_is_never_shown(client, post):
    Comment.objects.create(
        post=post, name="J", email="j@example.org", body="Hello", state=Comment.State.APPROVED
    )
    assert "j@example.org" not in client.get(post.get_absolute_url()).text


def test_who_fills_in_the_hidden_field_is_thanked_and_forgotten(client, url):
    response = client.post(url, WORDS | {"website": "https://example.org"}, follow=True)
    assert "as soon as it has been read" in response.text
    assert not Comment.objects.exists()


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"body": ""}, {"email": "no"}, {"body": "x" * 4001}, {"name": "a\x00"}]
)
def test_a_wrong_comment_is_shown_again(client, url, wrong):
    response = client.post(url, WORDS | wrong)
    assert response.status_code == 422
    assert 'aria-invalid="true"' in response.text
    assert "Joseph" in response.text or "name" in wrong
    assert not Comment.objects.exists()


def test_drafts_take_no_comments(client, make_post, author):
    draft = make_post("Draft", status=Post.Status.DRAFT)
    client.force_login(author)
    assert client.post(f"/posts/{draft.slug}/comments/", WORDS).status_code == 404
    assert not Comment.objects.exists()


def test_looking_is_not_writing(client, url):
    assert client.get(url).status_code == 405


def test_a_form_from_elsewhere_is_refused(url):
    response = Client(enforce_csrf_checks=True).post(url, WORDS)
    assert response.status_code == 403
    assert "could not be trusted" in response.text
    assert not Comment.objects.exists()
