"""Runs a project's own `manage.py collectstatic` into another folder, without a database or a
network, and notes what the run read, so that one that would read the same need not be run again.

Its argument is a file of JSON: `app` is the project, `manage` its manage.py, `paths` are folders to
import from, `out` is where the files go, `elsewhere` lists folders that are not the project's.
What came of it is written to `result`.
"""

import errno
import json
import os
import socket
import sys
import traceback

# Kernel and devices: what is read there is no setting of a project.
ELSEWHERE = ("/proc/", "/sys/", "/dev/")
CHILDREN = (
    "subprocess.Popen",
    "os.system",
    "os.posix_spawn",
    "os.spawn",
    "os.exec",
    "os.fork",
    "os.forkpty",
)
# Names that lead to no other machine.
THIS_MACHINE = (None, "", b"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::")


class Watch:
    """What a run reads of the project, and of this machine."""

    def __init__(self, elsewhere):
        self.elsewhere = (*ELSEWHERE, *(folder.rstrip("/") + "/" for folder in elsewhere))
        self.app = None
        self.read, self.listed, self.looked = set(), set(), set()
        self.children = False
        self.refused = []

    def note(self, seen, path):
        if isinstance(path, int):
            return
        try:
            path = os.path.abspath(os.fsdecode(path or "."))
        except (TypeError, ValueError, OSError):
            return
        if (path + "/").startswith(self.app + "/") or not (path + "/").startswith(self.elsewhere):
            seen.add(path)

    def hook(self, event, args):
        if event == "open":
            self.note(self.read, args[0])
        elif event in ("os.listdir", "os.scandir"):
            self.note(self.listed, args[0])
        elif event in CHILDREN:
            self.children = True
        elif event == "socket.connect":
            self.refused.append(self.caller())
            raise ConnectionRefusedError(errno.ECONNREFUSED, "collectstatic runs without a network")
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            if args[0] not in (*THIS_MACHINE, socket.gethostname()):
                self.refused.append(self.caller())
                raise socket.gaierror(socket.EAI_AGAIN, "collectstatic runs without a network")

    def wrap(self, name):
        """Looks at files raise no event."""
        real = getattr(os, name)

        def watched(path, *args, **kwargs):
            self.note(self.looked, path)
            return real(path, *args, **kwargs)

        watched.__name__ = name
        for known in (
            os.supports_dir_fd,
            os.supports_effective_ids,
            os.supports_fd,
            os.supports_follow_symlinks,
        ):
            if real in known:
                known.add(watched)
        setattr(os, name, watched)

    def caller(self):
        """Who asked: the project, or else a package that is not Django."""
        package = None
        frame = sys._getframe(1)
        while frame is not None:
            file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
            where = [module, file, frame.f_lineno]
            if file.startswith(self.app + "/"):
                return where
            top = module.split(".")[0]
            if package is None and "site-packages" in file and top != "django":
                package = where
            frame = frame.f_back
        return package or ["", "", 0]


class Ended(BaseException):
    """There is nothing to collect."""


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    result = {"outcome": "failed", "root": None, "failure": None}
    watch = Watch(job["elsewhere"])
    watch.app = job["app"]
    sys.path[0] = os.path.dirname(os.path.join(job["app"], job["manage"]))
    sys.path.extend(os.path.join(job["app"], path) for path in job["paths"])
    sys.addaudithook(watch.hook)
    for name in ("stat", "lstat", "access", "readlink"):
        watch.wrap(name)
    code = 1
    try:
        code = collect(job, result, watch)
    finally:
        result["read"] = sorted(watch.read)
        # Where modules were looked for.
        for folder in sys.path_importer_cache:
            watch.note(watch.listed, folder)
        result["listed"] = sorted(watch.listed)
        result["looked"] = sorted(watch.looked - watch.read - watch.listed)
        result["children"] = watch.children
        with open(job["result"], "w", encoding="utf-8") as file:
            json.dump(result, file)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that a project started, and what it does at its end, are of no use here.
    os._exit(code)


