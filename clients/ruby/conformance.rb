# Runs ../conformance.json.
require 'json'
require 'pg'

SUITE = JSON.parse(File.read(File.join(__dir__, '../conformance.json'), encoding: 'UTF-8'))
DB = { 'first' => PG.connect, 'second' => PG.connect }.freeze
ARRAY = PG::TextEncoder::Array.new(elements_type: PG::TextEncoder::String.new)
DB.each_value { |db| db.set_notice_processor { nil } }

def text(value)
  value.is_a?(Array) ? ARRAY.encode(value) : value&.to_s
end

def rows_of(step)
  db = DB[step.fetch('on', 'first')]
  return db.exec(step['sql']).values if step['sql']

  columns = step.fetch('columns', ['1']).map { |column| "CAST(#{column} AS text)" }
  types = SUITE['functions'][step['call']]
  named = step['args'].keys.each_with_index.map { |name, n| "#{name} => CAST($#{n + 1} AS #{types[name]})" }
  sql = "SELECT #{columns.join(', ')} FROM flow_signal_v1.#{step['call']}(#{named.join(', ')})"
  db.exec_params(sql, step['args'].values.map { |value| text(value) }).values
end

def problem(step, known)
  rows = rows_of(step)
  wanted = step.fetch('rows', rows)
  return "the answer is #{rows}" if step['error'] || wanted.length != rows.length

  same = wanted.flatten(1).zip(rows.flatten(1)).all? do |value, got|
    next value == got unless value&.match?(/\A<.*>\z/m) && got

    known[value] = got
  end
  "the answer is #{rows}" unless same
rescue PG::Error => e
  e.message unless e.result&.error_field(PG::PG_DIAG_SQLSTATE) == step['error']
end

failed = SUITE['cases'].count do |suite_case|
  ids = DB['first'].exec('SELECT CAST(gen_random_uuid() AS text), CAST(gen_random_uuid() AS text)').values.first
  known = { '<run>' => ids[0], '<other>' => ids[1] }
  wrong = suite_case['steps'].find do |step|
    text = known.reduce(JSON.generate(step)) { |json, (name, value)| json.gsub(name) { value } }
    found = problem(JSON.parse(text), known)
    puts "FAILED #{suite_case['name']}\n#{text}\n#{found}" if found
    found
  end
  DB.each_value { |db| db.exec('ROLLBACK') }
  ids.each { |id| DB['first'].exec_params('SELECT flow_signal_v1.remove_run(p_run_id => CAST($1 AS uuid))', [id]) }
  wrong
end
puts "#{SUITE['cases'].length - failed} of #{SUITE['cases'].length} cases passed"
exit failed.zero?
