"""The people who write. Readers need no account."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.urls import reverse


class User(AbstractUser):
    bio = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="A sentence or two, shown on the author's page.",
    )

    @property
    def display_name(self):
        return self.get_full_name() or self.username

    def get_absolute_url(self):
        return reverse("author", args=[self.username])
