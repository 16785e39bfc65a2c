from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("closer", "0001_initial")]
    operations = []
