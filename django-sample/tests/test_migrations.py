"""The way of the schema, forward and back."""

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from posts.models import Post


def migrate(*targets):
    executor = MigrationExecutor(connection)
    executor.migrate(list(targets))
    return MigrationExecutor(connection).loader.project_state(list(targets)).apps


@pytest.fixture
def at_newest(transactional_db):
    """Whatever the test did to the schema, the next one finds the newest."""
    yield
    call_command("migrate", verbosity=0)


def test_no_migration_is_missing(db):
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_reading_times_are_filled_in_for_older_posts(at_newest):
    apps = migrate(("posts", "0002_welcome_posts"), ("accounts", "0002_user_bio"))
    author = apps.get_model("accounts", "User").objects.create(username="old")
    Old = apps.get_model("posts", "Post")
    # More than one batch.
    Old.objects.bulk_create(
        Old(title=f"Old {n}", slug=f"old-{n}", body="word " * 450, author=author)
        for n in range(450)
    )
    apps = migrate(("posts", "0004_fill_reading_minutes"))
    filled = apps.get_model("posts", "Post").objects.filter(slug__startswith="old-")
    assert set(filled.values_list("reading_minutes", flat=True)) == {3}


def test_the_previous_release_can_still_insert(at_newest, author):
    apps = migrate(("posts", "0002_welcome_posts"), ("accounts", "0002_user_bio"))
    Old = apps.get_model("posts", "Post")
    migrate(*MigrationExecutor(connection).loader.graph.leaf_nodes())
    # The model of the old code writes into the new schema: the column's default is the database's.
    old = Old.objects.create(title="Old", slug="old", body="x", author_id=author.pk)
    assert Post.objects.get(pk=old.pk).reading_minutes == 1


def test_welcome_posts_come_to_an_empty_blog_only(at_newest, author):
    Post.objects.all().delete()
    Post.objects.create(title="First", slug="first", body="x", author=author)
    migrate(("posts", "0001_initial"))
    migrate(*MigrationExecutor(connection).loader.graph.leaf_nodes())
    assert list(Post.objects.values_list("slug", flat=True)) == ["first"]


def test_all_the_way_back_and_forward(at_newest):
    call_command("migrate", "posts", "zero", verbosity=0)
    assert "posts_post" not in connection.introspection.table_names()
    call_command("migrate", verbosity=0)
    assert Post.objects.filter(slug="welcome-aboard").exists()
