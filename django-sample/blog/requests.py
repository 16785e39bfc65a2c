"""What every request gets: an id, one line in the log, and a content security policy."""

import logging
import re
import time
import uuid

from blog.logs import request_id

logger = logging.getLogger("blog.requests")

# Only what cannot break a log line or a header is taken over from outside.
_SAFE_ID = re.compile(r"[A-Za-z0-9._=:;-]{8,128}")

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class RequestLogMiddleware:
    """Names the request (a load balancer's own id if there is one) and logs its end."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.id = self.find_id(request) or uuid.uuid4().hex
        token = request_id.set(request.id)
        started = time.monotonic()
        try:
            response = self.get_response(request)
            response.headers["X-Request-ID"] = request.id
            if not request.path_info.startswith("/static/"):
                logger.info(
                    "%s %s",
                    request.method,
                    request.path_info,
                    extra={
                        "method": request.method,
                        "path": request.path_info,
                        "status": response.status_code,
                        "duration_ms": round((time.monotonic() - started) * 1000, 1),
                    },
                )
            return response
        finally:
            request_id.reset(token)

    @staticmethod
    def find_id(request):
        for header in ("X-Request-ID", "X-Amzn-Trace-Id"):
            value = request.headers.get(header, "")
            if _SAFE_ID.fullmatch(value):
                return value
        return None


class ContentSecurityPolicyMiddleware:
    """Scripts and styles come from this site alone: a comment that slipped through stays text."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response
