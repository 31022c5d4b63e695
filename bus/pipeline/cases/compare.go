package cases

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// compare returns what differs between what a case expects and what came.
func compare(test v1alpha1.Test, got []Output) []string {
	var failures []string
	type place struct {
		sink string
		dead bool
	}
	came := map[place][]Output{}
	var order []place
	named := map[place]bool{}
	see := func(p place) {
		if !slices.Contains(order, p) {
			order = append(order, p)
		}
	}
	wants := map[place][]v1alpha1.TestOutput{}
	for _, w := range test.Expect {
		p := place{string(w.Sink), w.DeadLetter != ""}
		wants[p], named[p] = append(wants[p], w), true
		see(p)
	}
	for _, o := range got {
		p := place{o.Sink, o.Reason != ""}
		came[p] = append(came[p], o)
		see(p)
	}
	nothing := len(test.Expect) == 0 && len(test.NotExpect) == 0
	for _, p := range order {
		if !named[p] && !p.dead && !nothing {
			continue
		}
		failures = append(failures, compareList(p.sink, p.dead, wants[p], came[p])...)
	}
	for i, n := range test.NotExpect {
		for _, o := range got {
			if o.Sink == string(n.Sink) && len(differences(n, o)) == 0 {
				failures = append(failures, fmt.Sprintf("notExpect %d: this came: %s", i+1, o))
			}
		}
	}
	return failures
}

// compareList compares the events of one sink.
func compareList(sink string, dead bool, wants []v1alpha1.TestOutput, came []Output) []string {
	what := "event"
	if dead {
		what = "dead letter"
	}
	var failures []string
	for i := range max(len(wants), len(came)) {
		at := fmt.Sprintf("%s: %s %d", sink, what, i+1)
		switch {
		case i >= len(came):
			failures = append(failures, fmt.Sprintf("%s did not come: %s", at, describe(wants[i])))
		case i >= len(wants):
			failures = append(failures, fmt.Sprintf("%s was not expected: %s", at, came[i]))
		default:
			if d := differences(wants[i], came[i]); len(d) > 0 {
				text := at + " differs:"
				for _, line := range d {
					text += "\n  " + line
				}
				failures = append(failures, text)
			}
		}
	}
	return failures
}

func describe(w v1alpha1.TestOutput) string {
	switch {
	case w.DeadLetter != "":
		return w.DeadLetter
	case w.Data != nil:
		return string(w.Data.Raw)
	}
	return "any data"
}

// differences are the lines that say how o is not w.
func differences(w v1alpha1.TestOutput, o Output) []string {
	var lines []string
	if w.DeadLetter != o.Reason {
		lines = append(lines, fmt.Sprintf("deadLetter: expected %q, got %q", w.DeadLetter, o.Reason))
	}
	if w.ID != "" && w.ID != o.Event.ID {
		lines = append(lines, fmt.Sprintf("id: expected %q, got %q", w.ID, o.Event.ID))
	}
	if w.At != nil && o.At > w.At.Duration {
		lines = append(lines, fmt.Sprintf("at: expected %v or earlier, got %v", w.At.Duration, o.At))
	}
	if w.Data != nil {
		var want any
		if err := json.Unmarshal(w.Data.Raw, &want); err != nil {
			return append(lines, "data: "+err.Error())
		}
		lines = append(lines, diff("data", want, o.Event.Data)...)
	}
	return lines
}

// diff compares want, as encoding/json has it, with the data of an event.
func diff(path string, want, got any) []string {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			break
		}
		var lines []string
		for _, k := range slices.Sorted(maps.Keys(want)) {
			v, ok := have[k]
			if !ok {
				lines = append(lines, fmt.Sprintf("%s.%s: expected %s, got nothing", path, k, text(want[k])))
				continue
			}
			lines = append(lines, diff(path+"."+k, want[k], v)...)
		}
		return lines
	case []any:
		have, ok := got.([]any)
		if !ok {
			break
		}
		if len(want) != len(have) {
			return []string{fmt.Sprintf("%s: expected %d elements, got %d: %s", path, len(want), len(have), text(got))}
		}
		var lines []string
		for i := range want {
			lines = append(lines, diff(fmt.Sprintf("%s[%d]", path, i), want[i], have[i])...)
		}
		return lines
	case float64:
		if have, ok := values.Number(got); ok && math.Abs(want-have) <= 1e-9*max(1, math.Abs(want)) {
			return nil
		}
	case string:
		if have, ok := got.([]byte); ok && base64.StdEncoding.EncodeToString(have) == want {
			return nil
		}
		if got == want {
			return nil
		}
		if have, ok := got.(time.Time); ok && have.UTC().Format(time.RFC3339Nano) == want {
			return nil
		}
	default: // null and bool
		if got == want {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: expected %s, got %s", path, text(want), text(got))}
}

// text is a value as JSON, cut to a line. Bytes that are text are quoted.
func text(v any) string {
	if b, ok := v.([]byte); ok && utf8.Valid(b) {
		v = string(b)
	}
	b, err := json.Marshal(v)
	if err != nil {
		b = fmt.Append(nil, v)
	}
	const most = 400
	if len(b) > most {
		return string(b[:most]) + "..."
	}
	return string(b)
}
