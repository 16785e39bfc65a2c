"""The group "Authors": what a writer may do in the admin, kept true after every migrate.

Permissions exist only once Django's own post-migrate step has made them, so a data migration is
too early on a new database. Which rows an author sees is decided by the admin classes.
"""

from django.contrib.auth import get_permission_codename
from django.db.models.signals import post_migrate

AUTHORS = "Authors"

ALLOWED = {
    "posts": {"post": ("add", "change", "delete", "view"), "tag": ("add", "view")},
    "comments": {"comment": ("change", "delete", "view")},
}


def grant_authors(app_config, using, **_):
    from django.contrib.auth.models import Group, Permission

    models = ALLOWED.get(app_config.label)
    if models is None:
        return
    codenames = [
        get_permission_codename(action, app_config.get_model(model)._meta)
        for model, actions in models.items()
        for action in actions
    ]
    group, _ = Group.objects.using(using).get_or_create(name=AUTHORS)
    group.permissions.add(
        *Permission.objects.using(using).filter(
            content_type__app_label=app_config.label, codename__in=codenames
        )
    )


def connect():
    # The permissions are made by an earlier receiver: django.contrib.auth stands above us.
    post_migrate.connect(grant_authors, dispatch_uid="accounts.roles.grant_authors")
