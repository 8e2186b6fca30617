// Runs ../conformance.json: go run ./conformance
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

type step struct {
	On, SQL, Call, Error string
	Args                 map[string]any
	Columns              []string
	Rows                 *[][]*string
}

type suite struct {
	Functions map[string]map[string]string
	Cases     []struct {
		Name  string
		Steps []json.RawMessage
	}
}

var ctx = context.Background()

func main() {
	var all suite
	file, err := os.ReadFile("../conformance.json")
	check(err)
	check(json.Unmarshal(file, &all))
	first, second := connect(), connect()
	passed := 0
	for _, one := range all.Cases {
		ids, err := query(first, "SELECT CAST(gen_random_uuid() AS text), CAST(gen_random_uuid() AS text)")
		check(err)
		known := map[string]string{"<run>": *ids[0][0], "<other>": *ids[0][1]}
		problem := ""
		for _, raw := range one.Steps {
			text := string(raw)
			for name, value := range known {
				text = strings.ReplaceAll(text, name, value)
			}
			var s step
			check(json.Unmarshal([]byte(text), &s))
			conn := first
			if s.On != "" {
				conn = second
			}
			if problem = s.run(conn, all.Functions[s.Call], known); problem != "" {
				fmt.Printf("FAILED %s\n%s\n%s\n", one.Name, text, problem)
				break
			}
		}
		if problem == "" {
			passed++
		}
		for _, conn := range []*pgx.Conn{first, second} {
			_, err := query(conn, "ROLLBACK")
			check(err)
		}
		for _, id := range ids[0] {
			_, err := query(first, "SELECT remove_run::text FROM flow_signal_v1.remove_run(p_run_id => CAST($1 AS uuid))", id)
			check(err)
		}
	}
	fmt.Printf("%d of %d cases passed\n", passed, len(all.Cases))
	if passed < len(all.Cases) {
		os.Exit(1)
	}
}

func (s step) run(conn *pgx.Conn, types map[string]string, known map[string]string) string {
	statement, args := s.SQL, []any{}
	if s.Call != "" {
		named, columns := []string{}, []string{}
		for name, value := range s.Args {
			args = append(args, text(value))
			named = append(named, fmt.Sprintf("%s => CAST($%d AS %s)", name, len(args), types[name]))
		}
		for _, column := range append(s.Columns, "1")[:max(len(s.Columns), 1)] {
			columns = append(columns, fmt.Sprintf("CAST(%s AS text)", column))
		}
		statement = fmt.Sprintf("SELECT %s FROM flow_signal_v1.%s(%s)", strings.Join(columns, ", "), s.Call, strings.Join(named, ", "))
	}
	rows, err := query(conn, statement, args...)
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) && refusal.Code == s.Error {
		return ""
	} else if err != nil || s.Error != "" {
		return fmt.Sprint("error: ", err)
	} else if s.Rows == nil {
		return ""
	}
	answer, _ := json.Marshal(rows)
	same := len(*s.Rows) == len(rows)
	for row := 0; same && row < len(rows); row++ {
		for n, got := range rows[row] {
			wanted := (*s.Rows)[row][n]
			if wanted != nil && got != nil && strings.HasPrefix(*wanted, "<") && strings.HasSuffix(*wanted, ">") {
				known[*wanted] = *got
			} else if (wanted == nil) != (got == nil) || wanted != nil && *wanted != *got {
				same = false
			}
		}
	}
	if same {
		return ""
	}
	return "the answer is " + string(answer)
}

// An array goes as text[], every other value as text.
func text(value any) any {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		texts := make([]*string, len(value))
		for n, element := range value {
			if element, ok := element.(string); ok {
				texts[n] = &element
			}
		}
		return texts
	default:
		return fmt.Sprint(value)
	}
}

func query(conn *pgx.Conn, sql string, args ...any) ([][]*string, error) {
	rows, _ := conn.Query(ctx, sql, args...)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]*string, error) {
		values := make([]*string, len(row.FieldDescriptions()))
		targets := make([]any, len(values))
		for n := range values {
			targets[n] = &values[n]
		}
		return values, row.Scan(targets...)
	})
}

func connect() *pgx.Conn {
	config, err := pgx.ParseConfig("") // PGHOST, PGUSER ...
	check(err)
	// Nothing is left prepared in the session, so that a transaction pooler may stand in between.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	check(err)
	return conn
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
