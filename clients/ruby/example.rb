# flow-signal from Ruby with pg. Copy the module; what follows it shows it at work.
require 'digest'
require 'json'
require 'pg'
require 'securerandom'
require 'time'

module FlowSignal
  module_function

  # Parks a step. The answer counts: a signal that was kept, or that came before a crash, is there already.
  def park(db, run_id, step, signal, expires_at: nil, channel: nil)
    db.exec_params(<<~SQL, [run_id, step, signal, expires_at&.iso8601(6), channel]).first
      SELECT state, CAST(payload_json AS text) AS payload
      FROM flow_signal_v1.register_waiter(
          p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_signal_name => CAST($3 AS text),
          p_expires_at => CAST($4 AS timestamptz), p_wake_channel => CAST($5 AS text))
    SQL
  end

  # Sends a signal. The payload is JSON text: serialise once, and repeat the same text under the same delivery id.
  def deliver(db, run_id, signal, payload, delivery_id, buffer_until: nil)
    db.exec_params(<<~SQL, [run_id, signal, payload, delivery_id, buffer_until&.iso8601(6)]).first
      SELECT status, step_key, delivered_at, replayed
      FROM flow_signal_v1.deliver_signal(
          p_run_id => CAST($1 AS uuid), p_signal_name => CAST($2 AS text), p_payload_json => CAST($3 AS text),
          p_delivery_id => CAST($4 AS text), p_buffer_until => CAST($5 AS timestamptz))
    SQL
  end

  # What a webhook answers: each verdict is an answer, not an error.
  HTTP_STATUS = {
    'delivered' => 200, 'buffered' => 202, 'not_found' => 404, 'already_delivered' => 409, 'expired' => 410
  }.freeze

  # What a webhook answers to an error, told by its SQLSTATE: 4xx for the sender's mistakes, else repeat.
  def http_status_of_error(error)
    case error.result&.error_field(PG::PG_DIAG_SQLSTATE)
    when '22004', '22023', '22P02', '54001', 'WS003' then 400
    when 'WS002' then 409
    when 'WS004' then 429
    else 503
    end
  end

  # The waiter, or nil; its payload is the JSON text as it was sent.
  def get(db, run_id, step)
    db.exec_params(<<~SQL, [run_id, step]).first
      SELECT state, CAST(payload_json AS text) AS payload
      FROM flow_signal_v1.get_waiter(p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text))
    SQL
  end

  # Waits until a step, parked with the channel after LISTEN, is delivered or expired; outside any transaction.
  def wait_listening(db, run_id, step, poll_seconds: 5)
    while (waiter = get(db, run_id, step)) && waiter['state'] == 'waiting'
      # A deadline that passes notifies nobody, and a lost connection loses notifications: look now and then.
      woken = nil
      loop do
        break unless db.wait_for_notify(poll_seconds) { |_channel, _pid, payload| woken = payload[0, 36] == run_id }
        break if woken
      end
    end
    waiter
  end

  # Where LISTEN is not possible: waits in the database, at most 10 seconds a call.
  def await_waiter(db, run_id, step)
    db.exec_params(<<~SQL, [run_id, step, '10 seconds']).first
      SELECT state, CAST(payload_json AS text) AS payload
      FROM flow_signal_v1.await_waiter(
          p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_max_wait => CAST($3 AS interval))
    SQL
  end

  # A run id for an id that is not a UUID: UUIDv5 of it, in a namespace of your own. Rails: Digest::UUID.uuid_v5
  def run_id_of(id, namespace)
    hash = Digest::SHA1.digest([namespace.delete('-')].pack('H*') + id.to_s.b).bytes.first(16)
    hash[6] = hash[6] & 0x0f | 0x50
    hash[8] = hash[8] & 0x3f | 0x80
    hash.pack('C*').unpack('H8H4H4H4H12').join('-')
  end
end

return unless $PROGRAM_NAME == __FILE__

db = PG.connect # PGHOST, PGUSER ...
listener = PG.connect
run_id = SecureRandom.uuid

# In the caller's transaction: the run and its parked step are committed together.
db.exec('CREATE TEMPORARY TABLE runs (id uuid, state text)')
db.transaction do
  db.exec_params('INSERT INTO runs VALUES (CAST($1 AS uuid), $2)', [run_id, 'parked'])
  puts "parked: #{FlowSignal.park(db, run_id, 'approve', 'approval')['state']}"
end

# Without a type map every value is text: a boolean is 't' or 'f'.
show = ->(verdict) { "#{FlowSignal::HTTP_STATUS.fetch(verdict['status'])} #{verdict['step_key']} #{verdict['replayed'] == 't'}" }
payload = JSON.generate({ approved: true, by: 'Büro' })
puts "delivered: #{show.(FlowSignal.deliver(db, run_id, 'approval', payload, 'webhook-17'))}"
puts "repeated: #{show.(FlowSignal.deliver(db, run_id, 'approval', payload, 'webhook-17'))}"
nobody = FlowSignal.deliver(db, run_id, 'payment', 'null', 'webhook-18')
puts "nobody: #{FlowSignal::HTTP_STATUS.fetch(nobody['status'])}"
kept = FlowSignal.deliver(db, run_id, 'payment', '100.10', 'webhook-19', buffer_until: Time.now + 86_400)
puts "kept: #{FlowSignal::HTTP_STATUS.fetch(kept['status'])}"
begin
  FlowSignal.deliver(db, run_id, 'approval', '{}', 'webhook-17')
rescue PG::Error => e
  puts "refused: #{e.result.error_field(PG::PG_DIAG_SQLSTATE)} #{FlowSignal.http_status_of_error(e)}"
end

taken = FlowSignal.park(db, run_id, 'pay', 'payment')
puts "taken at once: #{taken['state']} #{taken['payload']}"
listener.exec('LISTEN "MyWorker"') # first, and in quotes: p_wake_channel is case-sensitive
FlowSignal.park(listener, run_id, 'ask', 'question', channel: 'MyWorker')
FlowSignal.deliver(db, run_id, 'question', '42', 'webhook-20')
puts "notified: #{FlowSignal.wait_listening(listener, run_id, 'ask')['payload']}"
puts "awaited: #{FlowSignal.await_waiter(db, run_id, 'approve')['payload']}"
puts "run id: #{FlowSignal.run_id_of('order 17', '6ba7b810-9dad-11d1-80b4-00c04fd430c8')}"
db.exec_params('SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => CAST($1 AS uuid))', [run_id])
