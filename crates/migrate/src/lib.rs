//! Migration runner: Django migrations in a one-off task, with the truth about how they ended.
