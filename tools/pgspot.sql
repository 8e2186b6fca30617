-- Read by pgspot before the parts: the schemas, which sql/install/owner.sql makes dynamically,
-- and the search_path that begin.sql sets.
SET LOCAL search_path = pg_catalog, pg_temp;
CREATE SCHEMA flow_signal;
CREATE SCHEMA flow_signal_v1;
