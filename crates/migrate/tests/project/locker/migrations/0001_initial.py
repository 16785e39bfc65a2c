from django.db import migrations


class Migration(migrations.Migration):
    initial = True
    dependencies = [("blog", "0003_tag")]
    operations = [migrations.RunSQL("ALTER TABLE blog_post ADD COLUMN extra integer")]
