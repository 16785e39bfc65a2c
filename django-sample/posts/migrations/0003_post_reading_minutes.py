"""A new column. The database has the default too: releases that do not know it go on inserting."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("posts", "0002_welcome_posts")]

    operations = [
        migrations.AddField(
            model_name="post",
            name="reading_minutes",
            field=models.PositiveSmallIntegerField(
                db_default=1, default=1, editable=False, verbose_name="reading time (minutes)"
            ),
        ),
    ]
