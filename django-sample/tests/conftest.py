import os
from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.text import slugify

from accounts.models import User
from accounts.roles import AUTHORS
from comments.models import Comment
from posts.models import Post, Tag


@pytest.fixture
def blank(db):
    """A blog without the welcome posts of the migration."""
    Post.objects.all().delete()
    Tag.objects.all().delete()


@pytest.fixture
def make_author(db):
    def make(username="django", **fields):
        from django.contrib.auth.models import Group

        author = User.objects.create_user(username, password="minor swing", is_staff=True, **fields)
        author.groups.add(Group.objects.get(name=AUTHORS))
        return author

    return make


@pytest.fixture
def author(make_author):
    return make_author(first_name="Django", last_name="Reinhardt")


@pytest.fixture
def make_post(blank, author):
    def make(title="Nuages", *, days_ago=1, tags=(), **fields):
        fields = {
            "slug": slugify(title),
            "summary": "",
            "body": "A text.",
            "author": author,
            "status": Post.Status.PUBLISHED,
            "published_at": timezone.now() - timedelta(days=days_ago),
        } | fields
        post = Post.objects.create(title=title, **fields)
        for name in tags:
            post.tags.add(Tag.objects.get_or_create(slug=slugify(name), defaults={"name": name})[0])
        return post

    return make


@pytest.fixture
def make_comment():
    def make(post, name="Stéphane", body="Bravo!", state=Comment.State.APPROVED):
        return Comment.objects.create(post=post, name=name, body=body, state=state)

    return make


@pytest.fixture
def production_env():
    """The environment of a deployed process, with nothing of ours left in it."""
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return env | {
        "DJANGO_SETTINGS_MODULE": "blog.settings.production",
        "DJANGO_SECRET_KEY": "k5V2xw8Qm1Zr7Tn4Lb9Yc3Hd6Jf0Gs-PuWaEiXoRvBtKqMyNzA",
        "DATABASE_URL": "sqlite://:memory:",
        "ALLOWED_HOSTS": "blog.example.org",
    }
