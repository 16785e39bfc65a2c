from django.db import migrations, models


class Migration(migrations.Migration):
    replaces = [("history", "0001_a"), ("history", "0002_b")]
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel("a", [("id", models.BigAutoField(primary_key=True))]),
        migrations.CreateModel("b", [("id", models.BigAutoField(primary_key=True))]),
    ]
