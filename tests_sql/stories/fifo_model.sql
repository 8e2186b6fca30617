-- Whatever is done in a run, its waiters, verdicts and signals are those of a naive model.
BEGIN;
SELECT plan(101);
\ir ../helpers.psql

-- What the calls cannot do: see the buffered signals, and make a waiter older or younger.
CREATE FUNCTION pg_temp.stored_signals(p_run_id uuid)
RETURNS text
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT string_agg(
    format('%s %s %s', b.signal_name, b.payload_json, b.delivery_id), ', '
    ORDER BY b.signal_name, b.position
)
FROM flow_signal.flow_signal_buffered_signals AS b
WHERE b.run_id = p_run_id
$function$;
CREATE FUNCTION pg_temp.date_waiter(p_run_id uuid, p_step_key text, p_created_at timestamptz)
RETURNS void
LANGUAGE sql
SECURITY DEFINER
AS $function$
UPDATE flow_signal.flow_signal_waiters
SET created_at = p_created_at
WHERE run_id = p_run_id AND step_key = p_step_key
$function$;

SET LOCAL ROLE flow_signal_engine;
CREATE TEMP TABLE model_waiters (
    step_key text COLLATE "C" PRIMARY KEY,
    signal_name text,
    created_at timestamptz,
    expires_at timestamptz,
    delivered boolean DEFAULT false,
    payload_json text
) ON COMMIT DROP;
CREATE TEMP TABLE model_receipts (
    signal_name text,
    delivery_id text,
    step_key text,
    payload_json text,
    number integer GENERATED ALWAYS AS IDENTITY
) ON COMMIT DROP;
CREATE TEMP TABLE model_signals (
    "position" integer GENERATED ALWAYS AS IDENTITY,
    signal_name text,
    payload_json text,
    delivery_id text,
    dead boolean DEFAULT false
) ON COMMIT DROP;
CREATE TEMP TABLE outcomes (operation text, outcome text) ON COMMIT DROP;

CREATE FUNCTION pg_temp.model_state(p_waiter model_waiters)
RETURNS text
LANGUAGE sql
AS $function$
SELECT CASE
    WHEN p_waiter.delivered THEN 'delivered'
    WHEN p_waiter.expires_at <= clock_timestamp() THEN 'expired'
    ELSE 'waiting'
END
$function$;

CREATE FUNCTION pg_temp.model_register(
    p_step_key text, p_signal_name text, p_expires_at timestamptz
)
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_waiter model_waiters;
    v_signal model_signals;
BEGIN
    SELECT * INTO v_waiter FROM model_waiters AS w WHERE w.step_key = p_step_key;
    IF v_waiter.delivered AND v_waiter.signal_name <> p_signal_name THEN
        RETURN 'WS001';
    ELSIF NOT FOUND OR NOT v_waiter.delivered THEN
        INSERT INTO model_waiters (step_key, signal_name, expires_at)
        VALUES (p_step_key, p_signal_name, p_expires_at)
        ON CONFLICT (step_key) DO UPDATE
        SET signal_name = excluded.signal_name, expires_at = excluded.expires_at;
        SELECT * INTO v_signal
        FROM model_signals AS s
        WHERE s.signal_name = p_signal_name AND NOT s.dead
        ORDER BY s.position LIMIT 1;
        IF FOUND AND (p_expires_at <= clock_timestamp()) IS NOT TRUE THEN
            DELETE FROM model_signals AS s WHERE s.position = v_signal.position;
            UPDATE model_waiters AS w
            SET delivered = true, payload_json = v_signal.payload_json
            WHERE w.step_key = p_step_key;
            INSERT INTO model_receipts
            VALUES (p_signal_name, v_signal.delivery_id, p_step_key, v_signal.payload_json);
        END IF;
    END IF;
    RETURN (
        SELECT concat_ws(' ', pg_temp.model_state(w), w.payload_json)
        FROM model_waiters AS w WHERE w.step_key = p_step_key
    );
END
$function$;

CREATE FUNCTION pg_temp.model_deliver(
    p_signal_name text, p_payload_json text, p_delivery_id text, p_buffer_until timestamptz
)
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_known text;
    v_payload_json text;
    v_waiter model_waiters;
