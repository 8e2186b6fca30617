-- raises: 22023, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_arrays(p_lengths integer[], p_dimensions integer)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = '22023',
        MESSAGE = format('arrays of %s elements are not a batch', array_to_string(p_lengths, ', ')),
        DETAIL = format(
            'element n of each array belongs to input n; the most dimensions are %s',
            p_dimensions
        ),
        HINT = 'pass arrays of one dimension and equal length; leave an optional one out';
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_arrays(integer[], integer) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_arrays(integer[], integer) IS
'Refuses arrays of unequal length or of more than one dimension, in the one wording for it.';
