"""The example texts of `manage.py seed`."""

# User name, first name, last name, biography.
AUTHORS = [
    ("stephane", "Stéphane", "Marchand", "Plays the violin, and keeps the databases in tune."),
    ("naguine", "Naguine", "Ziegler", "Builds pipelines by day, and fixes bicycles by night."),
]

# User name, title, summary, tags, body.
POSTS = [
    (
        "stephane",
        "A default is a promise",
        "Where a column's default lives decides who may rely on it.",
        ["Migrations", "Django"],
        """\
Django has two kinds of default, and for years it had only the first. `default=` is known to
Python: a release that has the field fills it in. `db_default=` is known to the **database**, and
so to everybody who writes to the table, this release, the one before it, and the colleague with
a console open.

While a deployment rolls, only the second kind helps. The old release inserts a row without the
column it has never heard of. If the database knows no default and the column must not be null,
the insert fails.

So, for every new column that must not be null: give it both.
""",
    ),
    (
        "naguine",
        "Read the log as if you were tired",
        "A log line is written once, at ease, and read at three in the morning.",
        ["Operations", "Practice"],
        """\
The person who reads your log has slept for two hours. Write for them.

- One event, one line. A traceback spread over forty lines cannot be counted.
- One request, one id, on every line that belongs to it.
- The release on every line, because the first question is always *since when*.

Structured logs look worse than prose, until you have to find something. Then they look like a
table, and you sort it.
""",
    ),
    (
        "stephane",
        "What a search index knows",
        "Full-text search without another server to look after.",
        ["Django", "PostgreSQL"],
        """\
Before you add a search server, ask the database that you have. PostgreSQL breaks a text into
words, drops the little ones, cuts the rest down to their stems, and keeps all of that in an
index.

## Three things to get right

- The expression in the index and the one in the query have to be the *same*, or the index is not
  used.
- Weights belong to the ranking. A match in the title is worth more than one in the text.
- Let people type as they do everywhere: `websearch_to_tsquery` takes quotes and minus signs, and
  never answers with a syntax error.

For a few thousand posts that is all you need, and it is backed up with everything else.
""",
    ),
    (
        "naguine",
        "The container stops when you say so",
        "Signals, shells, and thirty seconds of grace.",
        ["Operations", "Containers"],
        """\
A container is asked to stop with a signal, and killed a while later. What happens between the
two is yours, *if the signal arrives*.

```
CMD gunicorn blog.wsgi              # a shell takes the signal and keeps it
CMD ["gunicorn", "blog.wsgi"]       # gunicorn takes it, and finishes its requests
```

The second form has no shell in it. Gunicorn hears the signal, takes no new request, and ends the
ones in hand. Give it a little less time for that than the platform gives the container, or the
platform wins the race.
""",
    ),
    (
        "stephane",
        "Backups are a kind of reading",
        "You have a backup when you have restored it.",
        ["PostgreSQL", "Practice"],
        """\
Everybody writes backups. Few read them. A backup that nobody has restored is a file with a
hopeful name.

Once a month we restore one into an empty database and run the whole test suite of the site
against it. It takes eleven minutes. Twice it has failed, and both times we were very glad that
it was a Tuesday morning.
""",
    ),
    (
        "naguine",
        "One image, many places",
        "Build it once, and let the environment say where it is.",
        ["Containers", "Deployment"],
        """\
The image that was tested is the image that is deployed, byte for byte, known by its digest. What
differs between staging and production comes from outside: a database address, a secret key, a
list of host names.

If you find yourself building *for* an environment, you test one thing and deploy another.
""",
    ),
    (
        "stephane",
        "Forms, and the machines that love them",
        "A field that nobody sees keeps out nearly all of the spam.",
        ["Django", "Practice"],
        """\
A comment form on the open web is filled in by machines within a day. Puzzles annoy people more
than machines by now. What still works is old and quiet: add a field that people do not see, and
distrust whoever fills it in.

The rest is caught by a person who reads each comment before it appears. On a small blog that is
five minutes a week, and often the best five.
""",
    ),
]

# Slug of the post, name, text.
COMMENTS = [
    (
        "welcome-aboard",
        "Joséphine",
        "Found my way here through the feed. Lovely and quiet, please keep it like this.",
    ),
    (
        "the-minute-in-the-middle",
        "Baro F.",
        (
            "We learned this one the hard way, with a renamed column and a very long afternoon.\n\n"
            "Expand and contract is now the first thing that new colleagues hear from me."
        ),
    ),
    (
        "the-minute-in-the-middle",
        "Louis Vola",
        "How long do you wait before you contract? We say two weeks, for no good reason.",
    ),
    (
        "alive-is-not-ready",
        "Eugène",
        (
            "I have seen exactly that outage. The database was back after forty seconds, and we"
            " were back after forty minutes."
        ),
    ),
    ("a-default-is-a-promise", "Sarane", "“Give it both” is on a sticky note on my screen now."),
]
