from django.apps import AppConfig


# An application that writes when it starts: a probe must not let it.
class WriterConfig(AppConfig):
    name = "writer"

    def ready(self):
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE written_by_ready (id integer)")
