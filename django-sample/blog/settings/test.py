"""The tests: on the database of DATABASE_URL where one is given, else on SQLite in memory."""

import dj_database_url

from .base import *

DEBUG = False
SECRET_KEY = "only-for-the-tests-0123456789-abcdefghijklmnopqrstuvwxyz"  # noqa: S105
ALLOWED_HOSTS = ["testserver", "localhost"]
DATABASES = {"default": dj_database_url.config(default="sqlite://:memory:")}
# The real hasher is slow on purpose; no test is about it.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
