package mqtt_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/twin"
)

var rewrite = flag.Bool("rewrite", false, "write what the bridge publishes into testdata/*.txt")

// rows are the rows of the tables of part 1 of the protocol, each the name of a part of a
// script in testdata ("# ROW: what").
var rows = map[string][]string{
	"topics": {
		"twin/update", "twin/update/result", "twin/update/delta", "twin/update/document", "twin/get", "twin/get/result", "twin/cloud_updated",
		"state/update", "state/update/result", "state/get", "updated", "membership/get", "membership/get/result", "membership/updated", "membership/detail", "membership/protocol",
		"authInfo", "connected", "data/update", "edgeGroup", "SYS/dis/upload_records", "user", "upload", "twin/history",
	},
	"payloads": {
		"Base", "TwinUpdate", "TwinResult", "Error", "TwinDelta", "TwinDocument", "StateUpdate", "StateResult", "MembershipList", "MembershipUpdate",
		"AttrUpdate", "MembershipDetail", "Quality", "Measured",
	},
	"codes":     {"400", "403", "404", "409", "413", "500", "503"},
	"semantics": {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14"},
	"instead": {
		"own topic", "values", "names", "no value", "namespaces", "equal value", "409", "types", "bytes", "membership/detail and state/get", "event_id property",
	},
}

var (
	uuid    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	counter = regexp.MustCompile(`"revision":[0-9]+`)
)

// TestScripts plays the scripts in testdata. "> TOPIC PAYLOAD" is published by a client, "!
// REQUEST DEVICE JSON" is a request of the cloud's to the engine, and "@ MS" sets the clock.
// The lines below are all that is published then, in order. Run with -rewrite after a change,
// and read the difference. Every topic is spelled out: a renamed constant must not pass.
func TestScripts(t *testing.T) {
	for name, want := range rows {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".txt")
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range want {
				if !strings.Contains(string(script), "\n# "+row+":") {
					t.Errorf("no part of the script is for row %q", row)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				got := play(t, string(script))
				if *rewrite {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				compare(t, string(script), got)
			})
		})
	}
}

func compare(t *testing.T, want, got string) {
	t.Helper()
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			t.Fatalf("line %d:\nwant %s\ngot  %s", i+1, a, b)
		}
	}
}

// play returns the script with what is really published.
func play(t *testing.T, script string) string {
	now := clock
	n := startAt(t, func() time.Time { return now })
	var out strings.Builder
	for _, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			fmt.Fprintln(&out, line)
			continue
		}
		command, rest, _ := strings.Cut(line, " ")
		var sent string // the client sees its own message too
		switch command {
		case "@":
			ms, err := strconv.ParseInt(rest, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			now = time.UnixMilli(ms)
		case ">":
			topic, payload, _ := strings.Cut(rest, " ")
			sent = topic
			if text, err := strconv.Unquote(payload); err == nil {
				payload = text // with escapes: bytes that are not text
			}
			m := bus.Message{Topic: topic, Payload: []byte(payload)}
			if id, ok := strings.CutPrefix(payload, "property:"); ok {
				m.Payload, m.Properties = []byte("{}"), []bus.Property{{Key: "event_id", Value: id}}
			}
			if err := n.bus.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		case "!":
			if err := n.request(t, rest); err != nil {
				fmt.Fprintf(&out, "%s\nengine: %v\n", line, err)
				continue
			}
		default:
			continue // what was published the last time
		}
		fmt.Fprintln(&out, line)
		synctest.Wait()
		for len(n.got) > 0 {
			m := <-n.got
			if m.Topic == sent {
				sent = ""
				continue
			}
			text := counter.ReplaceAllString(uuid.ReplaceAllString(string(m.Payload), "UUID"), `"revision":N`)
			if id := m.Property("event_id"); !strings.Contains(string(m.Payload), `"event_id":"`+id+`"`) || id == "" || m.QoS != bus.AtLeastOnce {
				t.Errorf("%s has event_id %q as property, QoS %d", m.Topic, id, m.QoS)
			}
			fmt.Fprintf(&out, "%s %s\n", m.Topic, text)
		}
	}
	return out.String()
}

// request makes a request of the cloud's.
func (n *node) request(t *testing.T, text string) error {
	parts := strings.SplitN(text, " ", 3)
	body := "{}"
	if len(parts) == 3 {
		body = parts[2]
	}
	var err error
	switch parts[0] {
	case "put":
		var put twin.Put
		if err := json.Unmarshal([]byte(body), &put); err != nil {
			t.Fatal(err)
		}
		err = n.engine.Put(t.Context(), parts[1], put)
	case "remove":
		err = n.engine.Remove(t.Context(), parts[1])
	default:
		t.Fatalf("unknown request %q", text)
	}
	return err
}
