package twin_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/twin"
)

var rewrite = flag.Bool("rewrite", false, "write what Step does into testdata/*.txt")

// TestConversations plays the scripts in testdata. A line "> MS REQUEST JSON"
// is an event to one device at that millisecond; the lines below it are the
// effects in order. Run with -rewrite after a change of the rules, and read
// the difference.
func TestConversations(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, string(want), got)
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

// play returns the script with what Step really does.
func play(t *testing.T, script string) string {
	var out bytes.Buffer
	var d twin.Device
	for _, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		command, isCommand := strings.CutPrefix(line, "> ")
		if !isCommand {
			if line == "" || strings.HasPrefix(line, "#") {
				fmt.Fprintln(&out, line)
			}
			continue
		}
		fmt.Fprintln(&out, line)
		ev := parse(t, command)
		before := snapshot(t, d)
		next, effects := twin.Step(d, ev)
		if snapshot(t, d) != before {
			t.Errorf("%s: Step changed the device that it was given", line)
		}
		d = next
		for _, effect := range effects {
			name := strings.TrimPrefix(fmt.Sprintf("%T", effect), "twin.")
			fmt.Fprintf(&out, "%s %s\n", name, brief(t, effect))
		}
	}
	return out.String()
}

// brief leaves the whole device out of a Membership.
func brief(t *testing.T, effect twin.Effect) string {
	if m, ok := effect.(twin.Membership); ok {
		return fmt.Sprintf("%s %s", [...]string{twin.Added: "added", twin.Removed: "removed", twin.Changed: "changed"}[m.Kind], m.Device.ID)
	}
	return snapshot(t, effect)
}

func snapshot(t *testing.T, v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func parse(t *testing.T, command string) twin.Event {
	parts := strings.SplitN(command, " ", 3)
	ms, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || len(parts) < 2 {
		t.Fatalf("bad line %q", command)
	}
	body := []byte("{}")
	if len(parts) == 3 {
		body = []byte(parts[2])
	}
	ev := twin.Event{Device: "plant/boiler", Time: time.UnixMilli(ms)}
	decode := func(into any) {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatalf("%q: %v", command, err)
		}
	}
	switch parts[1] {
	case "put":
		var r twin.Put
		decode(&r)
		ev.Request = r
	case "update":
		var r twin.Update
		decode(&r.Twins)
		ev.Request = r
	case "sync":
		var r twin.Sync
		decode(&r.Twins)
		ev.Request = r
	case "state":
		ev.Request = twin.SetState{State: string(body)}
	case "remove":
		ev.Request = twin.Remove{}
	case "read":
		ev.Request = twin.Read{}
	case "tick":
		ev.Request = twin.Tick{}
	case "readstate":
		ev.Request = twin.ReadState{}
	default:
		t.Fatalf("unknown request %q", parts[1])
	}
	return ev
}

func TestCheckValue(t *testing.T) {
	tests := []struct {
		typ, value string
		ok         bool
	}{
		{"string", "", true},
		{"string", `{"json": "with spaces"}`, true},
		{"string", "\xff", false},
		{"string", strings.Repeat("x", twin.MaxValue), true},
		{"string", strings.Repeat("x", twin.MaxValue+1), false},
		{"int", "-9223372036854775808", true},
		{"int", "9223372036854775808", false},
		{"int", "1.0", false},
		{"int", "", false},
		{"integer", "7", true},
		{"float", "1e9", true},
		{"double", "21.5", true},
		{"double", "warm", false},
		{"boolean", "true", true},
		{"boolean", "True", false},
		{"bytes", "AAE=", true},
		{"bytes", "AAE", false},
		{"stream", "rtsp://camera", true},
		{"deleted", "x", false},
		{"", "x", false},
	}
	for _, tt := range tests {
		if err := twin.CheckValue(tt.typ, tt.value); (err == nil) != tt.ok {
			t.Errorf("CheckValue(%q, %.20q) = %v, want ok %v", tt.typ, tt.value, err, tt.ok)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "aZ09-_.,:/@#": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a+": false, "ä": false, "a\x00": false,
	} {
		if err := twin.CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%.20q) = %v, want ok %v", name, err, ok)
		}
	}
}

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{
		"plant/boiler": true, "dev/node": true, "e/hw": true,
		"": false, "boiler": false, "/boiler": false, "plant/": false, "a/b/c": false, "a/+": false, "#/b": false, "a\n/b": false,
	} {
		if err := twin.CheckID(id); (err == nil) != ok {
			t.Errorf("CheckID(%q) = %v, want ok %v", id, err, ok)
		}
	}
}
