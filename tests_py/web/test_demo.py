"""`make demo-web`: it sets itself up, prints where to go, and ends cleanly on Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from tests_py.examples.test_approval_engine import processes_with, temporary_folder

__all__ = ["temporary_folder"]

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 120


def test_the_demo(temporary_folder: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(temporary_folder)}
    command = [sys.executable, "-m", "examples.approvals"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        watchdog = threading.Timer(PATIENCE_SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stdout
            said = "".join(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
            [desk] = re.findall(r"^The desk: (http://127\.0\.0\.1:\d+)/$", said, re.M)
            links = re.findall(r"^A link for (\w+): (http\S+)$", said, re.M)
            assert [name for name, _ in links] == ["Finance", "Security"]
            password = re.findall(r"password (\S+)$", said, re.M)
            assert password
            with httpx.Client(timeout=PATIENCE_SECONDS) as client:
                for _, link in links:
                    page = client.get(link)
                    assert (page.status_code, 'value="approved"' in page.text) == (200, True)
                assert "Your answer is recorded." in client.post(links[0][1], data={"decision": "approved"}).text
                csrf = re.findall(r'name="csrf" value="([^"]*)"', client.get(f"{desk}/sign-in").text)[0]
                client.post(f"{desk}/sign-in", data={"csrf": csrf, "name": "deputy", "password": password[0]})
                while "Waits since" not in (page := client.get(f"{desk}/")).text:
                    assert page.status_code == 200
                    time.sleep(0.1)
                with client.stream("GET", f"{desk}/events") as events:  # an open page must not keep it
                    assert next(events.iter_lines()) == "retry: 1000"
                    began = time.monotonic()
                    process.send_signal(signal.SIGINT)
                    rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
                    print(f"ended within {time.monotonic() - began:.1f} s")
        finally:
            watchdog.cancel()
            process.kill()
    assert (process.returncode, rest, errors) == (0, "ended\n", "")
    assert processes_with(str(temporary_folder)) == []
    assert list(temporary_folder.iterdir()) == []
