from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("history", "0001_a")]
    operations = [
        migrations.CreateModel("b", [("id", models.BigAutoField(primary_key=True))]),
    ]
