"""The pages of the blog."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from django.views.generic import DetailView, ListView

from comments.forms import CommentForm
from comments.models import Comment
from posts.forms import SearchForm
from posts.models import Post, Tag
from posts.search import search, snippet


def with_comment_count(posts):
    approved = Q(comments__state=Comment.State.APPROVED)
    counted = posts.annotate(comment_count=Count("comments", filter=approved, distinct=True))
    # Counting groups, and a grouped query forgets the model's own order.
    return counted.order_by(*Post._meta.ordering)


class PostListView(ListView):
    template_name = "posts/list.html"
    context_object_name = "posts"
    paginate_by = settings.POSTS_PER_PAGE

    def get_queryset(self):
        return with_comment_count(Post.objects.published().for_list())

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        page = context["page_obj"]
        context["pages"] = page.paginator.get_elided_page_range(
            page.number, on_each_side=1, on_ends=1
        )
        return context


class HomeView(PostListView):
    extra_context = {"is_home": True}

    def get_context_data(self, **kwargs):
        now = timezone.now()
        live = Q(posts__status=Post.Status.PUBLISHED, posts__published_at__lte=now)
        tags = Tag.objects.annotate(count=Count("posts", filter=live)).filter(count__gt=0)
        return super().get_context_data(topics=tags.order_by("-count", "name")[:8], **kwargs)


class TagView(PostListView):
    def get_queryset(self):
        self.tag = get_object_or_404(Tag, slug=self.kwargs["slug"])
        return super().get_queryset().filter(tags=self.tag)

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            tag=self.tag, heading=self.tag.name, kicker="Topic", **kwargs
        )


class AuthorView(PostListView):
    def get_queryset(self):
        # Only those who have published: the page must not tell which accounts exist.
        authors = get_user_model().objects.filter(posts__in=Post.objects.published()).distinct()
        self.author = get_object_or_404(authors, username=self.kwargs["username"])
        return super().get_queryset().filter(author=self.author)

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            author=self.author, heading=self.author.display_name, kicker="Author", **kwargs
        )


class SearchView(PostListView):
    template_name = "posts/search.html"

    def get_queryset(self):
        self.form = SearchForm(self.request.GET)
        self.text = self.form.cleaned_data["q"] if self.form.is_valid() else ""
        if not self.text:
            return Post.objects.none()
        return search(super().get_queryset(), self.text)

    def get_context_data(self, **kwargs):
        context = super().get_context_data(query=self.text, **kwargs)
        for post in context["posts"]:
            post.snippet = snippet(post, self.text)
        return context


class ArchiveView(ListView):
    template_name = "posts/archive.html"
    context_object_name = "posts"

    def get_queryset(self):
        return Post.objects.published().only("title", "slug", "published_at")


class PostView(DetailView):
    template_name = "posts/post.html"
    context_object_name = "post"

    def get_queryset(self):
        return Post.objects.visible_to(self.request.user).for_list()

    def get_context_data(self, **kwargs):
        post = self.object
        published = Post.objects.published().only("title", "slug", "published_at")
        kwargs.setdefault("form", CommentForm())
        return super().get_context_data(
            comments=post.comments.approved(),
            newer=published.filter(published_at__gt=post.published_at).last(),
            older=published.filter(published_at__lt=post.published_at).first(),
            **kwargs,
        )


@require_safe
@cache_control(max_age=24 * 3600)
def robots(request):
    sitemap = request.build_absolute_uri(reverse("sitemap"))
    lines = ["User-agent: *", "Disallow: /admin/", "Disallow: /search/", f"Sitemap: {sitemap}", ""]
    return HttpResponse("\n".join(lines), content_type="text/plain; charset=utf-8")
