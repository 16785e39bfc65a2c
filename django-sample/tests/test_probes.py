"""What load balancers and deploys ask."""

import pytest
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder

from blog import release

# As a load balancer asks: by the task's address, in plain HTTP, with no header of a proxy.
BALANCER = {"HTTP_HOST": "10.0.1.23:8000", "HTTP_USER_AGENT": "ELB-HealthChecker/2.0"}


@pytest.fixture(autouse=True)
def strict(settings):
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["blog.example.org"]


def test_alive_without_a_database(client):
    # No `db` fixture: pytest-django fails the test on any query.
    response = client.get("/livez", **BALANCER)
    assert response.status_code == 200
    assert response.json() == {"status": "alive"}
    assert response["Cache-Control"] == "no-store"


def test_which_release_is_alive(client, monkeypatch):
    monkeypatch.setattr(release, "RELEASE", "01K9")
    monkeypatch.setattr(release, "IMAGE_DIGEST", "sha256:ab")
    assert client.get("/livez", **BALANCER).json() == {
        "status": "alive",
        "release": "01K9",
        "image": "sha256:ab",
    }


def test_ready(client, db):
    response = client.get("/readyz", **BALANCER)
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


def test_not_ready_while_a_migration_is_missing(client, db):
    MigrationRecorder.Migration.objects.filter(app="posts", name="0006_search_index").delete()
    response = client.get("/readyz", **BALANCER)
    assert response.status_code == 503
    assert response.json()["reason"] == "migrations are not applied: posts.0006_search_index"


def test_a_long_list_is_cut(client, db):
    MigrationRecorder.Migration.objects.filter(app__in=["posts", "comments"]).delete()
    reason = client.get("/readyz", **BALANCER).json()["reason"]
    assert reason.count(".0") == 5
    assert reason.endswith(" and 3 more")


def test_ready_beside_a_newer_schema(client, db):
    MigrationRecorder.Migration.objects.create(app="posts", name="0099_from_the_next_release")
    assert client.get("/readyz", **BALANCER).status_code == 200


def test_not_ready_without_a_database(client, monkeypatch):
    class Gone:
        def cursor(self):
            raise OperationalError("connection to db.internal, user blog, failed")

        def close(self):
            pass

    monkeypatch.setattr("blog.probes.connections", {"default": Gone()})
    response = client.get("/readyz", **BALANCER)
    assert response.status_code == 503
    assert response.json()["reason"] == "the database does not answer (OperationalError)"
    # Anybody may ask: names of hosts and users stay in the log.
    assert "db.internal" not in response.text


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_only_read(client, path):
    assert client.post(path, **BALANCER).status_code == 405


def test_everything_else_takes_the_strict_way(client):
    assert client.get("/", **BALANCER).status_code == 400
    response = client.get("/", HTTP_HOST="blog.example.org")
    assert (response.status_code, response["Location"]) == (301, "https://blog.example.org/")
