"""Where authors write. An author sees and changes only what is theirs; superusers see all."""

from django.contrib import admin, messages

from posts.models import Post, Tag


@admin.register(Tag)
class TagAdmin(admin.ModelAdmin):
    list_display = ["name", "slug"]
    search_fields = ["name"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Post)
class PostAdmin(admin.ModelAdmin):
    list_display = ["title", "author", "status", "published_at"]
    list_filter = ["status", "tags", ("author", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["author"]
    search_fields = ["title", "summary", "body"]
    date_hierarchy = "published_at"
    prepopulated_fields = {"slug": ["title"]}
    autocomplete_fields = ["tags"]
    actions = ["publish", "withdraw"]
    save_on_top = True
    fieldsets = [
        (None, {"fields": ["title", "slug", "summary", "body", "tags"]}),
        ("Publishing", {"fields": ["status", "published_at", "author"]}),
    ]

    def get_queryset(self, request):
        posts = super().get_queryset(request)
        return posts if request.user.is_superuser else posts.filter(author=request.user)

    def has_own(self, request, post):
        return post is None or request.user.is_superuser or post.author_id == request.user.pk

    def has_view_permission(self, request, obj=None):
        return super().has_view_permission(request, obj) and self.has_own(request, obj)

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and self.has_own(request, obj)

    def has_delete_permission(self, request, obj=None):
        return super().has_delete_permission(request, obj) and self.has_own(request, obj)

    def get_readonly_fields(self, request, obj=None):
        # Nobody but a superuser signs with another's name.
        return [] if request.user.is_superuser else ["author"]

    def get_changeform_initial_data(self, request):
        return {"author": request.user.pk} | super().get_changeform_initial_data(request)

    def save_model(self, request, obj, form, change):
        if obj.author_id is None:
            obj.author = request.user
        super().save_model(request, obj, form, change)

    @admin.action(description="Publish the selected posts", permissions=["change"])
    def publish(self, request, queryset):
        count = queryset.update(status=Post.Status.PUBLISHED)
        self.message_user(request, f"{count} published.", messages.SUCCESS)

    @admin.action(description="Turn the selected posts back into drafts", permissions=["change"])
    def withdraw(self, request, queryset):
        count = queryset.update(status=Post.Status.DRAFT)
        self.message_user(request, f"{count} turned back into drafts.", messages.SUCCESS)
