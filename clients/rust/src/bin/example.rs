//! flow-signal from Rust with tokio-postgres. Copy the functions; main shows them at work: cargo run --bin example
use std::time::{Duration, SystemTime};

use futures_util::{future, stream, StreamExt};
use tokio::{sync::mpsc, time};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Error, GenericClient, NoTls, Notification};
use uuid::Uuid;

/// A parked step; its payload is the JSON text as it was sent.
#[derive(Debug)]
pub struct Waiter {
    pub state: String,
    pub payload: Option<String>,
}

/// What became of a signal.
#[derive(Debug)]
pub struct Verdict {
    pub status: String,
    pub step_key: Option<String>,
    pub replayed: bool,
}

/// Parks a step. The answer counts: a signal that was kept, or that came before a crash, is there already.
pub async fn park(
    db: &impl GenericClient, run_id: Uuid, step: &str, signal: &str, expires_at: Option<SystemTime>, channel: Option<&str>,
) -> Result<Waiter, Error> {
    let sql = "
        SELECT state, CAST(payload_json AS text)
        FROM flow_signal_v1.register_waiter(
            p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_signal_name => CAST($3 AS text),
            p_expires_at => CAST($4 AS timestamptz), p_wake_channel => CAST($5 AS text))";
    let rows = db
        .query_typed(sql, &[
            (&run_id, Type::UUID), (&step, Type::TEXT), (&signal, Type::TEXT), (&expires_at, Type::TIMESTAMPTZ),
            (&channel, Type::TEXT),
        ])
        .await?;
    Ok(Waiter { state: rows[0].get(0), payload: rows[0].get(1) })
}

/// Sends a signal. The payload is JSON text: serialise once, and repeat the same text under the same delivery id.
pub async fn deliver(
    db: &impl GenericClient, run_id: Uuid, signal: &str, payload: &str, delivery_id: &str, buffer_until: Option<SystemTime>,
) -> Result<Verdict, Error> {
    let sql = "
        SELECT status, step_key, replayed
        FROM flow_signal_v1.deliver_signal(
            p_run_id => CAST($1 AS uuid), p_signal_name => CAST($2 AS text), p_payload_json => CAST($3 AS text),
            p_delivery_id => CAST($4 AS text), p_buffer_until => CAST($5 AS timestamptz))";
    let rows = db
        .query_typed(sql, &[
            (&run_id, Type::UUID), (&signal, Type::TEXT), (&payload, Type::TEXT), (&delivery_id, Type::TEXT),
            (&buffer_until, Type::TIMESTAMPTZ),
        ])
        .await?;
    Ok(Verdict { status: rows[0].get(0), step_key: rows[0].get(1), replayed: rows[0].get(2) })
}

/// What a webhook answers: each verdict is an answer, not an error.
pub fn http_status(verdict: &Verdict) -> u16 {
    match verdict.status.as_str() {
        "delivered" => 200,
        "buffered" => 202,
        "not_found" => 404,
        "already_delivered" => 409,
        "expired" => 410,
        other => panic!("unknown verdict {other}"),
    }
}

/// What a webhook answers to an error, told by its SQLSTATE: 4xx for the sender's mistakes, else repeat.
pub fn http_status_of_error(error: &Error) -> u16 {
    match error.code().map(|sqlstate| sqlstate.code()) {
        Some("22004" | "22023" | "22P02" | "54001" | "WS003") => 400,
        Some("WS002") => 409,
        Some("WS004") => 429,
        _ => 503,
    }
}

/// The waiter, if there is one.
pub async fn get(db: &impl GenericClient, run_id: Uuid, step: &str) -> Result<Option<Waiter>, Error> {
    let sql = "
        SELECT state, CAST(payload_json AS text)
        FROM flow_signal_v1.get_waiter(p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text))";
    let rows = db.query_typed(sql, &[(&run_id, Type::UUID), (&step, Type::TEXT)]).await?;
    Ok(rows.first().map(|row| Waiter { state: row.get(0), payload: row.get(1) }))
}

/// Connects; notifications come out of the receiver, which ends with the connection.
pub async fn connect(config: &str) -> Result<(Client, mpsc::UnboundedReceiver<Notification>), Error> {
    let (client, mut connection) = tokio_postgres::connect(config, NoTls).await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification);
            }
        }
    });
    Ok((client, receiver))
}

