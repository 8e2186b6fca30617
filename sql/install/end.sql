DO $overloads$
BEGIN
    ASSERT NOT EXISTS (
        SELECT FROM pg_proc AS p
        WHERE p.pronamespace = 'flow_signal_v1'::regnamespace
            AND '{@PARTS@}'::text [] @> ARRAY[format('functions/flow_signal_v1/%s.sql', p.proname)]
        GROUP BY p.proname
        HAVING count(*) > 1
    ), 'two functions of the API have one name, so that calls are ambiguous';
END
$overloads$;

DO $report$
BEGIN
    RAISE NOTICE 'flow-signal: % is installed in database %', '@VERSION@', current_database();
END
$report$;
