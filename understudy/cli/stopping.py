"""End a run on Ctrl-C or SIGTERM: quickly, and with nothing left incomplete."""

import os
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from understudy import progress, worker

STOP_SECONDS = 4.0


def stop_on_signals() -> None:
    """The first Ctrl-C ends workers and unwinds; what still runs after STOP_SECONDS is abandoned."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        progress.STOPPING.set()
        threading.Thread(target=_leave_late, daemon=True).start()
        worker.stop_all()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    # While a flow runs, Prefect's own handler for SIGTERM asks a server that may be gone as well.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_leave_on_sigterm, args=(reader, writer), daemon=True).start()


def leave() -> NoReturn:
    """End at once, with the temporary Prefect server; every write is atomic, so nothing is left incomplete."""
    print("\nStopped. Finished work is kept; the same command resumes from there.", file=sys.stderr)
    if "prefect.server.api.server" in sys.modules:
        for server in list(sys.modules["prefect.server.api.server"].SubprocessASGIServer._instances.values()):
            if server.server_process:
                server.server_process.terminate()
    sys.stdout.flush()
    os._exit(130)


def _leave_on_sigterm(reader: socket.socket, writer: socket.socket) -> None:
    """`writer` is only held open: the number of every signal is written to it."""
    while signal.SIGTERM not in reader.recv(64):
        pass
    progress.STOPPING.set()
    worker.stop_all()
    _leave_late()


def _leave_late() -> NoReturn:
    time.sleep(STOP_SECONDS)
    leave()