BEGIN
    SELECT concat('delivered ', r.step_key, ' (replayed)'), r.payload_json
    INTO v_known, v_payload_json
    FROM model_receipts AS r
    WHERE r.signal_name = p_signal_name AND r.delivery_id = p_delivery_id
    UNION ALL
    SELECT 'buffered (replayed)', s.payload_json
    FROM model_signals AS s
    WHERE s.signal_name = p_signal_name AND s.delivery_id = p_delivery_id AND NOT s.dead;
    IF FOUND THEN
        RETURN CASE WHEN v_payload_json = p_payload_json THEN v_known ELSE 'WS002' END;
    END IF;

    SELECT w.* INTO v_waiter
    FROM model_waiters AS w
    WHERE w.signal_name = p_signal_name AND pg_temp.model_state(w) = 'waiting'
    ORDER BY w.created_at, w.step_key LIMIT 1;
    IF FOUND THEN
        UPDATE model_waiters AS w
        SET delivered = true, payload_json = p_payload_json
        WHERE w.step_key = v_waiter.step_key;
        INSERT INTO model_receipts
        VALUES (p_signal_name, p_delivery_id, v_waiter.step_key, p_payload_json);
        RETURN 'delivered ' || v_waiter.step_key;
    ELSIF p_buffer_until > clock_timestamp() THEN
        INSERT INTO model_signals (signal_name, payload_json, delivery_id)
        VALUES (p_signal_name, p_payload_json, p_delivery_id);
        RETURN 'buffered';
    END IF;

    RETURN coalesce((
        SELECT CASE WHEN w.delivered THEN 'already_delivered ' ELSE 'expired ' END || w.step_key
        FROM model_waiters AS w
        WHERE w.signal_name = p_signal_name
        ORDER BY w.delivered DESC, w.created_at, w.step_key LIMIT 1
    ), 'not_found');
END
$function$;

CREATE FUNCTION pg_temp.model_deliver_to_step(
    p_step_key text, p_payload_json text, p_delivery_id text
)
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_waiter model_waiters;
    v_known text;
    v_payload_json text;
BEGIN
    SELECT * INTO v_waiter FROM model_waiters AS w WHERE w.step_key = p_step_key;
    SELECT k.verdict, k.payload_json
    INTO v_known, v_payload_json
    FROM (
        SELECT
            concat('delivered ', r.step_key, ' (replayed)'), r.payload_json,
            r.step_key = p_step_key, r.number
        FROM model_receipts AS r
        WHERE r.delivery_id = p_delivery_id
            AND (r.step_key = p_step_key OR r.signal_name = v_waiter.signal_name)
        UNION ALL
        SELECT 'buffered (replayed)', s.payload_json, false, 0
        FROM model_signals AS s
        WHERE s.delivery_id = p_delivery_id
            AND s.signal_name = v_waiter.signal_name AND NOT s.dead
    ) AS k (verdict, payload_json, own, number)
    ORDER BY k.own DESC, k.number DESC LIMIT 1;
    IF FOUND THEN
        RETURN CASE WHEN v_payload_json = p_payload_json THEN v_known ELSE 'WS002' END;
    ELSIF v_waiter.step_key IS NULL THEN
        RETURN 'not_found';
    ELSIF pg_temp.model_state(v_waiter) <> 'waiting' THEN
        RETURN CASE WHEN v_waiter.delivered THEN 'already_delivered ' ELSE 'expired ' END
            || p_step_key;
    END IF;
    UPDATE model_waiters AS w
    SET delivered = true, payload_json = p_payload_json
    WHERE w.step_key = p_step_key;
    INSERT INTO model_receipts
    VALUES (v_waiter.signal_name, p_delivery_id, p_step_key, p_payload_json);
    RETURN 'delivered ' || p_step_key;
END
$function$;

-- The same operations on both; returns the first difference.
CREATE FUNCTION pg_temp.difference(p_run text, p_operations integer)
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_run_id uuid := md5(p_run)::uuid;
    -- Text of a collation that is no default: each comparison has to say its own.
    v_run text COLLATE "POSIX" := p_run;
    v_deadlines timestamptz [] := '{NULL, 2001-01-01, 2001-01-02, 2990-01-01, 2990-01-02}';
    v_operation text;
    v_step_key text;
    v_signal_name text;
    v_payload_json text;
    v_delivery_id text;
    v_instant timestamptz;
    v_done text := '';
    v_want text;
    v_have text;
