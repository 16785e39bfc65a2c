from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = [("blog", "0003_tag")]
    operations = [
        migrations.CreateModel(
            "Thing",
            [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50, null=True))],
        ),
    ]
