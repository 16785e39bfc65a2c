from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from accounts.models import User


@admin.register(User)
class AuthorAdmin(UserAdmin):
    fieldsets = (*UserAdmin.fieldsets, ("Author's page", {"fields": ("bio",)}))


admin.site.site_header = settings.SITE_NAME
admin.site.site_title = settings.SITE_NAME
admin.site.index_title = "Write and moderate"
