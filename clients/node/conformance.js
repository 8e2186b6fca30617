// Runs ../conformance.json: node conformance.js pg|postgres
import { readFileSync } from 'node:fs'
import pg from 'pg'
import postgres from 'postgres'

const suite = JSON.parse(readFileSync(new URL('../conformance.json', import.meta.url)))
const drivers = {
  async pg() {
    const client = new pg.Client()
    await client.connect()
    return { rows: async (sql, values) => (await client.query({ text: sql, values, rowMode: 'array' })).rows ?? [], end: () => client.end() }
  },
  async postgres() {
    const sql = postgres({ max: 1, prepare: false, onnotice: () => {} })
    // As text and text[]: this driver would send a timestamptz through Date, and 'true' as false.
    const typed = (v) => (v === null ? v : Array.isArray(v) ? sql.typed(v, 1009) : sql.typed(String(v), 25))
    return { rows: (text, values) => sql.unsafe(text, values?.map(typed)).values(), end: () => sql.end() }
  },
}
const driver = drivers[process.argv[2]]
const connections = { first: await driver(), second: await driver() }
const { first, second } = connections

function statement({ call, args, columns = ['1'] }) {
  const selected = columns.map((column) => `CAST(${column} AS text)`)
  const named = Object.keys(args).map((name, n) => `${name} => CAST($${n + 1} AS ${suite.functions[call][name]})`)
  return [`SELECT ${selected} FROM flow_signal_v1.${call}(${named})`, Object.values(args)]
}

async function problem(step, known) {
  let rows
  try {
    rows = [...await connections[step.on ?? 'first'].rows(...(step.sql ? [step.sql] : statement(step)))]
  } catch (error) {
    return error.code === step.error ? null : `${error.code} ${error.message}`
  }
  if (step.error) return `no error, but ${JSON.stringify(rows)}`
  const wanted = (step.rows ?? rows).flat()
  const got = rows.flat()
  const differs = wanted.some((value, n) => {
    if (/^<.*>$/.test(value ?? '') && typeof got[n] === 'string') known[value] = got[n]
    else return value !== got[n]
  })
  return differs || wanted.length !== got.length ? `the answer is ${JSON.stringify(rows)}` : null
}

let failed = 0
for (const { name, steps } of suite.cases) {
  const [ids] = await first.rows('SELECT CAST(gen_random_uuid() AS text), CAST(gen_random_uuid() AS text)')
  const known = { '<run>': ids[0], '<other>': ids[1] }
  for (const step of steps) {
    const text = Object.entries(known).reduce((text, [name, value]) => text.replaceAll(name, value), JSON.stringify(step))
    const found = await problem(JSON.parse(text), known)
    if (!found) continue
    console.log(`FAILED ${name}\n${text}\n${found}`)
    failed += 1
    break
  }
  for (const connection of [first, second]) await connection.rows('ROLLBACK')
  for (const run of ids) await first.rows('SELECT flow_signal_v1.remove_run(p_run_id => CAST($1 AS uuid))', [run])
}
console.log(`${suite.cases.length - failed} of ${suite.cases.length} cases passed`)
await first.end()
await second.end()
process.exit(failed ? 1 : 0)
