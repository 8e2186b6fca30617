// flow-signal from Node.js with postgres (postgres.js). Copy the functions; main() at the end shows them at work.
import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import { runIdOf } from './run_id.js'

/** Parks a step. The answer counts: a signal that was kept, or that came before a crash, is there already. */
export async function park(sql, runId, stepKey, signalName, { expiresAt = null, wakeChannel = null } = {}) {
  const [waiter] = await sql`
    SELECT state, CAST(payload_json AS text) AS payload
    FROM flow_signal_v1.register_waiter(
        p_run_id => CAST(${runId} AS uuid), p_step_key => CAST(${stepKey} AS text),
        p_signal_name => CAST(${signalName} AS text), p_expires_at => CAST(${expiresAt} AS timestamptz),
        p_wake_channel => CAST(${wakeChannel} AS text))`
  return waiter
}

/** Sends a signal. `payload` is JSON text: serialise once, and repeat the same text under the same delivery id. */
export async function deliver(sql, runId, signalName, payload, deliveryId, bufferUntil = null) {
  const [verdict] = await sql`
    SELECT status, step_key, delivered_at, replayed
    FROM flow_signal_v1.deliver_signal(
        p_run_id => CAST(${runId} AS uuid), p_signal_name => CAST(${signalName} AS text),
        p_payload_json => CAST(${payload} AS text), p_delivery_id => CAST(${deliveryId} AS text),
        p_buffer_until => CAST(${bufferUntil} AS timestamptz))`
  return verdict
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
export async function get(sql, runId, stepKey) {
  const [waiter] = await sql`
    SELECT state, CAST(payload_json AS text) AS payload
    FROM flow_signal_v1.get_waiter(p_run_id => CAST(${runId} AS uuid), p_step_key => CAST(${stepKey} AS text))`
  return waiter
}

/** Parks a step and waits until it is delivered or expired. The driver listens again after it has lost its connection. */
export async function parkAndWait(sql, runId, stepKey, signalName, { pollMs = 5000, onParked = () => {} } = {}) {
  let wake = () => {}
  const listening = await sql.listen('MyWorker', (payload) => { if (payload.slice(0, 36) === runId) wake() }, () => wake())
  try {
    let waiter = await park(sql, runId, stepKey, signalName, { wakeChannel: 'MyWorker' })
    onParked()
    while (waiter?.state === 'waiting') {
      // A deadline that passes notifies nobody, and a lost connection loses notifications: look now and then.
      const woken = new Promise((resolve) => { wake = resolve; setTimeout(resolve, pollMs).unref() })
      waiter = await get(sql, runId, stepKey)
      if (waiter?.state === 'waiting') await woken
    }
    return waiter
  } finally {
    await listening.unlisten()
  }
}

/** Where LISTEN is not possible: waits in the database, at most 10 seconds a call. */
export async function awaitWaiter(sql, runId, stepKey) {
  const [waiter] = await sql`
    SELECT state, CAST(payload_json AS text) AS payload
    FROM flow_signal_v1.await_waiter(
        p_run_id => CAST(${runId} AS uuid), p_step_key => CAST(${stepKey} AS text),
        p_max_wait => CAST('10 seconds' AS interval))`
  return waiter
}

async function main() {
  const sql = postgres({ onnotice: () => {} })  // PGHOST, PGUSERNAME ...
  const runId = randomUUID()

  // In the caller's transaction: the run and its parked step are committed together.
  await sql.begin(async (sql) => {
    await sql`CREATE TEMPORARY TABLE runs (id uuid, state text) ON COMMIT DROP`
    await sql`INSERT INTO runs VALUES (${runId}, 'parked')`
    console.log('parked:', (await park(sql, runId, 'approve', 'approval')).state)
  })

  const payload = JSON.stringify({ approved: true, by: 'Büro' })
  const verdict = await deliver(sql, runId, 'approval', payload, 'webhook-17')
  console.log('delivered:', httpStatus(verdict), verdict.step_key, verdict.replayed)
  const again = await deliver(sql, runId, 'approval', payload, 'webhook-17')
  console.log('repeated:', httpStatus(again), again.step_key, again.replayed)
  console.log('nobody:', httpStatus(await deliver(sql, runId, 'payment', 'null', 'webhook-18')))
  const tomorrow = new Date(Date.now() + 86_400_000)
  console.log('kept:', httpStatus(await deliver(sql, runId, 'payment', '100.10', 'webhook-19', tomorrow)))
  try {
    await deliver(sql, runId, 'approval', '{}', 'webhook-17')
  } catch (error) {
    console.log('refused:', error.code, httpStatusOfError(error))
  }

  const taken = await park(sql, runId, 'pay', 'payment')
  console.log('taken at once:', taken.state, taken.payload)
  const onParked = () => deliver(sql, runId, 'question', '42', 'webhook-20')
  console.log('notified:', (await parkAndWait(sql, runId, 'ask', 'question', { onParked })).payload)
  console.log('awaited:', (await awaitWaiter(sql, runId, 'approve')).payload)
  console.log('run id:', runIdOf('order 17', '6ba7b810-9dad-11d1-80b4-00c04fd430c8'))
  await sql`SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => CAST(${runId} AS uuid))`
  await sql.end()
}

if (process.argv[1] === import.meta.filename) await main()
