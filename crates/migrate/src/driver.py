# What nuages runs inside the release's own image: `probe` reads the state of the migrations, `apply` applies them.
# Standard library and the application's own Django (4.2 to 6.x) only; the application needs no change.
#
# Invariant: the report reaches the log whatever happens, and `probe` writes nothing.
#
# It travels on the command line, so comments and blank lines are stripped on the way: keep no `#` at the start of a
# line inside a string.
import base64
import difflib
import hashlib
import json
import os
import pkgutil
import platform
import re
import runpy
import signal
import sys
import time
import traceback
import zlib

# The real standard output, before the application can replace or close it.
LOG = os.dup(1)
LOCK = 0x6E75616765730001
# With the marker and the counters a line stays below 4,096 bytes: one write to a pipe, never mixed with another's.
CHUNK = 3600
SECRET = re.compile("SECRET|PASS|TOKEN|KEY|URL|DSN|CRED|AUTH", re.I)


class Stop(Exception):
    def __init__(self, kind, message, code=1):
        super().__init__(message)
        self.kind = kind
        self.code = code


def write(text):
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    data = (text + "\n").encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(LOG, data) :]


def say(text):
    write("nuages-migrate: " + redact(text))


def redact(text):
    text = re.sub(r"(\w+://[^\s:@/]*):[^\s@]+@", r"\1:[redacted]@", text)
    values = [v for k, v in os.environ.items() if SECRET.search(k)]
    try:
        from django.conf import settings

        if settings.configured:
            values += [str(d["PASSWORD"]) for d in settings.DATABASES.values() if d.get("PASSWORD")]
    except Exception:
        pass
    # Shorter ones are words that stand anywhere.
    for value in sorted({v for v in values if len(v) >= 8}, key=len, reverse=True):
        text = text.replace(value, "[redacted]")
    return text


def send(run, report):
    payload = zlib.compress(json.dumps(report, separators=(",", ":")).encode(), 9)
    text = base64.b64encode(payload).decode()
    # Each begins on a line of its own, or a log driver might split it together with what the application left before it.
    chunks = [text[i : i + CHUNK] for i in range(0, len(text), CHUNK)]
    for index, chunk in enumerate(chunks, 1):
        write("\nNUAGES1 %s %d/%d %s" % (run, index, len(chunks), chunk))
    write("\nNUAGES1 %s sha256 %d %s" % (run, len(chunks), hashlib.sha256(payload).hexdigest()))


# A module that is not there, and what is called most like it where it should be.
def missing(error):
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    parent, dot, leaf = error.name.rpartition(".")
    try:
        where = sys.modules[parent].__path__ if parent else [os.getcwd()]
        near = difflib.get_close_matches(leaf, [m.name for m in pkgutil.iter_modules(where)], 1)
    except Exception:
        near = []
    return {"module": error.name, "settings": os.environ.get("DJANGO_SETTINGS_MODULE"), "near": near}


