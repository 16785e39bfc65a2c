"""Liveness and readiness, answered before any other middleware.

`/livez` says that this process answers, and touches nothing else: the load balancer asks it, and
a database that is away for a minute must not get every task replaced.
`/readyz` says whether this release can serve: the database answers, and every migration of this
code is applied. It asks the database, so it is for deploys and people, not for load balancers.
"""

import logging

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponseNotAllowed, JsonResponse

from blog import release

# So many migrations are named; of the rest there is the number.
NAMED = 5

logger = logging.getLogger("blog.probes")


class ProbeMiddleware:
    """Answers the two probes whatever their host and scheme; passes on everything else."""

    def __init__(self, get_response):
        self.get_response = get_response
        self.probes = {"/livez": livez, "/readyz": readyz}

    def __call__(self, request):
        probe = self.probes.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        response = probe()
        response.headers["Cache-Control"] = "no-store"
        return response


def livez():
    return JsonResponse({"status": "alive"} | release.as_dict())


def readyz():
    reason = why_not_ready()
    if reason is None:
        return JsonResponse({"status": "ready"} | release.as_dict())
    response = JsonResponse(
        {"status": "not ready", "reason": reason} | release.as_dict(), status=503
    )
    # It is in the log already, and with its cause: Django need not report the status again.
    response._has_been_logged = True
    return response


def why_not_ready():
    """What is missing, in one sentence, or None.

    Migrations that the database has and this code does not know are fine: an older release serves
    on beside a newer schema.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Exception as error:  # whatever it is, it is the answer to the question
        # The class alone: the message names hosts and users, and anyone may ask this page.
        reason = f"the database does not answer ({type(error).__name__})"
        logger.warning("not ready: %s", reason, exc_info=True)
        # The next probe starts afresh instead of meeting this broken connection again.
        connection.close()
        return reason
    if not plan:
        return None
    names = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    reason = f"migrations are not applied: {', '.join(names[:NAMED])}{more}"
    logger.warning("not ready: %s", reason)
    return reason
