"""Moderation. An author reads the comments on their own posts; superusers read all."""

from django.contrib import admin, messages

from comments.models import Comment


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin):
    list_display = ["name", "post", "state", "created_at", "beginning"]
    list_filter = ["state", "created_at"]
    list_select_related = ["post"]
    search_fields = ["name", "email", "body"]
    readonly_fields = ["post", "name", "email", "body", "created_at"]
    actions = ["approve", "reject"]

    def get_queryset(self, request):
        comments = super().get_queryset(request)
        if request.user.is_superuser:
            return comments
        return comments.filter(post__author=request.user)

    def has_add_permission(self, request):
        # Comments are written on the site; nobody puts words into a reader's mouth.
        return False

    def has_own(self, request, comment):
        return (
            comment is None
            or request.user.is_superuser
            or comment.post.author_id == request.user.pk
        )

    def has_view_permission(self, request, obj=None):
        return super().has_view_permission(request, obj) and self.has_own(request, obj)

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and self.has_own(request, obj)

    def has_delete_permission(self, request, obj=None):
        return super().has_delete_permission(request, obj) and self.has_own(request, obj)

    @admin.display(description="comment")
    def beginning(self, comment):
        return comment.body if len(comment.body) <= 80 else f"{comment.body[:79]}…"

    @admin.action(description="Approve the selected comments", permissions=["change"])
    def approve(self, request, queryset):
        count = queryset.update(state=Comment.State.APPROVED)
        self.message_user(request, f"{count} approved.", messages.SUCCESS)

    @admin.action(description="Reject the selected comments", permissions=["change"])
    def reject(self, request, queryset):
        count = queryset.update(state=Comment.State.REJECTED)
        self.message_user(request, f"{count} rejected.", messages.SUCCESS)
