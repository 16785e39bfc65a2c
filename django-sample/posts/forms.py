from django import forms


class SearchForm(forms.Form):
    """What the search box sends. (The field refuses a NUL, which PostgreSQL cannot take.)"""

    q = forms.CharField(max_length=100, required=False)
