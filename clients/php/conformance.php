<?php
// Runs ../conformance.json.
declare(strict_types=1);
require __DIR__ . '/example.php';

$suite = json_decode(file_get_contents(__DIR__ . '/../conformance.json'), false, 512, JSON_THROW_ON_ERROR);
$connections = ['first' => connect(), 'second' => connect()];

function rows(PDO $db, string $sql, ?array $parameters = null): array
{
    $statement = $parameters === null ? $db->query($sql) : $db->prepare($sql);
    if ($parameters !== null) {
        $statement->execute($parameters);
    }
    return $statement->columnCount() ? $statement->fetchAll(PDO::FETCH_NUM) : [];
}

/** A value as text. PDO has no arrays: this is how one looks as a literal. */
function text(mixed $value): ?string
{
    $quoted = fn (?string $text) => $text === null ? 'NULL' : '"' . addcslashes($text, '"\\') . '"';
    return match (true) {
        is_array($value) => '{' . implode(',', array_map($quoted, $value)) . '}',
        is_bool($value) => $value ? 'true' : 'false',
        default => $value === null ? null : (string) $value,
    };
}

function problem(object $suite, object $step, PDO $db, array &$known): ?string
{
    try {
        if (isset($step->sql)) {
            $rows = rows($db, $step->sql);
        } else {
            $columns = array_map(fn ($name) => "CAST($name AS text)", $step->columns ?? ['1']);
            $arguments = get_object_vars($step->args);
            $types = $suite->functions->{$step->call};
            $named = array_map(fn ($name) => "$name => CAST(? AS {$types->$name})", array_keys($arguments));
            $sql = sprintf('SELECT %s FROM flow_signal_v1.%s(%s)', implode(', ', $columns), $step->call, implode(', ', $named));
            $rows = rows($db, $sql, array_map(text(...), array_values($arguments)));
        }
    } catch (PDOException $error) {
        return $error->getCode() === ($step->error ?? null) ? null : $error->getMessage();
    }
    $answer = 'the answer is ' . json_encode($rows);
    $wanted = $step->rows ?? $rows;
    if (isset($step->error) || count($wanted) !== count($rows)) {
        return $answer;
    }
    foreach (array_merge([], ...$wanted) as $n => $value) {
        $got = array_merge([], ...$rows)[$n];
        if (preg_match('/^<.*>$/', $value ?? '') && $got !== null) {
            $known[$value] = $got;
        } elseif ($value !== $got) {
            return $answer;
        }
    }
    return null;
}

$failed = 0;
foreach ($suite->cases as $case) {
    [$ids] = rows($connections['first'], 'SELECT CAST(gen_random_uuid() AS text), CAST(gen_random_uuid() AS text)');
    $known = ['<run>' => $ids[0], '<other>' => $ids[1]];
    foreach ($case->steps as $step) {
        $text = strtr(json_encode($step, JSON_THROW_ON_ERROR), $known);
        if ($problem = problem($suite, json_decode($text), $connections[$step->on ?? 'first'], $known)) {
            echo "FAILED $case->name\n$text\n$problem\n";
            $failed++;
            break;
        }
    }
    array_map(fn ($db) => rows($db, 'ROLLBACK'), $connections);
    foreach ($ids as $id) {
        rows($connections['first'], 'SELECT flow_signal_v1.remove_run(p_run_id => CAST(? AS uuid))', [$id]);
    }
}
printf("%d of %d cases passed\n", count($suite->cases) - $failed, count($suite->cases));
exit($failed ? 1 : 0);
