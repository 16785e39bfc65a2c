# The settings of the migration runner's tests: each test chooses its apps and databases by environment.
import os
from urllib.parse import urlsplit

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only-for-tests-only-for-tests-only-for-tests-1234")
INSTALLED_APPS = os.environ.get("APPS", "blog").split(",")
MIGRATION_MODULES = {"history": os.environ.get("HISTORY", "history.migrations")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True


def database(name):
    if "POSTGRES_SERVER" in os.environ:
        server = urlsplit(os.environ["POSTGRES_SERVER"])
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["POSTGRES_PREFIX"] + name,
            "HOST": server.hostname,
            "PORT": server.port,
            "USER": server.username,
            "PASSWORD": os.environ.get("PGPASSWORD", server.password),
        }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(os.environ["DATA"], name + ".sqlite3")}


DATABASES = {alias: database(alias) for alias in os.environ.get("ALIASES", "default").split(",")}
if "REPLICA" in os.environ:
    DATABASES["replica"] = {**database("default"), "TEST": {"MIRROR": "default"}}

if os.environ.get("BROKEN") == "setting":
    from django.core.exceptions import ImproperlyConfigured

    raise ImproperlyConfigured("SENTRY_DSN must be set; DATABASE_URL is " + os.environ["DATABASE_URL"])
if os.environ.get("BROKEN") == "exit":
    import sys

    print("nothing to see here", end="")
    sys.exit(0)
