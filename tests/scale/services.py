"""A PostgreSQL and an S3 of this machine, each for one test module."""

import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
if BIN is None and (_found := shutil.which("initdb")):
    BIN = Path(_found).parent
needs_postgres = pytest.mark.skipif(BIN is None, reason="no PostgreSQL here: apt-get install postgresql")
S3_KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a server on this machine alone, run by a user that is not root."""
    root = os.geteuid() == 0
    user = "postgres" if root else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="understudy-pg-", dir="/tmp"))  # short for a socket, open to that user
    data = folder / "data"

    def do(*command: str) -> None:
        arguments = ["su", user, "-s", "/bin/sh", "-c", shlex.join(command)] if root else list(command)
        with (folder / "output").open("a") as output:
            done = subprocess.run(arguments, cwd=folder, stdout=output, stderr=output)
        assert done.returncode == 0, "\n".join(f.read_text() for f in folder.iterdir() if f.is_file())

    try:
        if root:
            shutil.chown(folder, user)
        do(f"{BIN}/initdb", "-D", str(data), "-U", "understudy", "-A", "trust", "-N")
        settings = f"listen_addresses = ''\nunix_socket_directories = '{folder}'\nfsync = off\n"
        (data / "postgresql.auto.conf").write_text(settings)
        do(f"{BIN}/pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-w", "start")
        yield f"postgresql://understudy@/postgres?host={folder}"
    finally:
        if (data / "postmaster.pid").exists():
            do(f"{BIN}/pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


@contextmanager
def s3() -> Iterator[dict[str, str]]:
    """What the environment needs to find an S3 of this machine, which has one bucket: 'bucket'."""
    pytest.importorskip("s3fs", reason="s3fs is an extra")
    server = pytest.importorskip("moto.server", reason="an S3 of this machine: pip install 'moto[server]'")
    import s3fs

    running = server.ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    host, port = running.get_host_and_port()
    environment = S3_KEYS | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().makedirs("bucket", exist_ok=True)  # the server keeps its files as long as the process lives
        yield environment
        s3fs.S3FileSystem.clear_instance_cache()
    running.stop()
