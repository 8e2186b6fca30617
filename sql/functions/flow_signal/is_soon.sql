CREATE OR REPLACE FUNCTION flow_signal.is_soon(
    p_interval interval, p_from timestamptz, p_most interval
)
RETURNS boolean
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- The instant is judged, not the interval: a month has no fixed length until it is added. Nor
    -- has a day: where clocks change it has 23 or 25 hours, and 24 are a day, too.
    RETURN p_from + p_interval BETWEEN p_from
        AND greatest(p_from + p_most, p_from + make_interval(secs => extract(EPOCH FROM p_most)));
EXCEPTION
    WHEN datetime_field_overflow OR interval_field_overflow THEN
        RETURN false;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.is_soon(interval, timestamptz, interval) FROM public;
COMMENT ON FUNCTION flow_signal.is_soon(interval, timestamptz, interval) IS
'Whether p_from plus p_interval lies between p_from and p_most later, as applied to the clock.';
