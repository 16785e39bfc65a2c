from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("broken", "0002_not_null")]
    operations = []