class Run:
    def __init__(self, request):
        self.run = request["run"]
        self.probe = request["verb"] == "probe"
        self.aliases = request["databases"]
        self.lock_timeout = request["lock_timeout_ms"]
        self.lock_wait = request["lock_wait_s"]
        self.script = request["script"]
        self.at = {"alias": None, "migration": None}
        self.vendor = None
        self.stage = "setup"
        self.total = 0
        self.done = 0
        self.ran = False
        self.report = {
            "verb": request["verb"],
            "python": platform.python_version(),
            "django": None,
            "databases": {},
            "failure": None,
        }

    # manage.py is run as it is, whatever it prepares; only its last act, to execute a command, is ours.
    def start(self):
        sys.path.insert(0, os.path.dirname(os.path.abspath(self.script or "x")))
        try:
            import django
        except ImportError as error:
            raise Stop("no-django", "Django cannot be imported: %s" % error)
        self.report["django"] = django.get_version()
        from django.core.management import ManagementUtility
        from django.db.backends.signals import connection_created

        connection_created.connect(self.connected, weak=False)
        if not self.script:
            django.setup()
            return self.main()
        if not os.path.exists(self.script):
            raise Stop("no-manage", "there is no %s in %s" % (self.script, os.getcwd()))

        def execute(utility):
            django.setup()
            self.main()

        ManagementUtility.execute = execute
        sys.argv = [self.script, "migrate"]
        runpy.run_path(self.script, run_name="__main__")
        if not self.ran:
            raise Stop("no-manage", "%s ended without executing a management command" % self.script)

    # For every connection, reconnects included.
    def connected(self, connection, **kwargs):
        from django.db import DatabaseError

        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", ["%dms" % self.lock_timeout])
                if self.probe:
                    cursor.execute("SET default_transaction_read_only = on")
                elif connection.pg_version >= 140000:
                    # So that a killed task's statement does not go on alone, holding its locks.
                    try:
                        cursor.execute("SELECT set_config('client_connection_check_interval', '500ms', false)")
                    except DatabaseError:
                        # The server's platform cannot; PostgreSQL has it on Linux, macOS and the BSDs only.
                        pass
            elif connection.vendor == "sqlite" and self.probe:
                cursor.execute("PRAGMA query_only = ON")
            elif connection.vendor == "mysql" and self.probe:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")

    def main(self):
        self.ran = True
        from django.db import connections

        known = [
            alias
            for alias in connections
            if not connections[alias].settings_dict.get("TEST", {}).get("MIRROR")
            and not connections[alias].settings_dict["ENGINE"].endswith(".dummy")
        ]
        for alias in self.aliases or known:
            if alias not in connections:
                raise Stop("no-database", "there is no database %r in DATABASES; there is %s" % (alias, ", ".join(known)))
        for alias in self.aliases or known:
            self.at = {"alias": alias, "migration": None}
            state = self.report["databases"][alias] = {}
            connection = connections[alias]
            self.vendor = connection.vendor
            self.stage = "connect"
            connection.ensure_connection()
            self.stage = "probe" if self.probe else "migrate"
            if self.probe:
                self.read_only(connection)
                self.look(connection, state, True)
            else:
                self.apply(connection, state)
        self.at = {"alias": None, "migration": None}

    def read_only(self, connection):
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SHOW transaction_read_only")
                if cursor.fetchone()[0] != "on":
                    raise Stop("not-read-only", "the session did not become read-only; nothing was probed")
            elif connection.vendor == "sqlite":
                cursor.execute("PRAGMA query_only")
                if not cursor.fetchone()[0]:
                    raise Stop("not-read-only", "the session did not become read-only; nothing was probed")

    def version(self, connection):
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("SELECT sqlite_version()")
            elif connection.vendor == "postgresql":
                cursor.execute("SHOW server_version")
            elif connection.vendor == "mysql":
                cursor.execute("SELECT version()")
            else:
                return None
            return str(cursor.fetchone()[0])

    # What is applied, what this code has, and what separates them. Reads only.
    def look(self, connection, state, before):
        from django.db.migrations.exceptions import InconsistentMigrationHistory
        from django.db.migrations.executor import MigrationExecutor

        executor = MigrationExecutor(connection)
        loader = executor.loader
        applied = {}
        for app, name in sorted(loader.applied_migrations):
            applied.setdefault(app, []).append(name)
        leaves = {}
        for app, name in sorted(loader.graph.leaf_nodes()):
            leaves.setdefault(app, []).append(name)
        replaces = {
            "%s.%s" % key: ["%s.%s" % tuple(old) for old in migration.replaces]
            for key, migration in sorted(loader.disk_migrations.items())
            if migration.replaces
        }
        plan = ["%s.%s" % (m.app_label, m.name) for m, _ in executor.migration_plan(loader.graph.leaf_nodes())]
        if before:
            replaced = {old for olds in replaces.values() for old in olds}
            state["vendor"] = connection.vendor
            state["version"] = self.version(connection)
            state["plan"] = plan
            state["unknown"] = [
                "%s.%s" % key
                for key in sorted(loader.applied_migrations)
                if key not in loader.disk_migrations and "%s.%s" % key not in replaced
            ]
            state["conflicts"] = {app: sorted(names) for app, names in loader.detect_conflicts().items()}
            state["inconsistent"] = None
            try:
                loader.check_consistent_history(connection)
            except InconsistentMigrationHistory as error:
                state["inconsistent"] = str(error)
        state["applied"] = applied
        state["leaves"] = leaves
        state["replaces"] = replaces
        state["pending"] = plan

    def apply(self, connection, state):
        from django.core.management import call_command
        from django.db.migrations.executor import MigrationExecutor

        self.lock(connection)
        # Read under the lock: what another run has just applied is not in the plan.
        self.look(connection, state, True)
        self.total, self.done = len(state["plan"]), 0
        state["ran"] = []
        original = MigrationExecutor.apply_migration

        def apply_migration(executor, migration_state, migration, *args, **kwargs):
            name = "%s.%s" % (migration.app_label, migration.name)
            self.at["migration"] = name
            self.still_locked(connection)
            result = original(executor, migration_state, migration, *args, **kwargs)
            state["ran"].append(name)
            self.done += 1
            self.at["migration"] = None
            write("NUAGES1 %s count %d/%d %s" % (self.run, self.done, self.total, connection.alias))
            return result

        MigrationExecutor.apply_migration = apply_migration
        try:
            call_command("migrate", database=connection.alias, interactive=False, skip_checks=False)
        finally:
            MigrationExecutor.apply_migration = original
        self.look(connection, state, False)
        if state["pending"]:
            raise Stop("incomplete", "after `migrate` these are still not applied: %s" % ", ".join(state["pending"]))
        self.unlock(connection)

    # A session lock, on the very connection that migrates: it ends with it, and with it only.
    def lock(self, connection):
        if connection.vendor != "postgresql":
            say("%s: no lock is taken on %s; let no second migration run" % (connection.alias, connection.vendor))
            return
        deadline = time.monotonic() + self.lock_wait
        told = None
        while True:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
                if cursor.fetchone()[0]:
                    return
                cursor.execute(
                    "SELECT a.pid, a.application_name, date_trunc('second', now() - a.backend_start)::text"
                    " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted"
                    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                    " AND l.classid::bigint = %s AND l.objid::bigint = %s AND l.objsubid = 1",
                    [LOCK >> 32, LOCK & 0xFFFFFFFF],
                )
                row = cursor.fetchone()
            holder = "backend %s (%s), connected for %s" % row if row else "a session that has just ended"
            if time.monotonic() >= deadline:
                raise Stop("locked", "another migration holds the lock after %d s: %s" % (self.lock_wait, holder), 75)
            if row and told != row[0]:
                told = row[0]
                say("%s: waiting up to %d s for another migration: %s" % (connection.alias, self.lock_wait, holder))
            time.sleep(0.5)

    def still_locked(self, connection):
        if connection.vendor != "postgresql":
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()"
                " AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 1",
                [LOCK >> 32, LOCK & 0xFFFFFFFF],
            )
            if not cursor.fetchone()[0]:
                raise Stop("lock-lost", "the session that held the migration lock is gone; nothing more is applied")

    def unlock(self, connection):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])

    # One sentence, and what a program can decide by.
    def failed(self, error):
        top = error
        # It only says that something failed before it.
        while type(error).__name__ == "TransactionManagementError" and (error.__cause__ or error.__context__):
            error = error.__cause__ or error.__context__
        kind, code, message = "migration" if self.at["migration"] else self.stage, 1, str(error)
        if isinstance(error, Stop):
            kind, code = error.kind, error.code
        elif isinstance(error, SystemExit):
            kind, message = "exit", "the application called sys.exit(%r)" % (error.code,)
            # Whoever ends early has not migrated, whatever the number says.
            code = error.code or 1
        else:
            # The detail quotes rows; it stands in the log's traceback, not in what is kept.
            message = " ".join(message.split("\nDETAIL:")[0].split()) or "no message"
            code = getattr(error, "returncode", 1)
            text = "".join(traceback.format_exception(type(top), top, top.__traceback__))
            write("\n" + redact(text).rstrip())
        if not isinstance(code, int) or not 0 < code < 256:
            code = 1
        cause, state = error, None
        while cause is not None and state is None:
            state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
            cause = cause.__cause__ or cause.__context__
        failure = {
            "kind": kind,
            "error": type(error).__name__,
            "message": redact(message)[:2000],
            "sqlstate": state,
            "alias": self.at["alias"],
            "vendor": self.vendor if self.at["alias"] else None,
            "migration": self.at["migration"],
            "missing": missing(error),
        }
        where = " on ".join(x for x in (failure["migration"], failure["alias"]) if x)
        what = "" if isinstance(error, (Stop, SystemExit)) else failure["error"] + (" %s" % state if state else "") + ": "
        write("")
        say("failed%s: %s%s" % (" in " + where if where else "", what, failure["message"]))
        self.report["failure"] = failure
        return code

    # What stands in the database after a failure: on a fresh connection, since the old one may be in any state.
    def aftermath(self):
        alias = self.at["alias"]
        if alias is None or self.probe:
            return
        try:
            from django.db import connections

            try:
                connections[alias].close()
            except Exception:
                pass
            connections[alias] = connections.create_connection(alias)
            self.look(connections[alias], self.report["databases"][alias], False)
        except Exception as error:
            say("%s: cannot read what is applied now: %s" % (alias, error))
            self.report["databases"][alias].pop("applied", None)


# StopTask's SIGTERM: as process 1 it would be ignored. The transaction in hand rolls back, and the report is sent.
def stopped(number, frame):
    raise Stop("stopped", "it was asked to stop (signal %d)" % number, 128 + number)


def main():
    run = Run(json.loads(sys.argv[1]))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(line_buffering=True)
        except Exception:
            pass
    signal.signal(signal.SIGTERM, stopped)
    code = 0
    try:
        try:
            run.start()
        except SystemExit:
            # manage.py may end with sys.exit() after our work is done.
            if not run.ran or run.at["alias"] is not None:
                raise
    except BaseException as error:
        code = run.failed(error)
        run.aftermath()
    send(run.run, run.report)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    # Not sys.exit: threads that the application left behind must not hold up or change the end.
    os._exit(code)


main()
