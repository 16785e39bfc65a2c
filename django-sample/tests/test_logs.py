"""One line of JSON for each event."""

import json
import logging
import sys

import pytest

from blog.logs import JsonFormatter, request_id


def line(**fields):
    record = logging.makeLogRecord({"name": "blog", "levelname": "INFO", "msg": "hello"} | fields)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_has_what_one_looks_for():
    assert line().items() >= {"level": "info", "logger": "blog", "message": "hello"}.items()
    assert line()["time"].endswith("+00:00")


def test_extras_become_fields_whatever_they_are():
    assert line(status=200, path="/é\n")["status"] == 200
    assert line(odd=object())["odd"].startswith("<object")


def test_an_exception_stays_on_its_line():
    try:
        raise ValueError("no\nway")
    except ValueError:
        assert "ValueError: no\nway" in line(exc_info=sys.exc_info())["exception"]


def test_the_request_id_is_on_every_line_of_a_request():
    token = request_id.set("abc")
    try:
        assert line()["request_id"] == "abc"
    finally:
        request_id.reset(token)
    assert "request_id" not in line()


@pytest.mark.parametrize("header", ["X-Request-ID", "X-Amzn-Trace-Id"])
def test_a_balancers_id_is_kept(client, db, header):
    given = "Root=1-67891233-abcdef012345678912345678"
    assert client.get("/archive/", headers={header: given})["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["short", "a" * 129, 'quote"quote', "line%0aline "])
def test_an_odd_id_is_replaced(client, db, given):
    answered = client.get("/archive/", headers={"X-Request-ID": given})["X-Request-ID"]
    assert answered != given
    assert len(answered) == 32


def test_each_request_is_logged_once(client, db, caplog):
    with caplog.at_level(logging.INFO, logger="blog.requests"):
        client.get("/archive/")
        client.get("/livez")
    (record,) = [record for record in caplog.records if record.name == "blog.requests"]
    assert (record.method, record.path, record.status) == ("GET", "/archive/", 200)
