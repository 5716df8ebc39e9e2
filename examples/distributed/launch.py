"""Start a program in several processes of this machine, which work as one.

    python launch.py --processes 4 lasso.py [the program's own arguments]

On a cluster, start the program once on every host instead, with the same three
environment variables that are set here:

    FIXPROJ_COORDINATOR   host:port of process 0
    FIXPROJ_PROCESSES     how many there are
    FIXPROJ_PROCESS       which one this is

If one process fails or is killed the others are ended, and the return code is its own.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return candidate.getsockname()[1]


def start(command: list[str], processes: int, **options) -> list[subprocess.Popen]:
    """The processes, just started."""
    coordinator = f"127.0.0.1:{free_port()}"
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={
                **os.environ,
                "FIXPROJ_COORDINATOR": coordinator,
                "FIXPROJ_PROCESSES": str(processes),
                "FIXPROJ_PROCESS": str(rank),
            },
            **options,
        )
        for rank in range(processes)
    ]


def wait(group: list[subprocess.Popen], poll: float = 0.2) -> int:
    """Waits for all; ends the rest when one fails, and returns its code."""
    while True:
        codes = [process.poll() for process in group]
        failed = [code for code in codes if code]
        if failed or None not in codes:
            break
        time.sleep(poll)
    for process in group:
        if process.poll() is None:
            process.kill()
        process.wait()
    return failed[0] if failed else 0


def main():
    """Starts the program and waits for it."""
    parser = argparse.ArgumentParser(description="Run a program in several processes.")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("program", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.processes < 1:
        parser.error("--processes must be at least 1")
    if not arguments.program:
        parser.error("name a program to run")
    group = start(arguments.program, arguments.processes)
    try:
        code = wait(group)
    except KeyboardInterrupt:
        for process in group:
            process.send_signal(signal.SIGINT)
        code = wait(group)
    if code:
        print(f"A process ended with {code}; the others were stopped.", file=sys.stderr)
    sys.exit(abs(code))


if __name__ == "__main__":
    main()
