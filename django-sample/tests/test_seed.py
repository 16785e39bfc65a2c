"""The example texts."""

from django.core.management import call_command

from comments.models import Comment
from posts.models import Post


def test_seed_fills_several_pages_and_only_once(client, db, capsys):
    call_command("seed")
    posts, comments = Post.objects.count(), Comment.objects.count()
    assert client.get("/?page=2").status_code == 200
    assert Comment.objects.approved().count() == comments > 0
    call_command("seed")
    assert (Post.objects.count(), Comment.objects.count()) == (posts, comments)
    assert "0 posts and 0 comments added" in capsys.readouterr().out


def test_nobody_logs_in_as_an_example(db):
    call_command("seed")
    assert not any(post.author.has_usable_password() for post in Post.objects.all())
