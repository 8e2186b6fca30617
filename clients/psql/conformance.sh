#!/usr/bin/env bash
# Runs ../conformance.json: two sessions of psql make the calls; a third one, which reads the JSON, writes and judges them.
set -euo pipefail
cd "$(dirname "$0")"
pipes=$(mktemp -d)
trap 'rm -rf "$pipes"' EXIT
FIELD=$'\x1f' ROW=$'\x1e' NONE=$'\x02'

declare -A to from
for name in first second judge; do
    mkfifo "$pipes/$name.in" "$pipes/$name.out"
    psql -XqAt -F "$FIELD" -R "$ROW" -P "null=$NONE" <"$pipes/$name.in" >"$pipes/$name.out" 2>/dev/null &
    exec {to[$name]}>"$pipes/$name.in" {from[$name]}<"$pipes/$name.out"
done

ask() {  # ask SESSION STATEMENT: the rows are in $answer then, the SQLSTATE and the number of rows in $end
    printf '%s;\n\\echo\n\\echo @end :SQLSTATE :ROW_COUNT\n' "$2" >&"${to[$1]}"
    answer='' line=''
    while IFS= read -r line <&"${from[$1]}" && [[ $line != '@end '* ]]; do answer+=$line$'\n'; done
    end=${line#@end } answer=${answer%$'\n'} answer=${answer%$'\n'}
}

ask judge BEGIN  # so that the temporary objects stay behind a pooler, too
ask judge 'CREATE TEMPORARY TABLE suite AS SELECT CAST($suite$'"$(<../conformance.json)"'$suite$ AS jsonb) AS suite'
ask judge 'CREATE TEMPORARY TABLE known (name text PRIMARY KEY, value text)'
ask judge 'CREATE TEMPORARY TABLE steps AS
    SELECT c.n AS in_case, s.n, s.step FROM suite, jsonb_array_elements(suite -> $$cases$$) WITH ORDINALITY AS c (case_, n),
        jsonb_array_elements(c.case_ -> $$steps$$) WITH ORDINALITY AS s (step, n)'
ask judge "CREATE FUNCTION pg_temp.step(p_case int, p_step int) RETURNS jsonb LANGUAGE plpgsql AS \$f\$
    DECLARE v_step text; v_known record;
    BEGIN
        SELECT step INTO v_step FROM steps WHERE in_case = p_case AND n = p_step;
        FOR v_known IN SELECT * FROM known LOOP v_step := replace(v_step, v_known.name, v_known.value); END LOOP;
        RETURN v_step;
    END \$f\$"
ask judge "CREATE FUNCTION pg_temp.statement(step jsonb) RETURNS text LANGUAGE sql AS \$f\$
    SELECT coalesce(step ->> 'sql', format('SELECT %s FROM flow_signal_v1.%s(%s)',
        coalesce((SELECT string_agg(format('CAST(%s AS text)', c), ', ') FROM jsonb_array_elements_text(step -> 'columns') AS c), '1'),
        step ->> 'call', (
            SELECT string_agg(format('%s => CAST(%s AS %s)', a.key, quote_nullable(CASE jsonb_typeof(a.value)
                WHEN 'array' THEN CAST(ARRAY(SELECT jsonb_array_elements_text(a.value)) AS text) ELSE a.value #>> '{}' END),
                suite -> 'functions' -> (step ->> 'call') ->> a.key), ', ')
            FROM suite, jsonb_each(step -> 'args') AS a))) \$f\$"
ask judge "CREATE FUNCTION pg_temp.judge(step jsonb, answer text, sqlstate text, row_count int) RETURNS boolean LANGUAGE plpgsql AS \$f\$
    DECLARE v_wanted text; v_got text; v_row bigint; v_field bigint; v_rows text[] := string_to_array(answer, '$ROW');
    BEGIN
        IF step ? 'error' OR sqlstate <> '00000' THEN RETURN step ->> 'error' = sqlstate; END IF;
        IF NOT step ? 'rows' THEN RETURN true; END IF;
        IF jsonb_array_length(step -> 'rows') <> row_count THEN RETURN false; END IF;
        FOR v_row, v_field, v_wanted IN
            SELECT r.n, f.n, f.value FROM jsonb_array_elements(step -> 'rows') WITH ORDINALITY AS r (fields, n),
                jsonb_array_elements_text(r.fields) WITH ORDINALITY AS f (value, n)
        LOOP
            v_got := nullif(coalesce((string_to_array(v_rows[v_row], '$FIELD'))[v_field], ''), '$NONE');
            IF v_wanted ~ '^<.*>\$' AND v_got IS NOT NULL THEN
                INSERT INTO known VALUES (v_wanted, v_got) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
            ELSIF v_wanted IS DISTINCT FROM v_got THEN RETURN false;
            END IF;
        END LOOP;
        RETURN true;
    END \$f\$"

ask judge 'SELECT in_case, count(*) FROM steps GROUP BY in_case ORDER BY in_case'
IFS=$ROW read -r -d '' -a cases <<<"$answer" || true
failed=0
for entry in "${cases[@]}"; do
    case=${entry%%"$FIELD"*} steps=${entry##*"$FIELD"} steps=${steps%%$'\n'*}
    ask judge "TRUNCATE known; INSERT INTO known VALUES ('<run>', gen_random_uuid()), ('<other>', gen_random_uuid())"
    for ((step = 1; step <= steps; step++)); do
        ask judge "SELECT pg_temp.statement(pg_temp.step($case, $step))" && statement=$answer
        ask judge "SELECT coalesce(step ->> 'on', 'first') FROM pg_temp.step($case, $step) AS step" && on=$answer
        ask "$on" "$statement"
        ask judge "SELECT pg_temp.judge(pg_temp.step($case, $step), \$answer\$$answer\$answer\$, '${end% *}', ${end#* })"
        if [[ $answer != t ]]; then
            echo "FAILED case $case, step $step: $statement: $end" && failed=$((failed + 1)) && break
        fi
    done
    ask first ROLLBACK && ask second ROLLBACK
    ask judge "SELECT string_agg(quote_literal(value), ', ') FROM known WHERE name IN ('<run>', '<other>')"
    ask first "SELECT flow_signal_v1.remove_run(CAST(id AS uuid)) FROM unnest(ARRAY[$answer]) AS id"
done
echo "$((${#cases[@]} - failed)) of ${#cases[@]} cases passed"
exit $((failed > 0))
