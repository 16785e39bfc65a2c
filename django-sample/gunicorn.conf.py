"""How gunicorn serves the blog. It reads this file by itself; the command line wins over it."""

import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"

# Few processes with a few threads each: a task has a quarter of a CPU, and pages wait for the
# database more than they compute.
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = int(os.environ.get("GUNICORN_THREADS", "4"))
preload_app = True
timeout = 30

# Longer than the load balancer keeps an idle connection (60 s): who closes first must be the
# balancer, or it sends a request into a connection that is just going away.
keepalive = 75

# Shorter than the 30 s that a stopping container has.
graceful_timeout = 25

# The heartbeat file must not wait for a slow disk.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108

# Nobody steers a container's processes from inside it, and its file system may be read-only.
control_socket_disable = True

# The application logs its own requests; gunicorn's own events come out in the same form.
accesslog = None
logconfig_dict = {
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
    "root": {"handlers": ["stdout"], "level": "INFO"},
    "loggers": {
        "gunicorn.error": {"handlers": [], "level": "INFO", "propagate": True},
        # It warns at each HEAD whose answer has a body to leave out: that is what HEAD is.
        "gunicorn.http.wsgi": {"level": "ERROR"},
        "gunicorn.access": {"handlers": [], "level": "INFO", "propagate": False},
    },
}
