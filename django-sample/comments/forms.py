from django import forms

from comments.models import Comment


class CommentForm(forms.ModelForm):
    """A comment, and one field that only a machine fills in: people do not see it."""

    website = forms.CharField(
        label="Leave this empty",
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "tabindex": "-1"}),
    )

    class Meta:
        model = Comment
        fields = ["name", "email", "body"]
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "email": forms.EmailInput(attrs={"autocomplete": "email"}),
            "body": forms.Textarea(attrs={"rows": 5}),
        }

    @property
    def is_spam(self):
        return bool(self.cleaned_data.get("website"))
