import atexit
import sys
import threading
import time
import warnings

from django.apps import AppConfig


# Prints without line ends, from threads too, replaces stdout, and is loud at the end.
class NoisyConfig(AppConfig):
    name = "noisy"

    def ready(self):
        warnings.warn("this is a warning")
        print("NUAGES1 other-run 1/1 AAAA")
        print("half a line", end="", flush=True)

        def talk():
            while True:
                sys.stderr.write("x" * 50)
                sys.stderr.flush()
                time.sleep(0.001)

        threading.Thread(target=talk, daemon=True).start()
        threading.Thread(target=time.sleep, args=(3600,)).start()
        atexit.register(lambda: print("goodbye"))
        sys.stdout = open("/dev/null", "w")
