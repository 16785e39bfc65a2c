from django.db import migrations


def close(apps, schema_editor):
    schema_editor.connection.close()


class Migration(migrations.Migration):
    initial = True
    atomic = False
    dependencies = []
    operations = [migrations.RunPython(close)]
