"""From an order to a running server, and from the owner's end to nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from .data_folder import cached_cluster, check_content, choose_account, has_cluster, keep_cluster, lock
from .launcher import Launcher
from .private_folder import copy_programs, make_private_folder
from .processes import Account, Owner
from .protocol import LOCALHOST, EmbeddedServerError, Order, Refusal, Reply

WATCH_SECONDS = 1
TEMPORARY_SETTINGS = {"fsync": "off", "full_page_writes": "off"}
HBA = f"""\
local all         all trust
local replication all trust
host  all         all {LOCALHOST}/32 scram-sha-256
"""


def main() -> None:
    signal.signal(signal.SIGTERM, end)
    order: Order = json.loads(sys.stdin.readline())
    owner = Owner(order["owner"])
    with ExitStack() as cleanup:
        try:
            reply = start(order, owner, cleanup)
        except (EmbeddedServerError, OSError) as error:
            answer(Refusal(error=str(error)))
            return
        answer(reply)
        while not owner.is_gone(WATCH_SECONDS):
            pass
        end()


def end(*_: object) -> None:
    """Leave by way of the cleanup, once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit()


def start(order: Order, owner: Owner, cleanup: ExitStack) -> Reply:
    """Start the server; whatever that makes, `cleanup` will undo in the right order."""
    bin_dir = Path(order["bin_dir"])
    made_before = order["initdb_cache"] and cached_cluster(Path(order["initdb_cache"]), bin_dir)
    kept = Path(order["data_dir"]) if order["data_dir"] is not None else None
    if kept:
        kept.mkdir(0o700, parents=True, exist_ok=True)
        cleanup.callback(os.close, lock(kept, owner))
        check_content(kept, bin_dir)
    account = None
    if os.geteuid() == 0:
        account = choose_account(kept) if kept else Account.unprivileged()

    folder = make_private_folder(account)
    cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    data_dir = kept or folder / "data"
    data_dir.mkdir(exist_ok=True)
    hba_file = folder / "pg_hba.conf"
    hba_file.write_text(HBA)
    log_file = folder / "log"
    log = cleanup.enter_context(log_file.open("w+b", buffering=0))
    if account:
        if not account.can_run(bin_dir / "initdb"):
            bin_dir = copy_programs(bin_dir, folder / "programs")
        account.own(folder)

    launcher = Launcher(
        bin_dir=bin_dir,
        data_dir=data_dir,
        account=account,
        log=log,
        owner=owner,
        cleanup=cleanup,
    )
    if not has_cluster(data_dir):
        if made_before and has_cluster(made_before):
            shutil.copytree(made_before, data_dir, dirs_exist_ok=True)
            if account:
                account.own(data_dir)
            if kept:
                os.sync()  # as initdb does
        else:
            launcher.create_cluster(sync=kept is not None)
            if made_before:
                keep_cluster(data_dir, made_before)
    settings = {
        **({} if kept else TEMPORARY_SETTINGS),
        **order["settings"],
        "hba_file": str(hba_file),
        "unix_socket_directories": str(folder),
        "listen_addresses": "" if order["port"] is None else LOCALHOST,
    }
    postmaster, port = launcher.start_server(order["port"], settings)
    return Reply(
        pid=postmaster.pid,
        port=port,
        folder=str(folder),
        data_dir=str(data_dir),
        log_file=str(log_file),
    )


def answer(message: Reply | Refusal) -> None:
    print(json.dumps(message), flush=True)
    with Path(os.devnull).open("w") as nowhere:
        for output in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), output.fileno())
