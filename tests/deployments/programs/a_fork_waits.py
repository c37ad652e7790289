"""A thread is in a section; what a forked child sees of it."""

from __future__ import annotations

import os
import threading
import time

from worchflow.foundations import forking

section, another = forking.Section(), forking.Section()
inside = threading.Event()
left = threading.Event()


def work() -> None:
    with section:
        inside.set()
        time.sleep(0.5)
        with another:
            left.set()


thread = threading.Thread(target=work)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    with section, forking.Section():
        os._exit(0 if left.is_set() else 1)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with section:
    print("entered again")
