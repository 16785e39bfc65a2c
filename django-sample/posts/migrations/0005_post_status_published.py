from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("posts", "0004_fill_reading_minutes")]

    operations = [
        migrations.AddIndex(
            model_name="post",
            index=models.Index(fields=["status", "-published_at"], name="post_status_published"),
        ),
    ]
