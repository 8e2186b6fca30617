// flow-signal from Java with pgjdbc. Copy FlowSignal; Example shows it at work: java -cp 'target/dependency/*' Example.java
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.OffsetDateTime;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class Example {
    public static void main(String[] arguments) throws Exception {
        try (Connection db = connect(); Connection listener = connect()) {
            UUID runId = UUID.randomUUID();

            // In the caller's transaction: the run and its parked step are committed together.
            db.createStatement().execute("CREATE TEMPORARY TABLE runs (id uuid, state text)");
            db.setAutoCommit(false);
            try (PreparedStatement insert = db.prepareStatement("INSERT INTO runs VALUES (?, 'parked')")) {
                insert.setObject(1, runId);
                insert.executeUpdate();
                System.out.println("parked: " + FlowSignal.park(db, runId, "approve", "approval", null, null).state());
                db.commit();
            } catch (SQLException error) {
                db.rollback();
                throw error;
            }
            db.setAutoCommit(true);

            String payload = "{\"approved\":true,\"by\":\"Büro\"}";
            show("delivered", FlowSignal.deliver(db, runId, "approval", payload, "webhook-17", null));
            show("repeated", FlowSignal.deliver(db, runId, "approval", payload, "webhook-17", null));
            var nobody = FlowSignal.deliver(db, runId, "payment", "null", "webhook-18", null);
            System.out.println("nobody: " + nobody.httpStatus());
            OffsetDateTime tomorrow = OffsetDateTime.now().plusDays(1);
            var kept = FlowSignal.deliver(db, runId, "payment", "100.10", "webhook-19", tomorrow);
            System.out.println("kept: " + kept.httpStatus());
            try {
                FlowSignal.deliver(db, runId, "approval", "{}", "webhook-17", null);
            } catch (SQLException error) {
                System.out.println("refused: " + error.getSQLState() + " " + FlowSignal.httpStatusOf(error));
            }

            var taken = FlowSignal.park(db, runId, "pay", "payment", null, null);
            System.out.println("taken at once: " + taken.state() + " " + taken.payload());
            // First, and in quotes: p_wake_channel is case-sensitive.
            listener.createStatement().execute("LISTEN \"MyWorker\"");
            FlowSignal.park(listener, runId, "ask", "question", null, "MyWorker");
            FlowSignal.deliver(db, runId, "question", "42", "webhook-20", null);
            System.out.println("notified: " + FlowSignal.waitListening(listener, runId, "ask", 5000).payload());
            System.out.println("awaited: " + FlowSignal.awaitWaiter(db, runId, "approve").payload());
            UUID namespace = UUID.fromString("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
            System.out.println("run id: " + FlowSignal.runIdOf("order 17", namespace));
            try (var remove = db.prepareStatement("SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => ?)")) {
                remove.setObject(1, runId);
                remove.executeQuery();
            }
        }
    }

    static Connection connect() throws SQLException {
        var env = System.getenv();
        String url = "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
        return DriverManager.getConnection(url, env.get("PGUSER"), env.get("PGPASSWORD"));
    }

    static void show(String what, FlowSignal.Verdict verdict) {
        System.out.println(what + ": " + verdict.httpStatus() + " " + verdict.stepKey() + " " + verdict.replayed());
    }
}

final class FlowSignal {
    /** A waiter; its payload is the JSON text as it was sent. */
    record Waiter(String state, String payload) {}

    record Verdict(String status, String stepKey, OffsetDateTime deliveredAt, boolean replayed) {
        /** What a webhook answers: each verdict is an answer, not an error. */
        int httpStatus() {
            return switch (status) {
                case "delivered" -> 200;
                case "buffered" -> 202;
                case "not_found" -> 404;
                case "already_delivered" -> 409;
                case "expired" -> 410;
                default -> throw new IllegalStateException("unknown verdict " + status);
            };
        }
    }

    /** What a webhook answers to an error, told by its SQLSTATE: 4xx for the sender's mistakes, else repeat. */
    static int httpStatusOf(SQLException error) {
        return switch (String.valueOf(error.getSQLState())) {
            case "22004", "22023", "22P02", "54001", "WS003" -> 400;
            case "WS002" -> 409;
            case "WS004" -> 429;
            default -> 503;
        };
    }

    /** Parks a step. The answer counts: a signal that was kept, or that came before a crash, is there already. */
    static Waiter park(Connection db, UUID runId, String step, String signal, OffsetDateTime expiresAt, String channel)
            throws SQLException {
        return waiter(db, """
                SELECT state, CAST(payload_json AS text)
                FROM flow_signal_v1.register_waiter(
                    p_run_id => CAST(? AS uuid), p_step_key => CAST(? AS text), p_signal_name => CAST(? AS text),
                    p_expires_at => CAST(? AS timestamptz), p_wake_channel => CAST(? AS text))
                """, runId, step, signal, expiresAt, channel);
    }

    /** Sends a signal. The payload is JSON text: serialise once, and repeat the same text under the same delivery id. */
    static Verdict deliver(Connection db, UUID runId, String signal, String payload, String deliveryId,
            OffsetDateTime bufferUntil) throws SQLException {
        try (PreparedStatement call = prepare(db, """
                SELECT status, step_key, delivered_at, replayed
                FROM flow_signal_v1.deliver_signal(
                    p_run_id => CAST(? AS uuid), p_signal_name => CAST(? AS text), p_payload_json => CAST(? AS text),
                    p_delivery_id => CAST(? AS text), p_buffer_until => CAST(? AS timestamptz))
                """, runId, signal, payload, deliveryId, bufferUntil); ResultSet row = call.executeQuery()) {
            row.next();
            return new Verdict(row.getString(1), row.getString(2), row.getObject(3, OffsetDateTime.class), row.getBoolean(4));
        }
    }

    /** The waiter, or null. */
    static Waiter get(Connection db, UUID runId, String step) throws SQLException {
        return waiter(db, """
                SELECT state, CAST(payload_json AS text)
                FROM flow_signal_v1.get_waiter(p_run_id => CAST(? AS uuid), p_step_key => CAST(? AS text))
                """, runId, step);
    }

    /** Waits until a step, parked with the channel after LISTEN, is delivered or expired; in autocommit mode. */
    static Waiter waitListening(Connection db, UUID runId, String step, int pollMillis) throws SQLException {
        PGConnection driver = db.unwrap(PGConnection.class);
        Waiter waiter;
        while ((waiter = get(db, runId, step)) != null && waiter.state().equals("waiting")) {
            // A deadline that passes notifies nobody, and a lost connection loses notifications: look now and then.
            boolean woken = false;
            while (!woken) {
                PGNotification[] notifications = driver.getNotifications(pollMillis);
                woken = notifications == null || notifications.length == 0;
                for (int n = 0; !woken && n < notifications.length; n++) {
                    woken = notifications[n].getParameter().startsWith(runId.toString());
                }
            }
        }
        return waiter;
    }

    /** Where LISTEN is not possible: waits in the database, at most 10 seconds a call. */
    static Waiter awaitWaiter(Connection db, UUID runId, String step) throws SQLException {
        return waiter(db, """
                SELECT state, CAST(payload_json AS text)
                FROM flow_signal_v1.await_waiter(
                    p_run_id => CAST(? AS uuid), p_step_key => CAST(? AS text), p_max_wait => CAST(? AS interval))
                """, runId, step, "10 seconds");
    }

    /** A run id for an id that is not a UUID: UUIDv5 of it, in a namespace of your own. */
    static UUID runIdOf(String id, UUID namespace) throws Exception {
        MessageDigest sha1 = MessageDigest.getInstance("SHA-1");
        sha1.update(ByteBuffer.allocate(16).putLong(namespace.getMostSignificantBits())
                .putLong(namespace.getLeastSignificantBits()).flip());
        ByteBuffer hash = ByteBuffer.wrap(sha1.digest(id.getBytes(StandardCharsets.UTF_8)));
        return new UUID(hash.getLong() & ~0xf000L | 0x5000L, hash.getLong() & ~(3L << 62) | 2L << 62);
    }

    private static Waiter waiter(Connection db, String sql, Object... values) throws SQLException {
        try (PreparedStatement call = prepare(db, sql, values); ResultSet row = call.executeQuery()) {
            return row.next() ? new Waiter(row.getString(1), row.getString(2)) : null;
        }
    }

    private static PreparedStatement prepare(Connection db, String sql, Object... values) throws SQLException {
        PreparedStatement statement = db.prepareStatement(sql);
        for (int n = 0; n < values.length; n++) {
            statement.setObject(n + 1, values[n]);
        }
        return statement;
    }
}
