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
    reasons = list(reasons_not_ready())
    if reasons:
        logger.warning("not ready", extra={"reasons": reasons})
        return JsonResponse(
            {"status": "not ready", "reasons": reasons} | release.as_dict(), status=503
        )
    return JsonResponse({"status": "ready"} | release.as_dict())


def reasons_not_ready():
    """One sentence for each thing that is missing; none when all is well.

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
        logger.exception("the database does not answer")
        yield f"the database does not answer ({type(error).__name__})"
        # The next probe starts afresh instead of meeting this broken connection again.
        connection.close()
        return
    if plan:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan)
        yield f"migrations are not applied: {names}"
