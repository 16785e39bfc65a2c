"""Posts and their tags. What readers may see is decided in one place: `PostQuerySet.published`."""

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from posts.reading import reading_minutes


class Tag(models.Model):
    name = models.CharField(max_length=40, unique=True)
    slug = models.SlugField(max_length=40, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("tag", args=[self.slug])


class PostQuerySet(models.QuerySet):
    def published(self):
        """What everybody may read: published, and its day has come."""
        return self.filter(status=Post.Status.PUBLISHED, published_at__lte=timezone.now())

    def visible_to(self, user):
        """What this user may read: authors see their own drafts, the staff's superusers all."""
        if user.is_superuser:
            return self
        if user.is_authenticated:
            own = self.filter(author=user)
            return self.published() | own
        return self.published()

    def for_list(self):
        """With what a list shows of each post, in a fixed number of queries."""
        return self.select_related("author").prefetch_related("tags")


class Post(models.Model):
    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        PUBLISHED = "published", "Published"

    title = models.CharField(max_length=160)
    slug = models.SlugField(max_length=160, unique=True)
    summary = models.CharField(
        max_length=300, blank=True, help_text="Shown in lists, in the feed and to search engines."
    )
    body = models.TextField(
        help_text="A blank line starts a paragraph, ## a heading, - a list, > a quotation,"
        " ``` a block of code. `code`, *emphasis*, **strong** and [text](address) work in a line."
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="posts"
    )
    tags = models.ManyToManyField(Tag, related_name="posts", blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    published_at = models.DateTimeField(
        "published", default=timezone.now, help_text="A time to come: the post appears then."
    )
    created_at = models.DateTimeField("created", auto_now_add=True)
    updated_at = models.DateTimeField("updated", auto_now=True)
    reading_minutes = models.PositiveSmallIntegerField(
        "reading time (minutes)", default=1, db_default=1, editable=False
    )

    objects = PostQuerySet.as_manager()

    class Meta:
        ordering = ["-published_at", "-pk"]
        indexes = [
            models.Index(fields=["status", "-published_at"], name="post_status_published"),
        ]

    def __str__(self):
        return self.title

    def save(self, *args, **kwargs):
        self.reading_minutes = reading_minutes(self.body)
        super().save(*args, **kwargs)

    def get_absolute_url(self):
        return reverse("post", args=[self.slug])

    @property
    def is_published(self):
        return self.status == self.Status.PUBLISHED and self.published_at <= timezone.now()
