# flow-signal from Perl with DBI and DBD::Pg. Copy the functions; what follows them shows them at work.
package FlowSignal;
use v5.24;
use warnings;
use utf8;
use DBI;
use Digest::SHA;

# Nothing is left prepared in the session, so that a transaction pooler may stand in between.
sub connect_to {
    return DBI->connect('dbi:Pg:', undef, undef,    # PGHOST, PGUSER ...
        { RaiseError => 1, PrintError => 0, AutoCommit => 1, pg_enable_utf8 => 1, pg_server_prepare => 0 });
}

# Parks a step. The answer counts: a signal that was kept, or that came before a crash, is there already.
sub park {
    my ($db, $run_id, $step, $signal, %optional) = @_;
    return $db->selectrow_hashref(<<~'SQL', undef, $run_id, $step, $signal, @optional{qw(expires_at channel)});
        SELECT state, CAST(payload_json AS text) AS payload
        FROM flow_signal_v1.register_waiter(
            p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_signal_name => CAST($3 AS text),
            p_expires_at => CAST($4 AS timestamptz), p_wake_channel => CAST($5 AS text))
        SQL
}

# Sends a signal. The payload is JSON text: serialise once, and repeat the same text under the same delivery id.
sub deliver {
    my ($db, $run_id, $signal, $payload, $delivery_id, %optional) = @_;
    return $db->selectrow_hashref(<<~'SQL', undef, $run_id, $signal, $payload, $delivery_id, $optional{buffer_until});
        SELECT status, step_key, delivered_at, replayed
        FROM flow_signal_v1.deliver_signal(
            p_run_id => CAST($1 AS uuid), p_signal_name => CAST($2 AS text), p_payload_json => CAST($3 AS text),
            p_delivery_id => CAST($4 AS text), p_buffer_until => CAST($5 AS timestamptz))
        SQL
}

# What a webhook answers: each verdict is an answer, not an error.
sub http_status {
    my ($verdict) = @_;
    state $codes = { delivered => 200, buffered => 202, not_found => 404, already_delivered => 409, expired => 410 };
    return $codes->{ $verdict->{status} } // die "unknown verdict $verdict->{status}";
}

# What a webhook answers to an error, told by its SQLSTATE: 4xx for the sender's mistakes, else repeat.
sub http_status_of_error {
    my ($sqlstate) = @_;    # $db->state
    return 400 if grep { $_ eq $sqlstate } qw(22004 22023 22P02 54001 WS003);
    return 409 if $sqlstate eq 'WS002';
    return 429 if $sqlstate eq 'WS004';
    return 503;
}

# The waiter, or undef; its payload is the JSON text as it was sent.
sub get {
    my ($db, $run_id, $step) = @_;
    return $db->selectrow_hashref(<<~'SQL', undef, $run_id, $step);
        SELECT state, CAST(payload_json AS text) AS payload
        FROM flow_signal_v1.get_waiter(p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text))
        SQL
}

# Waits until a step, parked with the channel after LISTEN, is delivered or expired; outside any transaction.
sub wait_listening {
    my ($db, $run_id, $step, $poll_seconds) = @_;
    my $socket = '';
    vec($socket, $db->{pg_socket}, 1) = 1;
    my $waiter;
    while (($waiter = get($db, $run_id, $step)) && $waiter->{state} eq 'waiting') {
        # A deadline that passes notifies nobody, and a lost connection loses notifications: look now and then.
        my $notified = $db->pg_notifies || select(my $ready = $socket, undef, undef, $poll_seconds // 5);
        while ($notified && $db->pg_notifies) { }    # each is a reason to look, whatever step it names
    }
    return $waiter;
}

# Where LISTEN is not possible: waits in the database, at most 10 seconds a call.
sub await_waiter {
    my ($db, $run_id, $step) = @_;
    return $db->selectrow_hashref(<<~'SQL', undef, $run_id, $step, '10 seconds');
        SELECT state, CAST(payload_json AS text) AS payload
        FROM flow_signal_v1.await_waiter(
            p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_max_wait => CAST($3 AS interval))
        SQL
}

# A run id for an id that is not a UUID: UUIDv5 of it, in a namespace of your own.
sub run_id_of {
    my ($id, $namespace) = @_;
    utf8::encode($id);
    my @hash = unpack 'C16', Digest::SHA::sha1(pack('H*', $namespace =~ tr/-//dr) . $id);
    $hash[6] = $hash[6] & 0x0f | 0x50;
    $hash[8] = $hash[8] & 0x3f | 0x80;
    return join '-', unpack 'H8H4H4H4H12', pack 'C16', @hash;
}

package main;
return 1 if caller;

binmode STDOUT, ':encoding(UTF-8)';
my $db       = FlowSignal::connect_to();
my $listener = FlowSignal::connect_to();
my ($run_id) = $db->selectrow_array('SELECT gen_random_uuid()');

# In the caller's transaction: the run and its parked step are committed together.
$db->do('CREATE TEMPORARY TABLE runs (id uuid, state text)');
$db->begin_work;
eval {
    $db->do('INSERT INTO runs VALUES (CAST(? AS uuid), ?)', undef, $run_id, 'parked');
    say 'parked: ', FlowSignal::park($db, $run_id, 'approve', 'approval')->{state};
    $db->commit;
} or do { my $error = $@; $db->rollback; die $error };

my $show = sub { join ' ', FlowSignal::http_status($_[0]), $_[0]{step_key}, $_[0]{replayed} ? 'true' : 'false' };
my $payload = '{"approved":true,"by":"Büro"}';
say 'delivered: ', $show->(FlowSignal::deliver($db, $run_id, 'approval', $payload, 'webhook-17'));
say 'repeated: ', $show->(FlowSignal::deliver($db, $run_id, 'approval', $payload, 'webhook-17'));
say 'nobody: ', FlowSignal::http_status(FlowSignal::deliver($db, $run_id, 'payment', 'null', 'webhook-18'));
my ($tomorrow) = $db->selectrow_array(q{SELECT now() + interval '1 day'});
my $kept = FlowSignal::deliver($db, $run_id, 'payment', '100.10', 'webhook-19', buffer_until => $tomorrow);
say 'kept: ', FlowSignal::http_status($kept);
eval { FlowSignal::deliver($db, $run_id, 'approval', '{}', 'webhook-17') }
    or say 'refused: ', $db->state, ' ', FlowSignal::http_status_of_error($db->state);

my $taken = FlowSignal::park($db, $run_id, 'pay', 'payment');
say "taken at once: $taken->{state} $taken->{payload}";
$listener->do('LISTEN "MyWorker"');    # first, and in quotes: p_wake_channel is case-sensitive
FlowSignal::park($listener, $run_id, 'ask', 'question', channel => 'MyWorker');
FlowSignal::deliver($db, $run_id, 'question', '42', 'webhook-20');
say 'notified: ', FlowSignal::wait_listening($listener, $run_id, 'ask')->{payload};
say 'awaited: ', FlowSignal::await_waiter($db, $run_id, 'approve')->{payload};
say 'run id: ', FlowSignal::run_id_of('order 17', '6ba7b810-9dad-11d1-80b4-00c04fd430c8');
$db->do('SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => CAST(? AS uuid))', undef, $run_id);
$_->disconnect for $db, $listener;
