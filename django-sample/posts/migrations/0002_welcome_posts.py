"""The first posts of a new blog, so that nobody is greeted by an empty page.

A blog that has posts already gets none. There is no way back on purpose: by the time anybody
reverses this, these are posts like all others, perhaps edited, perhaps with comments.
"""

from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.db import migrations
from django.utils import timezone
from django.utils.text import slugify

WELCOME = """\
This blog is on the air. If you can read this, an image was built and tested, pushed by its
digest, its migrations ran in a task of their own, and a load balancer decided that the new
process is fit to be spoken to. All that for a paragraph of text; it had better be a good one.

## What you can do here

- Read the posts, by topic, by author, or all the way down the archive.
- Search them. On PostgreSQL the search knows that *deploying* and *deployed* are one word.
- Follow them in a feed reader: the feed is linked in the header of every page.
- Write a comment below a post. It is read by a person before it appears.

## If this is your own copy

Authors write in the admin. Make yourself an account with `manage.py createsuperuser`, open
`/admin/`, and change this very post. Give your colleagues accounts in the group *Authors*: each
of them sees their own posts there, and nobody else's.

At the foot of the page stands the release that made it. When you deploy the next one, watch it
change.
"""

ROLLING = """\
A rolling deployment is often drawn as a row of boxes that change colour one after another. What
the drawing leaves out is the minute in the middle, when both colours serve your readers at once.

## Two releases, one database

For that minute the old code runs against the new schema. If the new release dropped a column,
the old one still selects it, and half of your requests fail, at random, depending on which box
the load balancer picked. Nothing was wrong with either release. They were wrong *together*.

> The question is never whether the new code works with the new schema. It is whether the old
> code does.

## Expand, then contract

So a change that takes something away is made in two steps. First **expand**: add the new column,
with a default that the *database* knows, and write to both. Deploy. Wait until no task runs the
old code. Then **contract**: drop what nobody reads any more.

```
class Post(models.Model):
    # The database fills this in for code that has never heard of it.
    minutes = models.SmallIntegerField(default=1, db_default=1)
```

The second step is boring, and can wait for a quiet morning. That is exactly what makes it safe.
"""

PROBES = """\
Ask a web process how it is, and there are two honest answers. *I am running* and *I can do my
work* sound alike, and mixing them up is a good way to lose a whole fleet at once.

## Alive

`/livez` answers from memory. It opens no connection and reads no file. If it is silent, the
process is stuck, and the only cure is a new one. A load balancer may ask it every ten seconds
and act on the answer.

## Ready

`/readyz` asks the database, and looks whether every migration is applied. A new release that
says no here must not get traffic, and a deploy waits for its yes.

Now imagine that the load balancer asked *this* one instead. The database fails over, which takes
a minute. Every task says no. Every task is killed, and the new ones find a database that is
still away. A minute of waiting has become an outage with nobody left to end it.

- Liveness: act on it, so it must depend on nothing else.
- Readiness: gate on it, so it may depend on everything.
"""

STATIC = """\
Somewhere a reader has had your style sheet in their cache since spring. You change it, deploy,
and get a message: *the buttons are broken*. They are not. They are old.

The cure is older than most frameworks: put the content into the name. `site.css` becomes
`site.3f9a1c07.css`, every page asks for that name, and the answer may be kept for ever, because
a changed file is a different file.

## What it costs

One command while the image is built, `collectstatic`, and a manifest that maps plain names to
hashed ones. The process then serves the files itself, compressed beforehand, and a content
network can stand before it later without anybody changing a template.

The one thing to remember: during a deploy, old pages ask the *new* tasks for *old* names. Keep a
bundle of the last release around, or let the pages live so briefly that nobody notices.
"""

SMALL = """\
We used to deploy on Thursdays. Everything that had been finished since the last Thursday went
out together, and if something broke, the evening went into finding out which of forty changes
had done it.

Then we made deploying dull. One command, the same on a laptop and in the pipeline. A plan that
says what it is about to do. A way back that has been used so often that nobody's voice changes
when they say it.

What happened next surprised us. Deploys did not only become safer. They became **small**. When
it costs nothing to send out one change, nobody waits to send out ten, and a change that is alone
is a change you can understand.

> Make it cheap, and people do it often. Do it often, and it becomes good.

We still have our Thursdays. We spend them otherwise.
"""

# Title, summary, tags, days ago, text.
POSTS = [
    (
        "Welcome aboard",
        "The blog is up. What you find here, and how to make it yours.",
        ["News"],
        0,
        WELCOME,
    ),
    (
        "The minute in the middle",
        "While a deployment rolls, two releases share one database. What that asks of migrations.",
        ["Migrations", "Deployment"],
        4,
        ROLLING,
    ),
    (
        "Alive is not ready",
        "Two probes that sound alike, and why a load balancer should only ever ask one of them.",
        ["Operations", "Deployment"],
        11,
        PROBES,
    ),
    (
        "Names that never go stale",
        "How a hash in a file name ends all arguments about caches.",
        ["Static files", "Django"],
        19,
        STATIC,
    ),
    (
        "In praise of small deploys",
        "We made deploying dull, and something unexpected happened.",
        ["Practice", "Deployment"],
        27,
        SMALL,
    ),
]


def write_posts(apps, schema_editor):
    alias = schema_editor.connection.alias
    User = apps.get_model("accounts", "User")
    Tag = apps.get_model("posts", "Tag")
    Post = apps.get_model("posts", "Post")
    if Post.objects.using(alias).exists():
        return
    author, _ = User.objects.using(alias).get_or_create(
        username="editors",
        # An account to sign posts with; nobody can log in to it.
        defaults={"first_name": "The", "last_name": "Editors", "password": make_password(None)},
    )
    now = timezone.now()
    for title, summary, tags, days, body in POSTS:
        post = Post.objects.using(alias).create(
            title=title,
            slug=slugify(title),
            summary=summary,
            body=body,
            author=author,
            status="published",
            published_at=now - timedelta(days=days),
        )
        for name in tags:
            tag, _ = Tag.objects.using(alias).get_or_create(
                slug=slugify(name), defaults={"name": name}
            )
            post.tags.add(tag)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("posts", "0001_initial"),
    ]

    operations = [migrations.RunPython(write_posts, migrations.RunPython.noop)]
