"""What a worker process may touch: nothing but to read what is installed and to keep results.

Three walls, each of which would do by itself: `distsim.files.fence`, which answers for scenarios; a
hook of the interpreter (PEP 578) that refuses to open anything else, to write, and to start or call
anybody; and limits that the operating system holds the process to.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from distsim import files

#: Events of the interpreter that a worker has no use for.
_REFUSED = (
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn"),
    *("os.spawn", "os.startfile", "pty.spawn", "os.kill", "os.killpg", "ctypes.dlopen"),
    *("socket.bind", "socket.connect", "socket.sendto", "socket.getaddrinfo"),
    *("os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("os.chown", "os.utime", "os.mkdir", "shutil.rmtree", "shutil.move", "tempfile.mkstemp"),
    *("tempfile.mkdtemp", "sqlite3.connect"),
)
_READ = ("open", "os.listdir", "os.scandir")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Devices that libraries ask for random bits and for nothing.
_DEVICES = ("/dev/urandom", "/dev/random", "/dev/null")


def close(allowed: Sequence[str] = ()) -> None:
    """Close this process for good: everything that it needs is imported and open by then.

    Parameters
    ----------
    allowed : sequence of str
        Directories that may be read beside those of Python and of distsim.
    """
    files.fence()
    roots = tuple(dict.fromkeys(_real(r) for r in (*_installed(), *allowed) if r))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _READ:
            _check(arguments, roots)
        elif event in _REFUSED:
            raise PermissionError(f"{event} is not for a process that evaluates scenarios")

    sys.dont_write_bytecode = True
    sys.addaudithook(hook)


def _installed() -> list[str]:
    """Return where Python, its packages and shipped files are."""
    named = [*sys.path, sys.prefix, sys.base_prefix, sys.exec_prefix]
    named += [os.path.dirname(os.__file__), os.path.dirname(files.__file__)]
    shipped = [str(files.shipped_directory(kind)) for kind in files.SHIPPED]
    # A checkout's root is on the path of an editable install: a scenario never names its files.
    return [p for p in (*named, *shipped) if os.path.isdir(p) and os.path.realpath(p) != "/"]


def _real(path: str) -> str:
    return os.path.join(os.path.realpath(path), "")


def _check(arguments: tuple[Any, ...], roots: tuple[str, ...]) -> None:
    """Refuse what is outside of some directories, and everything that would be written.

    Raises
    ------
    PermissionError
    """
    path = arguments[0] if arguments else None
    if path is None or isinstance(path, int):
        return
    if len(arguments) > 2 and isinstance(arguments[2], int) and arguments[2] & _WRITES:
        raise PermissionError("nothing is written here")
    name = os.fsdecode(path)
    if name not in _DEVICES and not _real(name).startswith(roots):
        raise PermissionError("only installed files are read here")


def limit(memory_bytes: int) -> None:
    """Limit the memory of this process, and let it not hear of Ctrl-C: the server ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import resource
    except ImportError:  # Windows has none; the time limit holds there too
        return
    for kind, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, hard))


def end_after(seconds: float) -> None:
    """End this process after some time, should the server not be there to do it; 0 for never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