/// Waits until a step, parked with the channel after LISTEN, is delivered or expired.
pub async fn wait_listening(
    db: &Client, woken: &mut mpsc::UnboundedReceiver<Notification>, run_id: Uuid, step: &str, poll: Duration,
) -> Result<Option<Waiter>, Error> {
    let prefix = run_id.to_string();
    loop {
        let waiter = get(db, run_id, step).await?;
        if waiter.as_ref().map_or(true, |waiter| waiter.state != "waiting") {
            return Ok(waiter);
        }
        // A deadline that passes notifies nobody, and a lost connection loses notifications: look now and then.
        let ours = async {
            while let Some(notification) = woken.recv().await {
                if notification.payload().starts_with(&prefix) {
                    return;
                }
            }
            future::pending::<()>().await // the connection is gone: the next look fails
        };
        let _ = time::timeout(poll, ours).await;
    }
}

/// Where LISTEN is not possible: waits in the database, at most 10 seconds a call.
pub async fn await_waiter(db: &impl GenericClient, run_id: Uuid, step: &str) -> Result<Option<Waiter>, Error> {
    let sql = "
        SELECT state, CAST(payload_json AS text)
        FROM flow_signal_v1.await_waiter(
            p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_max_wait => CAST('10 seconds' AS interval))";
    let rows = db.query_typed(sql, &[(&run_id, Type::UUID), (&step, Type::TEXT)]).await?;
    Ok(rows.first().map(|row| Waiter { state: row.get(0), payload: row.get(1) }))
}

/// A run id for an id that is not a UUID: UUIDv5 of it, in a namespace of your own.
pub fn run_id_of(id: &str, namespace: Uuid) -> Uuid {
    Uuid::new_v5(&namespace, id.as_bytes())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = std::env::var("CONNINFO").expect("CONNINFO is host=... user=... dbname=...");
    let (mut client, _) = connect(&config).await?;
    let (listener, mut woken) = connect(&config).await?;
    let run_id = Uuid::new_v4();

    // In the caller's transaction: the run and its parked step are committed together.
    client.batch_execute("CREATE TEMPORARY TABLE runs (id uuid, state text)").await?;
    let transaction = client.transaction().await?; // rolls back if it is dropped before its commit
    transaction.query_typed("INSERT INTO runs VALUES ($1, 'parked')", &[(&run_id, Type::UUID)]).await?;
    println!("parked: {}", park(&transaction, run_id, "approve", "approval", None, None).await?.state);
    transaction.commit().await?;

    let payload = r#"{"approved":true,"by":"Büro"}"#;
    for what in ["delivered", "repeated"] {
        let verdict = deliver(&client, run_id, "approval", payload, "webhook-17", None).await?;
        println!("{what}: {} {} {}", http_status(&verdict), verdict.step_key.as_deref().unwrap_or(""), verdict.replayed);
    }
    println!("nobody: {}", http_status(&deliver(&client, run_id, "payment", "null", "webhook-18", None).await?));
    let tomorrow = Some(SystemTime::now() + Duration::from_secs(86_400));
    println!("kept: {}", http_status(&deliver(&client, run_id, "payment", "100.10", "webhook-19", tomorrow).await?));
    if let Err(error) = deliver(&client, run_id, "approval", "{}", "webhook-17", None).await {
        println!("refused: {} {}", error.code().map_or("", |sqlstate| sqlstate.code()), http_status_of_error(&error));
    }

    let taken = park(&client, run_id, "pay", "payment", None, None).await?;
    println!("taken at once: {} {}", taken.state, taken.payload.unwrap_or_default());
    listener.batch_execute(r#"LISTEN "MyWorker""#).await?; // first, and in quotes: p_wake_channel is case-sensitive
    park(&listener, run_id, "ask", "question", None, Some("MyWorker")).await?;
    deliver(&client, run_id, "question", "42", "webhook-20", None).await?;
    let asked = wait_listening(&listener, &mut woken, run_id, "ask", Duration::from_secs(5)).await?;
    println!("notified: {}", asked.and_then(|waiter| waiter.payload).unwrap_or_default());
    let approved = await_waiter(&client, run_id, "approve").await?;
    println!("awaited: {}", approved.and_then(|waiter| waiter.payload).unwrap_or_default());
    println!("run id: {}", run_id_of("order 17", Uuid::NAMESPACE_DNS));
    let remove = "SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => CAST($1 AS uuid))";
    client.query_typed(remove, &[(&run_id, Type::UUID)]).await?;
    Ok(())
}
