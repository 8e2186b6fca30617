// flow-signal from Node.js with pg (node-postgres). Copy the functions; main() at the end shows them at work.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { runIdOf } from './run_id.js'

/** Parks a step. The answer counts: a signal that was kept, or that came before a crash, is there already. */
export async function park(client, runId, stepKey, signalName, { expiresAt = null, wakeChannel = null } = {}) {
  const { rows } = await client.query(
    `SELECT state, CAST(payload_json AS text) AS payload
     FROM flow_signal_v1.register_waiter(
         p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_signal_name => CAST($3 AS text),
         p_expires_at => CAST($4 AS timestamptz), p_wake_channel => CAST($5 AS text))`,
    [runId, stepKey, signalName, expiresAt, wakeChannel],
  )
  return rows[0]
}

/** Sends a signal. `payload` is JSON text: serialise once, and repeat the same text under the same delivery id. */
export async function deliver(client, runId, signalName, payload, deliveryId, bufferUntil = null) {
  const { rows } = await client.query(
    `SELECT status, step_key, delivered_at, replayed
     FROM flow_signal_v1.deliver_signal(
         p_run_id => CAST($1 AS uuid), p_signal_name => CAST($2 AS text), p_payload_json => CAST($3 AS text),
         p_delivery_id => CAST($4 AS text), p_buffer_until => CAST($5 AS timestamptz))`,
    [runId, signalName, payload, deliveryId, bufferUntil],
  )
  return rows[0]
}

/** What a webhook answers: each verdict is an answer, not an error. */
export function httpStatus(verdict) {
  switch (verdict.status) {
    case 'delivered': return 200
    case 'buffered': return 202
    case 'not_found': return 404
    case 'already_delivered': return 409
    case 'expired': return 410
    default: throw new Error(`unknown verdict ${verdict.status}`)
  }
}

/** What a webhook answers to an error, told by its SQLSTATE: 4xx for the sender's mistakes, else repeat. */
export function httpStatusOfError(error) {
  if (['22004', '22023', '22P02', '54001', 'WS003'].includes(error.code)) return 400
  if (error.code === 'WS002') return 409
  if (error.code === 'WS004') return 429
  return 503
}

/** The waiter, or undefined; `payload` is the JSON text as it was sent. */
export async function get(client, runId, stepKey) {
  const { rows } = await client.query(
    `SELECT state, CAST(payload_json AS text) AS payload
     FROM flow_signal_v1.get_waiter(p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text))`,
    [runId, stepKey],
  )
  return rows[0]
}

/** Parks a step and waits until it is delivered or expired, on a connection of its own outside any transaction. */
export async function parkAndWait(listener, runId, stepKey, signalName, { pollMs = 5000, onParked = () => {} } = {}) {
  let wake = () => {}
  const onNotification = ({ payload }) => { if (payload.slice(0, 36) === runId) wake() }
  listener.on('notification', onNotification)
  try {
    await listener.query('LISTEN "MyWorker"')  // first, and in quotes: p_wake_channel is case-sensitive
    let waiter = await park(listener, runId, stepKey, signalName, { wakeChannel: 'MyWorker' })
    onParked()
    while (waiter?.state === 'waiting') {
      // A deadline that passes notifies nobody, and a lost connection loses notifications: look now and then.
      const woken = new Promise((resolve) => { wake = resolve; setTimeout(resolve, pollMs).unref() })
      waiter = await get(listener, runId, stepKey)
      if (waiter?.state === 'waiting') await woken
    }
    return waiter
  } finally {
    listener.off('notification', onNotification)
  }
}

/** Where LISTEN is not possible: waits in the database, at most 10 seconds a call. */
export async function awaitWaiter(client, runId, stepKey) {
  const { rows } = await client.query(
    `SELECT state, CAST(payload_json AS text) AS payload
     FROM flow_signal_v1.await_waiter(
         p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_max_wait => CAST($3 AS interval))`,
    [runId, stepKey, '10 seconds'],
  )
  return rows[0]
}

async function main() {
  const client = new pg.Client()  // PGHOST, PGUSER ...
  const listener = new pg.Client()
  await client.connect()
  await listener.connect()
  const runId = randomUUID()

  // In the caller's transaction: the run and its parked step are committed together.
  await client.query('CREATE TEMPORARY TABLE runs (id uuid, state text)')
  await client.query('BEGIN')
  try {
    await client.query('INSERT INTO runs VALUES (CAST($1 AS uuid), $2)', [runId, 'parked'])
    console.log('parked:', (await park(client, runId, 'approve', 'approval')).state)
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  }

  const payload = JSON.stringify({ approved: true, by: 'Büro' })
  const verdict = await deliver(client, runId, 'approval', payload, 'webhook-17')
  console.log('delivered:', httpStatus(verdict), verdict.step_key, verdict.replayed)
  const again = await deliver(client, runId, 'approval', payload, 'webhook-17')
  console.log('repeated:', httpStatus(again), again.step_key, again.replayed)
  console.log('nobody:', httpStatus(await deliver(client, runId, 'payment', 'null', 'webhook-18')))
  const tomorrow = new Date(Date.now() + 86_400_000)
  console.log('kept:', httpStatus(await deliver(client, runId, 'payment', '100.10', 'webhook-19', tomorrow)))
  try {
    await deliver(client, runId, 'approval', '{}', 'webhook-17')
  } catch (error) {
    console.log('refused:', error.code, httpStatusOfError(error))
  }

  const taken = await park(client, runId, 'pay', 'payment')
  console.log('taken at once:', taken.state, taken.payload)
  const onParked = () => deliver(client, runId, 'question', '42', 'webhook-20')
  console.log('notified:', (await parkAndWait(listener, runId, 'ask', 'question', { onParked })).payload)
  console.log('awaited:', (await awaitWaiter(client, runId, 'approve')).payload)
  console.log('run id:', runIdOf('order 17', '6ba7b810-9dad-11d1-80b4-00c04fd430c8'))
  await client.query('SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => CAST($1 AS uuid))', [runId])
  await client.end()
  await listener.end()
}

if (process.argv[1] === import.meta.filename) await main()
