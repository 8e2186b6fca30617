"""flow-signal, with the statements that its Python wrapper sends."""

from __future__ import annotations

from bench.rivals.contenders.contender import PAYLOAD, Contender, Job, Work
from bench.rivals.site import ROLE, Database
from flow_signal import migrate

WAITER = "run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json"
DELIVERY = "status, run_id, step_key, delivered_at, replayed"
REGISTER = f"""
SELECT {WAITER} FROM flow_signal_v1.register_waiter(
    p_run_id => md5(:n)::uuid, p_step_key => 'step', p_signal_name => 'signal'
);"""
DELIVER = f"""
SELECT {DELIVERY} FROM flow_signal_v1.deliver_signal(
    p_run_id => md5(:n)::uuid, p_signal_name => 'signal', p_payload_json => :payload
);"""
DELIVER_EARLY = f"""
SELECT {DELIVERY} FROM flow_signal_v1.deliver_signal(
    p_run_id => md5(:n)::uuid, p_signal_name => 'signal', p_payload_json => :payload, p_buffer_until => '9999-01-01'
);"""
GET = f"SELECT {WAITER} FROM flow_signal_v1.get_waiter(p_run_id => md5(:n)::uuid, p_step_key => 'step');"
REMOVE = f"SELECT {WAITER} FROM flow_signal_v1.remove_waiter(p_run_id => md5(:n)::uuid, p_step_key => 'step');"
CLAIM = f"SELECT {WAITER} FROM flow_signal_v1.claim_waiters(p_queue => 'queue', p_limit => 100, p_lease => '1 hour');"

RUNS = "ARRAY(SELECT md5(n::text)::uuid FROM generate_series(%(first)s::bigint, %(last)s) AS n)"
WAIT = f"""
SELECT count(w.run_id)
FROM flow_signal_v1.register_waiters(
    {RUNS}, array_fill('step'::text, ARRAY[%(last)s - %(first)s + 1]),
    array_fill('signal'::text, ARRAY[%(last)s - %(first)s + 1])
) AS w"""
WAIT_IN_QUEUE = WAIT.replace(") AS w", ", p_queue => 'queue') AS w")
GIVE = f"""
SELECT count(d.run_id)
FROM flow_signal_v1.deliver_signals(
    {RUNS}, array_fill('signal'::text, ARRAY[%(last)s - %(first)s + 1]),
    array_fill('true'::text, ARRAY[%(last)s - %(first)s + 1])
) AS d"""

COUNT = "SELECT count(*) = %(count)s FROM flow_signal.flow_signal_waiters WHERE step_key = 'step' AND {}"
DELIVERED = COUNT.format(f"payload_json::text = {PAYLOAD}")
NONE = "SELECT count(*) = 0 FROM flow_signal.flow_signal_waiters WHERE step_key = 'step'"


def many(function: str, columns: str, arguments: str, size: int) -> str:
    return f"""
SELECT {columns} FROM flow_signal_v1.{function}(
    p_run_ids => ARRAY(SELECT md5(g::text)::uuid FROM generate_series(:n * {size}, :n * {size} + {size - 1}) AS g),
    p_signal_names => array_fill('signal'::text, ARRAY[{size}]),
    {arguments}
);"""


def deliver_many(work: Work) -> Job:
    payloads = f"p_payloads_json => array_fill(:payload::text, ARRAY[{work.signals}])"
    return Job(script=many("deliver_signals", DELIVERY, payloads, work.signals), before=WAIT, done=DELIVERED)


def register_many(work: Work) -> Job:
    steps = f"p_step_keys => array_fill('step'::text, ARRAY[{work.signals}])"
    return Job(script=many("register_waiters", WAITER, steps, work.signals), done=COUNT.format("true"))


def install(database: Database) -> None:
    migrate.migrate(database.conninfo())
    database.execute(f"GRANT flow_signal_engine, flow_signal_sender TO {ROLE}")
    database.execute(WAIT.replace("'step'", "'other'"), first=-1000, last=-1)


FLOW_SIGNAL = Contender(
    name="flow_signal",
    label="flow-signal",
    install=install,
    jobs={
        Work.LIFECYCLE: Job(script=REGISTER + DELIVER + GET + REMOVE, done=NONE),
        Work.DELIVER: Job(script=DELIVER, before=WAIT, done=DELIVERED),
        Work.ALREADY_DELIVERED: Job(
            script=DELIVER, before=f"{WAIT}; {GIVE}", done=COUNT.format("payload_json::text = 'true'")
        ),
        Work.NOT_FOUND: Job(script=DELIVER, done=NONE),
        Work.EARLY: Job(script=DELIVER_EARLY + REGISTER, done=DELIVERED),
        Work.CLAIM: Job(
            script=CLAIM,
            before=f"{WAIT_IN_QUEUE}; {GIVE}",
            done=COUNT.format("due_at > clock_timestamp()"),
        ),
        **{work: deliver_many(work) for work in (Work.DELIVER_10, Work.DELIVER_100, Work.DELIVER_1000)},
        **{work: register_many(work) for work in (Work.REGISTER_10, Work.REGISTER_100, Work.REGISTER_1000)},
    },
)
