from django.contrib import messages
from django.http import HttpResponseRedirect

from comments.forms import CommentForm
from posts.models import Post
from posts.views import PostView

THANKS = "Thank you. Your comment appears as soon as it has been read."


class AddCommentView(PostView):
    """Takes a comment; shows the post again, with what is wrong, where something is."""

    http_method_names = ["post", "options"]

    def get_queryset(self):
        # Drafts take no comments, whoever looks at them.
        return Post.objects.published().for_list()

    def post(self, request, *args, **kwargs):
        self.object = self.get_object()
        form = CommentForm(request.POST)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form), status=422)
        # A machine is thanked too, so that it learns nothing.
        if not form.is_spam:
            form.instance.post = self.object
            form.save()
        messages.success(request, THANKS)
        return HttpResponseRedirect(f"{self.object.get_absolute_url()}#comments")
