-- What the desk knows of an approval besides its waiter, and what became of it.
CREATE SCHEMA approvals;

CREATE TABLE approvals.requests (
    run_id uuid,
    step_key text,
    title text NOT NULL,
    details text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- written by the worker: approved, rejected, answered (by a machine, otherwise) or expired
    outcome text,
    decided_by text,
    decided_at timestamptz,
    comment text,
    PRIMARY KEY (run_id, step_key)
);
CREATE INDEX requests_open_idx ON approvals.requests (run_id, step_key) WHERE outcome IS NULL;

-- Who was sent which token. Like flow-signal, it keeps only a hash.
CREATE TABLE approvals.links (
    token_hash bytea PRIMARY KEY,
    run_id uuid NOT NULL,
    step_key text NOT NULL,
    recipient text NOT NULL
);

-- An approval as a page shows it. The waiter has the answer until the worker has taken it over.
CREATE FUNCTION approvals.find_request(p_run_id uuid, p_step_key text)
RETURNS TABLE (
    title text, details text, asked_by text, asked_at timestamptz, state text,
    expires_at timestamptz, decided_by text, decided_at timestamptz, comment text
)
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
SELECT
    r.title, r.details, r.asked_by, r.asked_at,
    CASE
        WHEN r.outcome IS NOT NULL THEN r.outcome
        WHEN w.state IS DISTINCT FROM 'delivered' THEN coalesce(w.state, 'removed')
        WHEN w.payload_json ->> 'decision' IN ('approved', 'rejected')
            THEN w.payload_json ->> 'decision'
        ELSE 'answered'
    END,
    w.expires_at,
    coalesce(r.decided_by, w.payload_json ->> 'by'),
    coalesce(r.decided_at, w.delivered_at),
    coalesce(r.comment, w.payload_json ->> 'comment')
FROM approvals.requests AS r
LEFT JOIN LATERAL flow_signal_v1.get_waiter(
    p_run_id => r.run_id, p_step_key => r.step_key
) AS w ON true
WHERE r.run_id = p_run_id AND r.step_key = p_step_key
$$;

CREATE FUNCTION approvals.find_link(p_token_hash bytea)
RETURNS TABLE (run_id uuid, step_key text, recipient text)
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
SELECT l.run_id, l.step_key, l.recipient FROM approvals.links AS l WHERE l.token_hash = p_token_hash
$$;

-- One login for each part, each with the rights that it needs and no others.
CREATE ROLE approvals_desk LOGIN;
GRANT flow_signal_reader, flow_signal_sender TO approvals_desk;
CREATE ROLE approvals_link LOGIN;
GRANT flow_signal_redeemer TO approvals_link;
CREATE ROLE approvals_worker LOGIN;
GRANT flow_signal_engine TO approvals_worker;

REVOKE ALL ON FUNCTION
approvals.find_request(uuid, text), approvals.find_link(bytea) FROM public;
GRANT USAGE ON SCHEMA approvals TO approvals_desk, approvals_link, approvals_worker;
GRANT SELECT ON approvals.requests TO approvals_desk;
GRANT EXECUTE ON FUNCTION approvals.find_request(uuid, text) TO approvals_desk, approvals_link;
GRANT EXECUTE ON FUNCTION approvals.find_link(bytea) TO approvals_link;
GRANT SELECT, INSERT, UPDATE ON approvals.requests TO approvals_worker;
GRANT INSERT ON approvals.links TO approvals_worker;
