from django.urls import path

from comments.views import AddCommentView

urlpatterns = [
    path("posts/<slug:slug>/comments/", AddCommentView.as_view(), name="add-comment"),
]
