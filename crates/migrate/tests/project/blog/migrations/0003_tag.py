from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("blog", "0002_slug")]
    operations = [
        migrations.CreateModel(
            "Tag",
            [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50))],
        ),
    ]
