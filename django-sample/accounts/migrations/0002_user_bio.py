from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="bio",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="A sentence or two, shown on the author's page.",
            ),
        ),
    ]
