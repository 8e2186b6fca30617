<?php
// flow-signal from PHP with PDO. Copy the functions; what follows them shows them at work.
declare(strict_types=1);

/** Nothing is left prepared in the session, so that a transaction pooler may stand in between. */
function connect(): PDO
{
    $options = [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::PGSQL_ATTR_DISABLE_PREPARES => true];
    return new PDO('pgsql:', null, null, $options);  // PGHOST, PGUSER ...
}

/** Runs one call and returns its row, or null. */
function call(PDO $db, string $sql, array $parameters): ?array
{
    $statement = $db->prepare($sql);
    $statement->execute($parameters);
    return $statement->fetch(PDO::FETCH_ASSOC) ?: null;
}

/** Parks a step. The answer counts: a signal that was kept, or that came before a crash, is there already. */
function park(PDO $db, string $runId, string $step, string $signal, ?string $expiresAt = null, ?string $channel = null): array
{
    return call($db, 'SELECT state, CAST(payload_json AS text) AS payload
        FROM flow_signal_v1.register_waiter(
            p_run_id => CAST(? AS uuid), p_step_key => CAST(? AS text), p_signal_name => CAST(? AS text),
            p_expires_at => CAST(? AS timestamptz), p_wake_channel => CAST(? AS text))',
        [$runId, $step, $signal, $expiresAt, $channel]);
}

/** Sends a signal. $payload is JSON text: serialise once, and repeat the same text under the same delivery id. */
function deliver(PDO $db, string $runId, string $signal, ?string $payload, ?string $deliveryId, ?string $bufferUntil = null): array
{
    return call($db, 'SELECT status, step_key, delivered_at, replayed
        FROM flow_signal_v1.deliver_signal(
            p_run_id => CAST(? AS uuid), p_signal_name => CAST(? AS text), p_payload_json => CAST(? AS text),
            p_delivery_id => CAST(? AS text), p_buffer_until => CAST(? AS timestamptz))',
        [$runId, $signal, $payload, $deliveryId, $bufferUntil]);
}

/** What a webhook answers: each verdict is an answer, not an error. */
function httpStatus(array $verdict): int
{
    return match ($verdict['status']) {
        'delivered' => 200,
        'buffered' => 202,
        'not_found' => 404,
        'already_delivered' => 409,
        'expired' => 410,
    };
}

/** What a webhook answers to an error, told by its SQLSTATE: 4xx for the sender's mistakes, else repeat. */
function httpStatusOfError(PDOException $error): int
{
    return match ($error->getCode()) {
        '22004', '22023', '22P02', '54001', 'WS003' => 400,
        'WS002' => 409,
        'WS004' => 429,
        default => 503,
    };
}

/** The waiter, or null; its payload is the JSON text as it was sent. */
function get(PDO $db, string $runId, string $step): ?array
{
    return call($db, 'SELECT state, CAST(payload_json AS text) AS payload
        FROM flow_signal_v1.get_waiter(p_run_id => CAST(? AS uuid), p_step_key => CAST(? AS text))', [$runId, $step]);
}

/** Waits until a step, parked with the channel after LISTEN, is delivered or expired; $db is outside any transaction. */
function waitListening(PDO $db, string $runId, string $step, int $pollMs = 5000): ?array
{
    while (($waiter = get($db, $runId, $step)) && $waiter['state'] === 'waiting') {
        // A deadline that passes notifies nobody, and a lost connection loses notifications: look now and then.
        do {
            $notification = $db->pgsqlGetNotify(PDO::FETCH_ASSOC, $pollMs);
        } while ($notification && substr($notification['payload'], 0, 36) !== $runId);
    }
    return $waiter;
}

/** Where LISTEN is not possible: waits in the database, at most 10 seconds a call. */
function awaitWaiter(PDO $db, string $runId, string $step): ?array
{
    return call($db, 'SELECT state, CAST(payload_json AS text) AS payload
        FROM flow_signal_v1.await_waiter(
            p_run_id => CAST(? AS uuid), p_step_key => CAST(? AS text), p_max_wait => CAST(? AS interval))',
        [$runId, $step, '10 seconds']);
}

/** A run id for an id that is not a UUID: UUIDv5 of it, in a namespace of your own. */
function runIdOf(string $id, string $namespace): string
{
    $hash = sha1(hex2bin(str_replace('-', '', $namespace)) . $id, true);
    $hash[6] = chr(ord($hash[6]) & 0x0f | 0x50);
    $hash[8] = chr(ord($hash[8]) & 0x3f | 0x80);
    return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex(substr($hash, 0, 16)), 4));
}

if (realpath($argv[0]) !== __FILE__) {
    return;
}
$db = connect();
$listener = connect();
$runId = $db->query('SELECT gen_random_uuid()')->fetchColumn();

// In the caller's transaction: the run and its parked step are committed together.
$db->exec('CREATE TEMPORARY TABLE runs (id uuid, state text)');
$db->beginTransaction();
try {
    call($db, 'INSERT INTO runs VALUES (CAST(? AS uuid), ?)', [$runId, 'parked']);
    echo 'parked: ', park($db, $runId, 'approve', 'approval')['state'], "\n";
    $db->commit();
} catch (Throwable $error) {
    $db->rollBack();
    throw $error;
}

$flag = fn (bool $value) => $value ? 'true' : 'false';
$payload = json_encode(['approved' => true, 'by' => 'Büro'], JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR);
$verdict = deliver($db, $runId, 'approval', $payload, 'webhook-17');
echo 'delivered: ', httpStatus($verdict), " $verdict[step_key] ", $flag($verdict['replayed']), "\n";
$again = deliver($db, $runId, 'approval', $payload, 'webhook-17');
echo 'repeated: ', httpStatus($again), " $again[step_key] ", $flag($again['replayed']), "\n";
echo 'nobody: ', httpStatus(deliver($db, $runId, 'payment', 'null', 'webhook-18')), "\n";
$tomorrow = (new DateTimeImmutable('+1 day'))->format(DATE_RFC3339_EXTENDED);
echo 'kept: ', httpStatus(deliver($db, $runId, 'payment', '100.10', 'webhook-19', $tomorrow)), "\n";
try {
    deliver($db, $runId, 'approval', '{}', 'webhook-17');
} catch (PDOException $error) {
    echo 'refused: ', $error->getCode(), ' ', httpStatusOfError($error), "\n";
}

$taken = park($db, $runId, 'pay', 'payment');
echo "taken at once: $taken[state] $taken[payload]\n";
$listener->exec('LISTEN "MyWorker"');  // first, and in quotes: p_wake_channel is case-sensitive
park($listener, $runId, 'ask', 'question', null, 'MyWorker');
deliver($db, $runId, 'question', '42', 'webhook-20');
echo 'notified: ', waitListening($listener, $runId, 'ask')['payload'], "\n";
echo 'awaited: ', awaitWaiter($db, $runId, 'approve')['payload'], "\n";
echo 'run id: ', runIdOf('order 17', '6ba7b810-9dad-11d1-80b4-00c04fd430c8'), "\n";
call($db, 'SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => CAST(? AS uuid))', [$runId]);