BEGIN
    TRUNCATE model_waiters, model_receipts, model_signals;
    FOR v_number IN 1..p_operations LOOP
        v_operation := (
            '{register, register, register, deliver, deliver, deliver, deliver, remove, die, '
            'date, date, register, step, step, withdraw, remove run}'::text []
        )[1 + floor(random() * CASE WHEN v_number % 20 = 0 THEN 16 ELSE 15 END)];
        v_step_key := substr('aBcDeF', 1 + floor(random() * 6)::integer, 1);
        v_signal_name := substr('ggggs', 1 + floor(random() * 5)::integer, 1);
        v_payload_json := 1 + floor(random() * 2);
        v_delivery_id := nullif(greatest(floor(random() * 8) - 4, 0), 0);
        v_instant := v_deadlines[1 + floor(random() * 5)];
        v_want := NULL;
        v_have := NULL;
        BEGIN
            CASE v_operation
                WHEN 'register' THEN
                    v_done := format('register %s %s %s', v_step_key, v_signal_name, v_instant);
                    v_want := pg_temp.model_register(v_step_key, v_signal_name, v_instant);
                    v_have := pg_temp.register(v_run, v_step_key, v_instant, v_signal_name);
                    UPDATE model_waiters AS m
                    SET created_at = w.created_at
                    FROM flow_signal_v1.get_waiter(
                        p_run_id => v_run_id, p_step_key => v_step_key
                    ) AS w
                    WHERE m.step_key = v_step_key AND m.created_at IS NULL;
                WHEN 'deliver' THEN
                    v_done := format(
                        'deliver %s %s %s %s', v_signal_name, v_payload_json, v_delivery_id,
                        v_instant
                    );
                    v_want := pg_temp.model_deliver(
                        v_signal_name, v_payload_json, v_delivery_id, v_instant
                    );
                    v_have := pg_temp.deliver(
                        v_run, v_payload_json, v_delivery_id, v_instant, v_signal_name
                    );
                WHEN 'step' THEN
                    v_done := format(
                        'deliver to %s %s %s', v_step_key, v_payload_json, v_delivery_id
                    );
                    v_want := pg_temp.model_deliver_to_step(
                        v_step_key, v_payload_json, v_delivery_id
                    );
                    SELECT concat_ws(
                        ' ', d.status, d.step_key, CASE WHEN d.replayed THEN '(replayed)' END
                    )
                    INTO v_have
                    FROM flow_signal_v1.deliver_to_step(
                        p_run_id => v_run_id, p_step_key => v_step_key,
                        p_payload_json => v_payload_json, p_delivery_id => v_delivery_id
                    ) AS d;
                WHEN 'withdraw' THEN
                    v_done := format('withdraw the oldest %s', v_signal_name);
                    DELETE FROM model_signals AS s
                    WHERE s.position = (
                        SELECT o.position FROM model_signals AS o
                        WHERE o.signal_name = v_signal_name
                        ORDER BY o.position LIMIT 1
                    )
                    RETURNING concat_ws(
                        ' ', CASE WHEN s.dead THEN 'dead' ELSE 'buffered' END, s.payload_json
                    ) INTO v_want;
                    SELECT concat_ws(' ', b.state, b.payload_json)
                    INTO v_have
                    FROM flow_signal_v1.list_buffered_signals(
                        p_run_id => v_run_id, p_signal_name => v_signal_name, p_limit => 1
                    ) AS l
                    CROSS JOIN LATERAL flow_signal_v1.withdraw_signal(
                        p_run_id => l.run_id, p_signal_name => l.signal_name,
                        p_position => l.position
                    ) AS b;
                WHEN 'remove run' THEN
                    v_done := 'remove the run';
                    v_want := (SELECT count(*) FROM model_waiters);
                    TRUNCATE model_waiters, model_receipts, model_signals;
                    v_have := flow_signal_v1.remove_run(p_run_id => v_run_id);
                WHEN 'remove' THEN
                    v_done := format('remove %s', v_step_key);
                    DELETE FROM model_waiters AS w
                    WHERE w.step_key = v_step_key
                    RETURNING concat_ws(
                        ' ', pg_temp.model_state(w), w.payload_json
                    ) INTO v_want;
                    v_have := pg_temp.remove(v_run, v_step_key);
                WHEN 'die' THEN
                    v_done := format('let buffered %s die', v_payload_json);
                    UPDATE model_signals AS s SET dead = true
                    WHERE s.payload_json = v_payload_json;
                    PERFORM pg_temp.let_buffered_die(p_run, v_payload_json);
                WHEN 'date' THEN
                    v_instant := timestamptz '2020-01-01' + floor(
                        random() * 3
                    ) * interval '1 day';
                    v_done := format('date %s %s', v_step_key, v_instant);
                    UPDATE model_waiters AS w
                    SET created_at = v_instant
                    WHERE w.step_key = v_step_key;
                    PERFORM pg_temp.date_waiter(v_run_id, v_step_key, v_instant);
            END CASE;
        EXCEPTION
            WHEN SQLSTATE 'WS001' OR SQLSTATE 'WS002' THEN
                v_have := SQLSTATE;
        END;

        INSERT INTO outcomes VALUES (v_operation, v_have);
        IF v_want IS NOT DISTINCT FROM v_have THEN
            v_done := v_done || ': then the waiters';
            SELECT string_agg(concat_ws(
                ' ', w.step_key, w.signal_name, pg_temp.model_state(w), w.payload_json,
                w.created_at, w.expires_at
            ), ', ' ORDER BY w.step_key)
            INTO v_want
            FROM model_waiters AS w;
            SELECT string_agg(concat_ws(
                ' ', w.step_key, w.signal_name, w.state, w.payload_json, w.created_at,
                w.expires_at
            ), ', ' ORDER BY w.step_key COLLATE "C")
            INTO v_have
            FROM unnest(ARRAY['a', 'B', 'c', 'D', 'e', 'F']) AS s (step_key)
            CROSS JOIN LATERAL flow_signal_v1.get_waiter(
                p_run_id => v_run_id, p_step_key => s.step_key COLLATE "POSIX"
            ) AS w;
        END IF;
        IF v_want IS NOT DISTINCT FROM v_have THEN
            v_done := v_done || ' and the buffered signals';
            v_have := pg_temp.stored_signals(v_run_id);
            SELECT string_agg(
                format('%s %s %s', s.signal_name, s.payload_json, s.delivery_id), ', '
                ORDER BY s.signal_name, s.position
            )
            INTO v_want
            FROM model_signals AS s;
        END IF;
        IF v_want IS DISTINCT FROM v_have THEN
            RETURN format(
                E'operation %s: %s\nwant %s\nhave %s', v_number, v_done, v_want, v_have
            );
        END IF;
    END LOOP;
    RETURN NULL;
