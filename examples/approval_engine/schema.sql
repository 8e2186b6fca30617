-- The engine's own state; flow-signal keeps only who waits for what.
CREATE SCHEMA IF NOT EXISTS approval_engine;

CREATE TABLE IF NOT EXISTS approval_engine.orders (
    id uuid PRIMARY KEY,
    state text NOT NULL,
    patience interval NOT NULL
);

-- What was done for an order. Nothing here is unique: work that is done twice is seen twice.
CREATE TABLE IF NOT EXISTS approval_engine.events (
    order_id uuid NOT NULL REFERENCES approval_engine.orders (id),
    event text NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
