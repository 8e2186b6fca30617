// Runs ../conformance.json: java -cp 'target/dependency/*' Conformance.java
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.*;
import java.util.*;
import java.util.stream.*;

public class Conformance {
    static JsonObject suite;
    static Connection first, second;

    public static void main(String[] arguments) throws Exception {
        suite = JsonParser.parseString(Files.readString(Path.of("../conformance.json"))).getAsJsonObject();
        first = connect();
        second = connect();
        int passed = 0;
        for (JsonElement one : suite.getAsJsonArray("cases")) {
            Map<String, String> known = new HashMap<>();
            List<String> ids = rows(first, "SELECT gen_random_uuid(), gen_random_uuid()", null).get(0);
            known.put("<run>", ids.get(0));
            known.put("<other>", ids.get(1));
            String problem = null;
            for (JsonElement step : one.getAsJsonObject().getAsJsonArray("steps")) {
                String text = step.toString();
                for (var entry : known.entrySet()) text = text.replace(entry.getKey(), entry.getValue());
                problem = problem(JsonParser.parseString(text).getAsJsonObject(), known);
                if (problem == null) continue;
                System.out.println("FAILED " + one.getAsJsonObject().get("name") + "\n" + text + "\n" + problem);
                break;
            }
            if (problem == null) passed++;
            for (Connection db : List.of(first, second)) rows(db, "ROLLBACK", null);
            for (String id : ids) rows(first, "SELECT flow_signal_v1.remove_run(p_run_id => CAST(? AS uuid))", List.of(id));
        }
        System.out.println(passed + " of " + suite.getAsJsonArray("cases").size() + " cases passed");
        System.exit(passed == suite.getAsJsonArray("cases").size() ? 0 : 1);
    }

    static Connection connect() throws SQLException {
        var env = System.getenv();
        // prepareThreshold=0: nothing is left prepared in the session, so that a transaction pooler may stand in between.
        String url = "jdbc:postgresql://%s:%s/%s?prepareThreshold=0";
        url = url.formatted(env.get("PGHOST"), env.get("PGPORT"), env.get("PGDATABASE"));
        return DriverManager.getConnection(url, env.get("PGUSER"), env.get("PGPASSWORD"));
    }

    static List<List<String>> rows(Connection db, String sql, List<?> values) throws SQLException {
        List<List<String>> rows = new ArrayList<>();
        try (PreparedStatement call = values == null ? null : db.prepareStatement(sql);
                Statement statement = call == null ? db.createStatement() : call) {
            for (int n = 0; values != null && n < values.size(); n++) call.setObject(n + 1, values.get(n));
            if (!(call == null ? statement.execute(sql) : call.execute())) return rows;
            for (ResultSet set = statement.getResultSet(); set.next(); ) {
                List<String> row = new ArrayList<>();
                for (int n = 1; n <= set.getMetaData().getColumnCount(); n++) row.add(set.getString(n));
                rows.add(row);
            }
        }
        return rows;
    }

    static Object value(Connection db, JsonElement element) {
        if (!element.isJsonArray()) return text(element);
        try {
            return db.createArrayOf("text", StreamSupport.stream(element.getAsJsonArray().spliterator(), false)
                    .map(Conformance::text).toArray());
        } catch (SQLException error) {
            throw new IllegalStateException(error);
        }
    }

    static String text(JsonElement element) {
        return element.isJsonNull() ? null : element.getAsString();
    }

    static String problem(JsonObject step, Map<String, String> known) {
        Connection db = step.has("on") ? second : first;
        List<List<String>> rows;
        try {
            if (step.has("sql")) {
                rows = rows(db, step.get("sql").getAsString(), null);
            } else {
                String function = step.get("call").getAsString();
                JsonObject types = suite.getAsJsonObject("functions").getAsJsonObject(function);
                JsonArray one = JsonParser.parseString("[\"1\"]").getAsJsonArray();
                JsonArray columns = step.has("columns") ? step.getAsJsonArray("columns") : one;
                String selected = StreamSupport.stream(columns.spliterator(), false)
                        .map(column -> "CAST(" + column.getAsString() + " AS text)").collect(Collectors.joining(", "));
                var arguments = step.getAsJsonObject("args").entrySet();
                String named = arguments.stream()
                        .map(argument -> argument.getKey() + " => CAST(? AS " + types.get(argument.getKey()).getAsString() + ")")
                        .collect(Collectors.joining(", "));
                List<Object> values = new ArrayList<>();
                arguments.forEach(argument -> values.add(value(db, argument.getValue())));
                rows = rows(db, "SELECT " + selected + " FROM flow_signal_v1." + function + "(" + named + ")", values);
            }
        } catch (SQLException error) {
            return step.has("error") && step.get("error").getAsString().equals(error.getSQLState()) ? null : error.toString();
        }
        if (step.has("error")) return "no error, but " + rows;
        if (!step.has("rows")) return null;
        JsonArray wanted = step.getAsJsonArray("rows");
        boolean same = wanted.size() == rows.size();
        for (int row = 0; same && row < rows.size(); row++) {
            for (int n = 0; n < rows.get(row).size(); n++) {
                String value = text(wanted.get(row).getAsJsonArray().get(n));
                String got = rows.get(row).get(n);
                if (value != null && value.matches("(?s)<.*>") && got != null) known.put(value, got);
                else same &= Objects.equals(value, got);
            }
        }
        return same ? null : "the answer is " + rows;
    }
}
