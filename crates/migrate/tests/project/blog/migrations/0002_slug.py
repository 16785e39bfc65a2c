from django.db import migrations, models


def fill(apps, schema_editor):
    post = apps.get_model("blog", "Post")
    post.objects.using(schema_editor.connection.alias).create(title="first", slug="first")


class Migration(migrations.Migration):
    dependencies = [("blog", "0001_initial")]
    operations = [
        migrations.AddField("Post", "slug", models.SlugField(default="")),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
