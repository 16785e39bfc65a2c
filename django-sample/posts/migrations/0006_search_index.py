"""The index of the full-text search. PostgreSQL only: other databases search without one."""

from django.db import migrations

# The expression that Django writes for SearchVector("title", "summary", "body", config="english").
CREATE = """
CREATE INDEX post_search ON posts_post USING gin (
    to_tsvector(
        'english'::regconfig,
        COALESCE(title, '') || ' ' || COALESCE(summary, '') || ' ' || COALESCE(body, '')
    )
)
"""
DROP = "DROP INDEX IF EXISTS post_search"


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP)


class Migration(migrations.Migration):
    dependencies = [("posts", "0005_post_status_published")]

    operations = [migrations.RunPython(create, drop)]
