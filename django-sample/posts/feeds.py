"""RSS: all posts, or those of one tag."""

from django.conf import settings
from django.contrib.syndication.views import Feed
from django.shortcuts import get_object_or_404
from django.urls import reverse, reverse_lazy

from posts.formatting import to_html
from posts.models import Post, Tag

LENGTH = 20


class LatestPostsFeed(Feed):
    link = reverse_lazy("home")

    def title(self, tag=None):
        return f"{settings.SITE_NAME}: {tag.name}" if tag else settings.SITE_NAME

    def description(self):
        return settings.SITE_TAGLINE

    def items(self, tag=None):
        posts = Post.objects.published().for_list()
        return (posts.filter(tags=tag) if tag else posts)[:LENGTH]

    def item_title(self, post):
        return post.title

    def item_description(self, post):
        return to_html(post.body)

    def item_pubdate(self, post):
        return post.published_at

    def item_updateddate(self, post):
        return post.updated_at

    def item_author_name(self, post):
        return post.author.display_name

    def item_categories(self, post):
        return [tag.name for tag in post.tags.all()]


class TagFeed(LatestPostsFeed):
    def get_object(self, request, slug):
        return get_object_or_404(Tag, slug=slug)

    def link(self, tag):
        return reverse("tag", args=[tag.slug])
