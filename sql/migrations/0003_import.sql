-- why: what an import says of each waiter
-- locks: new objects only
CREATE TYPE flow_signal_v1.imported_waiter AS (
    run_id uuid,
    step_key text,
    outcome text,
    detail text
);
REVOKE ALL ON TYPE flow_signal_v1.imported_waiter FROM public;
COMMENT ON TYPE flow_signal_v1.imported_waiter IS
'What became of a waiter to be imported. outcome: imported; changed (imported, but not quite '
'as it was); present (its step waits here already); conflict (it waits here for something '
'else) or refused. Only the first two change anything here. detail: why.';
