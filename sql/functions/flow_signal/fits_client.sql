CREATE OR REPLACE FUNCTION flow_signal.fits_client(p_text text)
RETURNS boolean
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- What the server does with the text when it sends it. It checks the bytes of SQL_ASCII, and
    -- converts those of every other encoding.
    IF getdatabaseencoding() = 'SQL_ASCII' THEN
        PERFORM convert_from(convert_to(p_text, 'SQL_ASCII'), pg_client_encoding());
    ELSE
        PERFORM convert_to(p_text, pg_client_encoding());
    END IF;
    RETURN true;
EXCEPTION
    WHEN untranslatable_character OR character_not_in_repertoire THEN
        RETURN false;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.fits_client(text) FROM public;
COMMENT ON FUNCTION flow_signal.fits_client(text) IS
'Whether the client''s encoding can carry a text: if not, sending it would end the call.';
