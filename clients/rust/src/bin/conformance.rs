//! Runs ../conformance.json: cargo run --bin conformance
use std::collections::HashMap;

use serde_json::{json, Value};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, NoTls};

type Rows = Vec<Vec<Option<String>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let suite: Value = serde_json::from_str(&std::fs::read_to_string("../conformance.json")?)?;
    let (first, second) = (connect().await?, connect().await?);
    let cases = suite["cases"].as_array().unwrap();
    let mut passed = 0;
    for case in cases {
        let ids = rows(&first, "SELECT CAST(gen_random_uuid() AS text), CAST(gen_random_uuid() AS text)", &[]).await?;
        let names = ["<run>", "<other>"].map(str::to_owned);
        let mut known: HashMap<_, _> = names.into_iter().zip(ids[0].iter().flatten().cloned()).collect();
        let mut failed = false;
        for step in case["steps"].as_array().unwrap() {
            let text = known.iter().fold(step.to_string(), |text, (name, value)| text.replace(name, value));
            let client = if step["on"].is_null() { &first } else { &second };
            if let Some(problem) = problem(&suite, &serde_json::from_str(&text)?, client, &mut known).await {
                println!("FAILED {}\n{text}\n{problem}", case["name"]);
                failed = true;
                break;
            }
        }
        for client in [&first, &second] {
            client.batch_execute("ROLLBACK").await?;
        }
        for id in ids[0].iter().flatten() {
            let remove = "SELECT CAST(remove_run AS text) FROM flow_signal_v1.remove_run(p_run_id => CAST($1 AS uuid))";
            rows(&first, remove, &[json!(id)]).await?;
        }
        passed += usize::from(!failed);
    }
    println!("{passed} of {} cases passed", cases.len());
    std::process::exit(if passed == cases.len() { 0 } else { 1 })
}

async fn problem(suite: &Value, step: &Value, client: &Client, known: &mut HashMap<String, String>) -> Option<String> {
    let outcome = match step["sql"].as_str() {
        Some(sql) if step["rows"].is_null() => client.batch_execute(sql).await.map(|()| Rows::new()),
        Some(sql) => rows(client, sql, &[]).await,
        None => {
            let (one, call) = (json!(["1"]), step["call"].as_str().unwrap());
            let columns = step["columns"].as_array().unwrap_or(one.as_array().unwrap()).iter();
            let columns: Vec<_> = columns.map(|column| format!("CAST({} AS text)", column.as_str().unwrap())).collect();
            let arguments = step["args"].as_object().unwrap();
            let kind = |name: &str| suite["functions"][call][name].as_str().unwrap().to_owned();
            let named: Vec<_> = arguments.keys().enumerate().map(|(n, name)| format!("{name} => CAST(${} AS {})", n + 1, kind(name))).collect();
            let sql = format!("SELECT {} FROM flow_signal_v1.{call}({})", columns.join(", "), named.join(", "));
            rows(client, &sql, &arguments.values().cloned().collect::<Vec<_>>()).await
        }
    };
    let rows = match outcome {
        Err(error) if error.code().is_some() && error.code().map(|state| state.code()) == step["error"].as_str() => return None,
        Err(error) => return Some(format!("{error:?}")),
        Ok(rows) if !step["error"].is_null() => return Some(format!("no error, but {rows:?}")),
        Ok(_) if step["rows"].is_null() => return None,
        Ok(rows) => rows,
    };
    let wanted: Rows = serde_json::from_value(step["rows"].clone()).unwrap();
    let mut same = wanted.len() == rows.len();
    for (wanted, got) in wanted.iter().flatten().zip(rows.iter().flatten()) {
        match (wanted, got) {
            (Some(name), Some(got)) if name.starts_with('<') && name.ends_with('>') => { known.insert(name.clone(), got.clone()); }
            _ => same &= wanted == got,
        }
    }
    (!same).then(|| format!("the answer is {rows:?}"))
}

/// All values go as text, arrays as text[]; query_typed leaves nothing prepared in the session, as a pooler wants it.
async fn rows(client: &Client, sql: &str, values: &[Value]) -> Result<Rows, Error> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let values: Vec<(Box<dyn ToSql + Sync + Send>, Type)> = values.iter().map(|value| match value {
        Value::Array(values) => (Box::new(values.iter().map(text).collect::<Vec<_>>()) as _, Type::TEXT_ARRAY),
        value => (Box::new(text(value)) as _, Type::TEXT),
    }).collect();
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> = values.iter().map(|(value, kind)| (value.as_ref() as _, kind.clone())).collect();
    let rows = client.query_typed(sql, &parameters).await?;
    Ok(rows.iter().map(|row| (0..row.len()).map(|n| row.get(n)).collect()).collect())
}

async fn connect() -> Result<Client, Error> {
    let config = std::env::var("CONNINFO").expect("CONNINFO is host=... user=... dbname=...");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