def collect(job, result, watch):
    import runpy

    try:
        from django.core import management
        from django.core.management.base import BaseCommand
        from django.db.backends.base.base import BaseDatabaseWrapper
        from django.db.utils import OperationalError
    except ImportError as error:
        result["failure"] = {"kind": "django", "message": str(error), "where": None}
        return 1

    database = []

    def refuse(self, *args, **kwargs):
        database.append(watch.caller())
        raise OperationalError("collectstatic runs without a database")

    BaseDatabaseWrapper.connect = refuse

    fetch = management.ManagementUtility.fetch_command

    def fetch_command(self, name):
        from django.apps import apps

        if name == "collectstatic" and apps.ready and name not in management.get_commands():
            result["outcome"] = "no-app"
            raise Ended
        return fetch(self, name)

    management.ManagementUtility.fetch_command = fetch_command

    execute = BaseCommand.execute

    def redirected(self, *args, **options):
        if type(self).__module__.endswith(".collectstatic"):
            redirect(job, result)
            answer = execute(self, *args, **options)
            result["outcome"] = "collected"
            return answer
        return execute(self, *args, **options)

    BaseCommand.execute = redirected

    sys.argv = [job["manage"], "collectstatic", "--noinput"]
    try:
        if os.path.exists(os.path.join(job["app"], job["manage"])):
            runpy.run_path(os.path.join(job["app"], job["manage"]), run_name="__main__")
        else:
            management.execute_from_command_line(sys.argv)
    except Ended:
        return 0
    except SystemExit as end:
        if not end.code and result["outcome"] != "failed":
            return 0
        if result["outcome"] == "collected":
            result["outcome"] = "failed"
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        failed(job, result, watch, database, end.__context__)
        return 1
    except BaseException as error:
        result["outcome"] = "failed"
        show(error)
        failed(job, result, watch, database, error)
        return 1
    if result["outcome"] == "failed":
        failed(job, result, watch, database, None)
        return 1
    return 0


def redirect(job, result):
    """Has the storage write into `out`, and notes where it would have written."""
    from django.conf import settings
    from django.contrib.staticfiles.storage import staticfiles_storage
    from django.core.files.storage import FileSystemStorage

    storages = getattr(settings, "STORAGES", {})
    options = storages.get("staticfiles", {}).get("OPTIONS", {})
    root = options.get("location") or settings.STATIC_ROOT
    settings.STATIC_ROOT = job["out"]
    # Any attribute makes the storage that the settings name.
    staticfiles_storage.__class__  # noqa: B018
    storage = getattr(staticfiles_storage, "_wrapped", staticfiles_storage)
    if not isinstance(storage, FileSystemStorage):
        result["outcome"] = "elsewhere"
        result["root"] = f"{type(storage).__module__}.{type(storage).__qualname__}"
        raise Ended
    if not root:
        result["outcome"] = "unset"
        raise Ended
    result["root"] = os.path.abspath(os.path.join(job["app"], os.fspath(root)))
    storage._location = job["out"]
    storage.base_location = job["out"]
    storage.location = os.path.abspath(job["out"])


def show(error):
    """Its traceback, without what is not the project's or a package's."""
    shown = told = traceback.TracebackException.from_exception(error)
    while told is not None:
        own = [frame for frame in told.stack if frame.filename not in (__file__, "<frozen runpy>")]
        told.stack = traceback.StackSummary.from_list(own)
        told = told.__cause__ or told.__context__
    print("".join(shown.format()), end="", file=sys.stderr)


def failed(job, result, watch, database, error):
    """What was wrong, and where in the project."""
    if database:
        result["failure"] = {"kind": "database", "message": "", "where": database[0]}
        return
    message = f"{type(error).__name__}: {error}" if error is not None else ""
    where = None
    if isinstance(error, SyntaxError):
        where = ["", error.filename, error.lineno or 0]
        message = f"{type(error).__name__}: {error.msg}"
    trace = error.__traceback__ if error is not None else None
    manage = os.path.join(job["app"], job["manage"])
    while trace is not None and not isinstance(error, SyntaxError):
        frame, file = trace.tb_frame, trace.tb_frame.f_code.co_filename
        # All that runs is called by manage.py.
        if file.startswith(watch.app + "/") and (file != manage or trace.tb_next is None):
            where = [frame.f_globals.get("__name__", ""), file, trace.tb_lineno]
        trace = trace.tb_next
    kind = "settings" if type(error).__name__ in ("ImproperlyConfigured", "KeyError") else "other"
    if watch.refused and isinstance(error, OSError):
        kind, where = "network", watch.refused[0]
    result["failure"] = {"kind": kind, "message": message[:1000], "where": where}


main()
