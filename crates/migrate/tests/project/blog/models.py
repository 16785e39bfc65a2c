from django.db import models


class Post(models.Model):
    title = models.CharField(max_length=200)
    slug = models.SlugField(default="")


class Tag(models.Model):
    name = models.CharField(max_length=50)
