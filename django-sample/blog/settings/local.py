"""A quick look on one's own machine: SQLite, debug pages, nothing to set."""

import dj_database_url

from .base import *
from .base import BASE_DIR

DEBUG = True
SECRET_KEY = "only-for-a-quick-look-on-your-own-machine"  # noqa: S105
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", ".localhost"]
DATABASES = {"default": dj_database_url.config(default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
