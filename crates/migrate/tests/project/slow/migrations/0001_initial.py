import os
import time

from django.db import migrations


# Until the test says so: it makes the file `go`.
def wait(apps, schema_editor):
    open(os.path.join(os.environ["DATA"], "waiting"), "w").close()
    while not os.path.exists(os.path.join(os.environ["DATA"], "go")):
        time.sleep(0.05)


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.RunPython(wait)]
