"""Fills the blog with enough to look at: more authors, posts over several pages, comments."""

from datetime import timedelta

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from accounts.models import User
from comments.models import Comment
from posts.management.seed_texts import AUTHORS, COMMENTS, POSTS
from posts.models import Post, Tag


class Command(BaseCommand):
    help = "Adds example authors, posts and comments. What is there already stays as it is."

    @transaction.atomic
    def handle(self, *args, **options):
        authors = {name: self.author(name, *rest) for name, *rest in AUTHORS}
        new = [self.post(position, authors, *entry) for position, entry in enumerate(POSTS)]
        comments = sum(self.comment(*entry) for entry in COMMENTS)
        self.stdout.write(f"{sum(new)} posts and {comments} comments added")

    def author(self, username, first_name, last_name, bio):
        user, created = User.objects.get_or_create(
            username=username,
            defaults={"first_name": first_name, "last_name": last_name, "bio": bio},
        )
        if created:
            # Nobody logs in as an example.
            user.set_unusable_password()
            user.save(update_fields=["password"])
        return user

    def post(self, position, authors, username, title, summary, tags, body):
        post, created = Post.objects.get_or_create(
            slug=slugify(title),
            defaults={
                "title": title,
                "summary": summary,
                "body": body,
                "author": authors[username],
                "status": Post.Status.PUBLISHED,
                "published_at": timezone.now() - timedelta(days=33 + 9 * position),
            },
        )
        if created:
            post.tags.set(
                Tag.objects.get_or_create(slug=slugify(name), defaults={"name": name})[0]
                for name in tags
            )
        return created

    def comment(self, slug, name, body):
        post = Post.objects.filter(slug=slug).first()
        if post is None:
            return False
        _, created = Comment.objects.get_or_create(
            post=post, name=name, body=body, defaults={"state": Comment.State.APPROVED}
        )
        return created
