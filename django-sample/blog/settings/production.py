"""Every deployed environment: all that differs between them comes from the environment.

DJANGO_SECRET_KEY, DATABASE_URL
    needed; the process does not start without them
ALLOWED_HOSTS
    needed: host names, with commas between; a leading dot takes in sub-domains
NUAGES_PUBLIC_HOST
    set by nuages: the host by which the environment is reached, allowed beside them
CSRF_TRUSTED_ORIGINS
    origins such as https://blog.example.org, where a proxy changes the host
SECURE_PROXY_SSL_HEADER
    "HEADER,VALUE" by which a proxy tells that HTTPS was used, or "none"
NUAGES_INSECURE_HTTP
    1 where the environment has chosen plain HTTP: no redirect, no secure cookies
SECURE_HSTS_SECONDS, SECURE_HSTS_INCLUDE_SUBDOMAINS, SECURE_HSTS_PRELOAD
    how long browsers insist on HTTPS, and for what
SENTRY_DSN, SENTRY_ENVIRONMENT, SENTRY_TRACES_SAMPLE_RATE
    error reports, where a DSN is set
LOG_LEVEL, SITE_NAME, SITE_TAGLINE
    as they say
NUAGES_RELEASE, NUAGES_IMAGE_DIGEST
    shown in the footer and by the probes
"""

import dj_database_url

from blog import env
from blog.release import RELEASE

from .base import *
from .base import BASE_DIR, STORAGES

DEBUG = False
SECRET_KEY = env.text("DJANGO_SECRET_KEY")
ALLOWED_HOSTS = [*env.items("ALLOWED_HOSTS"), *env.items("NUAGES_PUBLIC_HOST", "")]
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS", "")

# No fallback: a container that quietly wrote into a SQLite file would lose every post.
DATABASES = {
    "default": dj_database_url.parse(
        env.text("DATABASE_URL"), conn_max_age=60, conn_health_checks=True
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A database that does not answer must fail a readiness probe, not hang it.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 4)

STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = STORAGES | {
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
}

SESSION_COOKIE_HTTPONLY = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

if env.flag("NUAGES_INSECURE_HTTP"):
    # Chosen, and said at every deploy; the four checks would only repeat it.
    SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "security.W012", "security.W016"]
else:
    SECURE_SSL_REDIRECT = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = env.number("SECURE_HSTS_SECONDS", 30 * 24 * 3600)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env.flag("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=True)
    SECURE_HSTS_PRELOAD = env.flag("SECURE_HSTS_PRELOAD", default=True)
    _proxy = env.text("SECURE_PROXY_SSL_HEADER", "HTTP_X_FORWARDED_PROTO,https")
    if _proxy.lower() != "none":
        _header, _, _value = _proxy.partition(",")
        _header = _header.strip().upper().replace("-", "_")
        SECURE_PROXY_SSL_HEADER = (
            _header if _header.startswith("HTTP_") else f"HTTP_{_header}",
            _value.strip() or "https",
        )

LOG_LEVEL = env.text("LOG_LEVEL", "INFO").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "blog.logs.JsonFormatter"}},
    "handlers": {
        "stdout": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": "json",
        }
    },
    "root": {"handlers": ["stdout"], "level": LOG_LEVEL},
    "loggers": {
        # "Not Found" is in the request log already; what is an error comes with its traceback.
        "django.request": {"level": "ERROR"},
        # Django's own handlers print plain text or send mail: only ours speaks.
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.server": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
    },
}

SENTRY_DSN = env.text("SENTRY_DSN", "")
if SENTRY_DSN:
    import sentry_sdk

    sentry_sdk.init(
        dsn=SENTRY_DSN,
        release=RELEASE or None,
        environment=env.text("SENTRY_ENVIRONMENT", "production"),
        traces_sample_rate=env.number("SENTRY_TRACES_SAMPLE_RATE", 0.0, float),
    )
