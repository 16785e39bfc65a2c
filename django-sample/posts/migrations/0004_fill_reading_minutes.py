"""Fills the new column for the posts that were there before it, a few at a time."""

import math

from django.db import migrations

BATCH = 200


def fill(apps, schema_editor):
    Post = apps.get_model("posts", "Post")
    posts = Post.objects.using(schema_editor.connection.alias)
    last = 0
    while batch := list(posts.filter(pk__gt=last).order_by("pk").only("body")[:BATCH]):
        for post in batch:
            # As the code counted on the day this was written; it may count otherwise by now.
            post.reading_minutes = max(1, math.ceil(len(post.body.split()) / 220))
        posts.bulk_update(batch, ["reading_minutes"])
        last = batch[-1].pk


class Migration(migrations.Migration):
    dependencies = [("posts", "0003_post_reading_minutes")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
