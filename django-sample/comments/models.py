"""Readers' comments. A comment is seen by nobody until somebody approves it."""

from django.db import models

from posts.models import Post


class CommentQuerySet(models.QuerySet):
    def approved(self):
        return self.filter(state=Comment.State.APPROVED)


class Comment(models.Model):
    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="comments")
    name = models.CharField(max_length=60)
    email = models.EmailField(blank=True, help_text="Never shown.")
    body = models.TextField("comment", max_length=4000)
    state = models.CharField(
        max_length=10, choices=State, default=State.WAITING, db_default=State.WAITING
    )
    created_at = models.DateTimeField("written", auto_now_add=True)

    objects = CommentQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "pk"]
        indexes = [models.Index(fields=["post", "state"], name="comment_post_state")]

    def __str__(self):
        return f"{self.name} on {self.post}"