END
$function$;

SELECT is(
    pg_temp.difference('seed ' || s.seed, 80), NULL, format('80 operations of seed %s', s.seed)
)
FROM generate_series(1, 100) AS s (seed)
CROSS JOIN LATERAL setseed(s.seed / 100.0) AS set_seed;

SELECT set_eq(
    $$SELECT
        o.operation,
        CASE
            WHEN o.operation = 'remove run' THEN 'removed'
            ELSE regexp_replace(o.outcome, ' \w(?=$| )', '')
        END
    FROM outcomes AS o$$,
    $$VALUES
    ('register', 'waiting'), ('register', 'expired'), ('register', 'delivered'),
    ('register', 'WS001'),
    ('deliver', 'delivered'), ('deliver', 'delivered (replayed)'), ('deliver', 'buffered'),
    ('deliver', 'buffered (replayed)'), ('deliver', 'already_delivered'),
    ('deliver', 'expired'),
    ('deliver', 'not_found'), ('deliver', 'WS002'),
    ('step', 'delivered'), ('step', 'delivered (replayed)'), ('step', 'buffered (replayed)'),
    ('step', 'already_delivered'), ('step', 'expired'), ('step', 'not_found'),
    ('step', 'WS002'),
    ('withdraw', 'buffered'), ('withdraw', 'dead'), ('withdraw', NULL), ('remove run', 'removed'),
    ('remove', 'waiting'), ('remove', 'expired'), ('remove', 'delivered'), ('remove', NULL),
    ('die', NULL), ('date', NULL)$$,
    'and everything has happened'
);

SELECT * FROM finish();
ROLLBACK;
