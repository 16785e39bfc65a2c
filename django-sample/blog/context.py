"""What every page shows: the site's name, and which release made the page."""

from django.conf import settings

from blog import release


def site(request):
    return {
        "site_name": settings.SITE_NAME,
        "site_tagline": settings.SITE_TAGLINE,
        "release": release.RELEASE,
        "image_digest": release.short_digest(release.IMAGE_DIGEST),
    }
