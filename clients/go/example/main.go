// flow-signal from Go with pgx. Copy the functions; main shows them at work: go run ./example
package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// DB is a connection, a transaction or a pool.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Waiter is a parked step; its Payload is the JSON text as it was sent.
type Waiter struct {
	State   string
	Payload *string
}

// Verdict is what became of a signal.
type Verdict struct {
	Status      string
	StepKey     *string
	DeliveredAt *time.Time
	Replayed    bool
}

// Park parks a step. The answer counts: a signal that was kept, or that came before a crash, is there already.
func Park(ctx context.Context, db DB, runID, step, signal string, expiresAt *time.Time, channel *string) (Waiter, error) {
	rows, _ := db.Query(ctx, `
		SELECT state, CAST(payload_json AS text)
		FROM flow_signal_v1.register_waiter(
			p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_signal_name => CAST($3 AS text),
			p_expires_at => CAST($4 AS timestamptz), p_wake_channel => CAST($5 AS text))`,
		runID, step, signal, expiresAt, channel)
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Waiter])
}

// Deliver sends a signal. The payload is JSON text: serialise once, and repeat the same text under the same delivery id.
func Deliver(ctx context.Context, db DB, runID, signal, payload, deliveryID string, bufferUntil *time.Time) (Verdict, error) {
	rows, _ := db.Query(ctx, `
		SELECT status, step_key, delivered_at, replayed
		FROM flow_signal_v1.deliver_signal(
			p_run_id => CAST($1 AS uuid), p_signal_name => CAST($2 AS text), p_payload_json => CAST($3 AS text),
			p_delivery_id => CAST($4 AS text), p_buffer_until => CAST($5 AS timestamptz))`,
		runID, signal, payload, deliveryID, bufferUntil)
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Verdict])
}

// HTTPStatus is what a webhook answers: each verdict is an answer, not an error.
func (v Verdict) HTTPStatus() int {
	switch v.Status {
	case "delivered":
		return 200
	case "buffered":
		return 202
	case "not_found":
		return 404
	case "already_delivered":
		return 409
	case "expired":
		return 410
	}
	panic("unknown verdict " + v.Status)
}

// HTTPStatusOf is what a webhook answers to an error, told by its SQLSTATE: 4xx for the sender's mistakes, else repeat.
func HTTPStatusOf(err error) int {
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) {
		return 503
	}
	switch refusal.Code {
	case "22004", "22023", "22P02", "54001", "WS003":
		return 400
	case "WS002":
		return 409
	case "WS004":
		return 429
	}
	return 503
}

// Get returns the waiter, or pgx.ErrNoRows.
func Get(ctx context.Context, db DB, runID, step string) (Waiter, error) {
	rows, _ := db.Query(ctx, `
		SELECT state, CAST(payload_json AS text)
		FROM flow_signal_v1.get_waiter(p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text))`, runID, step)
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Waiter])
}

// WaitListening waits until a step, parked with the channel after LISTEN, is delivered or expired.
func WaitListening(ctx context.Context, conn *pgx.Conn, runID, step string, poll time.Duration) (Waiter, error) {
	for {
		waiter, err := Get(ctx, conn, runID, step)
		if err != nil || waiter.State != "waiting" {
			return waiter, err
		}
		// A deadline that passes notifies nobody, and a lost connection loses notifications: look now and then.
		pause, cancel := context.WithTimeout(ctx, poll)
		for {
			notification, err := conn.WaitForNotification(pause) // a timeout here does not close the connection
			if err != nil || strings.HasPrefix(notification.Payload, runID) {
				break
			}
		}
		cancel()
	}
}

// AwaitWaiter is for where LISTEN is not possible: it waits in the database, at most 10 seconds a call.
func AwaitWaiter(ctx context.Context, db DB, runID, step string) (Waiter, error) {
	rows, _ := db.Query(ctx, `
		SELECT state, CAST(payload_json AS text)
		FROM flow_signal_v1.await_waiter(
			p_run_id => CAST($1 AS uuid), p_step_key => CAST($2 AS text), p_max_wait => CAST($3 AS interval))`,
		runID, step, 10*time.Second)
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Waiter])
}

// RunIDOf makes a run id for an id that is not a UUID: UUIDv5 of it, in a namespace of your own.
func RunIDOf(id string, namespace pgtype.UUID) pgtype.UUID {
	hash := sha1.Sum(append(namespace.Bytes[:], id...))
	uuid := pgtype.UUID{Bytes: [16]byte(hash[:16]), Valid: true}
	uuid.Bytes[6] = uuid.Bytes[6]&0x0f | 0x50
	uuid.Bytes[8] = uuid.Bytes[8]&0x3f | 0x80
	return uuid
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn := connect(ctx)
	defer conn.Close(ctx)
	listener := connect(ctx)
	defer listener.Close(ctx)
	var runID string
	check(conn.QueryRow(ctx, "SELECT gen_random_uuid()").Scan(&runID))

	// In the caller's transaction: the run and its parked step are committed together.
	_, err := conn.Exec(ctx, "CREATE TEMPORARY TABLE runs (id uuid, state text)")
	check(err)
	check(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO runs VALUES ($1, 'parked')", runID); err != nil {
			return err
		}
		waiter, err := Park(ctx, tx, runID, "approve", "approval", nil, nil)
		fmt.Println("parked:", waiter.State)
		return err
	}))

	payload := `{"approved":true,"by":"Büro"}`
	for _, what := range []string{"delivered:", "repeated:"} {
		verdict, err := Deliver(ctx, conn, runID, "approval", payload, "webhook-17", nil)
		check(err)
		fmt.Println(what, verdict.HTTPStatus(), *verdict.StepKey, verdict.Replayed)
	}
	verdict, err := Deliver(ctx, conn, runID, "payment", "null", "webhook-18", nil)
	check(err)
	fmt.Println("nobody:", verdict.HTTPStatus())
	tomorrow := time.Now().AddDate(0, 0, 1)
	verdict, err = Deliver(ctx, conn, runID, "payment", "100.10", "webhook-19", &tomorrow)
	check(err)
	fmt.Println("kept:", verdict.HTTPStatus())
	_, err = Deliver(ctx, conn, runID, "approval", "{}", "webhook-17", nil)
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		fmt.Println("refused:", refusal.Code, HTTPStatusOf(err))
	}

	waiter, err := Park(ctx, conn, runID, "pay", "payment", nil, nil)
	check(err)
	fmt.Println("taken at once:", waiter.State, *waiter.Payload)
	_, err = listener.Exec(ctx, `LISTEN "MyWorker"`) // first, and in quotes: p_wake_channel is case-sensitive
	check(err)
	channel := "MyWorker"
	_, err = Park(ctx, listener, runID, "ask", "question", nil, &channel)
	check(err)
	_, err = Deliver(ctx, conn, runID, "question", "42", "webhook-20", nil)
	check(err)
	waiter, err = WaitListening(ctx, listener, runID, "ask", 5*time.Second)
	check(err)
	fmt.Println("notified:", *waiter.Payload)
	waiter, err = AwaitWaiter(ctx, conn, runID, "approve")
	check(err)
	fmt.Println("awaited:", *waiter.Payload)
	var namespace pgtype.UUID
	check(namespace.Scan("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))
	fmt.Println("run id:", RunIDOf("order 17", namespace))
	_, err = conn.Exec(ctx, "SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => CAST($1 AS uuid))", runID)
	check(err)
}

func connect(ctx context.Context) *pgx.Conn {
	conn, err := pgx.Connect(ctx, "") // PGHOST, PGUSER ...
	check(err)
	return conn
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
