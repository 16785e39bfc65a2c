import os

from django.db import migrations


def break_it(apps, schema_editor):
    thing = apps.get_model("broken", "Thing").objects.using(schema_editor.connection.alias)
    thing.create(id=1, name="a")
    if os.environ.get("HOW") == "memory":
        os.kill(os.getpid(), 9)
    if os.environ.get("HOW") == "secret":
        raise ValueError("cannot reach https://api:%s@example.org/" % os.environ["API_TOKEN"])
    thing.create(id=1, name="b")


class Migration(migrations.Migration):
    dependencies = [("broken", "0001_initial")]
    operations = [migrations.RunPython(break_it)]
