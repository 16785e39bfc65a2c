"""One JSON object a line on stdout, each with the id of the request it belongs to."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

from blog.release import RELEASE

request_id = ContextVar("request_id", default="")

# What every record has; what is left over came with `extra`.
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Objects that Django and gunicorn attach for their own handlers.
_NOT_DATA = {"request", "status_code", "server_time", "response"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line; a value that JSON does not know becomes text."""

    def format(self, record):
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            line["request_id"] = current
        if RELEASE:
            line["release"] = RELEASE
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in _NOT_DATA:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
