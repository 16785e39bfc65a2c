"""The production settings, each time in a process of its own, as a container starts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(env, *arguments):
    return subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def setting(env, *names):
    code = (
        "import json; from django.conf import settings;"
        f"print(json.dumps([getattr(settings, name, None) for name in {names!r}], default=str))"
    )
    result = run(env, "-c", code)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


CHECK = ("manage.py", "check", "--deploy", "--fail-level", "WARNING")


def test_the_deploy_check_has_no_word_to_say(production_env):
    result = run(production_env, *CHECK)
    assert result.returncode == 0, result.stderr
    assert "no issues (0 silenced)" in result.stdout


def test_insecure_http_is_chosen_and_silent(production_env):
    env = production_env | {"NUAGES_INSECURE_HTTP": "1"}
    assert run(env, *CHECK).returncode == 0
    names = ("SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
    assert setting(env, *names, "SECURE_HSTS_SECONDS") == [False, False, False, 0]


def test_https_is_what_happens_otherwise(production_env):
    names = ("SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
    assert setting(production_env, *names) == [True, True, True]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ["HTTP_X_FORWARDED_PROTO", "https"]),
        ("HTTP_CLOUDFRONT_FORWARDED_PROTO,https", ["HTTP_CLOUDFRONT_FORWARDED_PROTO", "https"]),
        ("X-Forwarded-Scheme, https", ["HTTP_X_FORWARDED_SCHEME", "https"]),
        ("none", None),
    ],
)
def test_proxy_header(production_env, value, expected):
    env = production_env | ({"SECURE_PROXY_SSL_HEADER": value} if value else {})
    assert setting(env, "SECURE_PROXY_SSL_HEADER") == [expected]


@pytest.mark.parametrize("name", ["DJANGO_SECRET_KEY", "DATABASE_URL", "ALLOWED_HOSTS"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_what_is_missing_is_named(production_env, name, value):
    env = {key: text for key, text in production_env.items() if key != name}
    if value is not None:
        env[name] = value
    result = run(env, *CHECK)
    assert result.returncode != 0
    assert f"set the environment variable {name}" in result.stderr


def test_a_flag_is_yes_or_no(production_env):
    result = run(production_env | {"NUAGES_INSECURE_HTTP": "maybe"}, *CHECK)
    assert "NUAGES_INSECURE_HTTP has to be 1 or 0, not 'maybe'" in result.stderr


def test_database_url(production_env):
    url = "postgres://blog:p%40ss@db.example.org:5433/blog?sslmode=require"
    (databases,) = setting(production_env | {"DATABASE_URL": url}, "DATABASES")
    database = databases["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["PASSWORD"], database["PORT"]) == ("p@ss", 5433)
    assert database["OPTIONS"] == {"sslmode": "require", "connect_timeout": 4}
    assert database["CONN_HEALTH_CHECKS"] is True


def test_hosts_and_origins(production_env):
    env = production_env | {
        "ALLOWED_HOSTS": "a.example.org, .b.example.org,",
        "CSRF_TRUSTED_ORIGINS": "https://a.example.org",
    }
    assert setting(env, "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS") == [
        ["a.example.org", ".b.example.org"],
        ["https://a.example.org"],
    ]


def test_sentry_listens_when_there_is_a_dsn(production_env):
    code = (
        "import django; django.setup(); import sys;"
        "loaded = 'sentry_sdk' in sys.modules;"
        "import sentry_sdk; client = sentry_sdk.get_client();"
        "print(loaded, client.is_active(), client.options.get('release'))"
    )
    assert run(production_env, "-c", code).stdout.split() == ["False", "False", "None"]
    env = production_env | {
        "SENTRY_DSN": "https://key@sentry.invalid/1",
        "NUAGES_RELEASE": "01K9",
    }
    assert run(env, "-c", code).stdout.split() == ["True", "True", "01K9"]


def test_static_names_carry_a_hash_and_are_compressed(production_env, tmp_path):
    code = f"""
import django
from django.conf import settings
from django.core.management import call_command
django.setup()
settings.STATIC_ROOT = {str(tmp_path)!r}
call_command("collectstatic", interactive=False, verbosity=0)
from django.contrib.staticfiles.storage import staticfiles_storage
print(staticfiles_storage.url("css/site.css"))
"""
    result = run(production_env, "-c", code)
    assert result.returncode == 0, result.stderr
    (sheet,) = list((tmp_path / "css").glob("site.*.css"))
    assert result.stdout.strip() == f"/static/css/{sheet.name}"
    assert (sheet.parent / f"{sheet.name}.gz").exists()
