package printer_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
)

type thing struct {
	Name string    `json:"name"`
	Made time.Time `json:"made"`
}

func table() (printer.Table, printer.List[thing]) {
	now := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	t := printer.Table{Now: now, Columns: []printer.Column{{Name: "NAME"}, {Name: "AGE"}, {Name: "KEY", Wide: true}, {Name: "MESSAGE"}}}
	evil := thing{"b\x1b]0;title\a", now.Add(time.Hour)}
	t.Rows = []printer.Row{
		{Name: "thing/a", Cells: []any{"a", now.Add(-5 * time.Minute), "k", ""}},
		{Name: "thing/" + evil.Name, Cells: []any{evil.Name, evil.Made, 7, "two\nlines\tand \u009b2J \u202egnp"}, Level: printer.LevelError},
	}
	return t, printer.NewList("ThingList", []thing{{"a", now.Add(-5 * time.Minute)}, evil})
}

func TestPrint(t *testing.T) {
	for name, tt := range map[string]struct {
		flags printer.Flags
		want  string
	}{
		"table": {printer.Flags{Output: "table"}, "NAME              AGE      MESSAGE\na                 5m       -\n" + `b\x1b]0;title\a   in 60m   two lines and \u009b2J \u202egnp` + "\n"},
		"wide, no headers": {printer.Flags{Output: "wide", NoHeaders: true}, "a                 5m       k   -\n" +
			`b\x1b]0;title\a   in 60m   7   two lines and \u009b2J \u202egnp` + "\n"},
		"name": {printer.Flags{Output: "name"}, "thing/a\n" + `thing/b\x1b]0;title\a` + "\n"},
		"yaml": {printer.Flags{Output: "yaml"}, "items:\n- made: \"2026-11-30T02:55:00Z\"\n  name: a\n- made: \"2026-11-30T04:00:00Z\"\n  name: \"b\\e]0;title\\a\"\nkind: ThingList\n"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, list := table()
			var out strings.Builder
			if err := tt.flags.Print(&out, rows, list); err != nil || out.String() != tt.want {
				t.Errorf("%v\n%s\nwant\n%s", err, out.String(), tt.want)
			}
		})
	}
}

// TestJSON: what is printed is the object, and nothing in it steers a terminal.
func TestJSON(t *testing.T) {
	rows, list := table()
	list.Items[0].Name = "<a> \u009b2J \x7f \u202e"
	var out strings.Builder
	if err := (printer.Flags{Output: "json"}).Print(&out, rows, list); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\a\x7f\u009b\u202e") || !strings.Contains(out.String(), "<a>") {
		t.Errorf("printed %q", out.String())
	}
	var back printer.List[thing]
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back.Items[0] != list.Items[0] || back.Items[1] != list.Items[1] {
		t.Errorf("%v: read back %+v", err, back)
	}
	var empty strings.Builder
	if err := (printer.Flags{Output: "json"}).Print(&empty, rows, printer.NewList[thing]("ThingList", nil)); err != nil || !strings.Contains(empty.String(), `"items": []`) {
		t.Errorf("%v: an empty list is %q", err, empty.String())
	}
}

func TestAge(t *testing.T) {
	now := time.Unix(1e9, 0)
	for want, at := range map[string]time.Time{
		"": {}, "0s": now.Add(time.Second), "in 30d": now.Add(30 * 24 * time.Hour), "59s": now.Add(-59 * time.Second), "2d": now.Add(-48 * time.Hour),
	} {
		if got := printer.Age(at, now); got != want {
			t.Errorf("%s is %q, want %q", at, got, want)
		}
	}
}
