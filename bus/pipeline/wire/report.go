package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Resources of pipelines on the link.
const (
	Pipelines = "pipelines"        // down: the Pipelines of the node
	Inputs    = "pipelines/inputs" // down: the ConfigMaps and Secrets that those name; see InputName
	Reports   = "pipelines/status" // up: Report; the key is the Pipeline's
	Events    = "pipelines/events" // up, events: Batch; the key is the Pipeline's
)

// Kinds of inputs.
const (
	ConfigMap = "configmap"
	Secret    = "secret"
)

// InputName is the name of an input in keys of the link: KIND.NAME.
func InputName(kind, name string) string { return kind + "." + name }

// ParseInputName reads what InputName wrote.
func ParseInputName(s string) (kind, name string, ok bool) {
	kind, name, ok = strings.Cut(s, ".")
	return kind, name, ok && name != "" && (kind == ConfigMap || kind == Secret)
}

// Input is a ConfigMap or Secret as a node gets it.
type Input struct {
	Text map[string]string `json:"text,omitempty"` // of a ConfigMap
	Data map[string][]byte `json:"data,omitempty"` // of a Secret, and binary data of a ConfigMap
}

// Bounds of reports.
const (
	MaxFailures = 10   // of one report
	MaxMessage  = 1024 // bytes of a text
	MaxEvent    = 512  // bytes of the event of a failure
	MaxWord     = 63   // bytes of a name or reason
	maxReport   = 64 << 10
)

// States of a pipeline on a node.
const (
	Starting = "Starting"
	Running  = "Running"
	Failed   = "Failed"
)

// Report is what a node says of one Pipeline.
type Report struct {
	UID        string    `json:"uid"` // of the Pipeline
	Generation int64     `json:"generation"`
	State      string    `json:"state"`
	Failures   []Failure `json:"failures,omitempty"` // the newest first
}

// Failure is what failed at one step. v1alpha1.Failure has the same fields and Node.
type Failure struct {
	Step    string    `json:"step,omitempty"`
	Reason  string    `json:"reason"`
	Message string    `json:"message,omitempty"`
	Event   string    `json:"event,omitempty"`
	Count   int64     `json:"count,omitempty"`
	Time    time.Time `json:"time"`
}

// Encode returns r as bytes, within the bounds.
func (r *Report) Encode() ([]byte, error) {
	own := *r
	own.bound()
	return json.Marshal(&own)
}

// errReport is why bytes are no Report.
var errReport = errors.New("pipeline/wire: no report")

// DecodeReport reads what Encode wrote. Unknown fields, of a newer release, are skipped. What
// is too long is cut, and control characters are replaced.
func DecodeReport(b []byte) (*Report, error) {
	if len(b) > maxReport {
		return nil, fmt.Errorf("%w: %d bytes are over %d", errReport, len(b), maxReport)
	}
	var r Report
	if err := jsonlimit.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errReport, err)
	}
	if r.State != Starting && r.State != Running && r.State != Failed {
		return nil, fmt.Errorf("%w: state %.40q", errReport, r.State)
	}
	r.bound()
	return &r, nil
}

func (r *Report) bound() {
	r.UID = Clip(r.UID, MaxWord)
	failures := r.Failures[:min(len(r.Failures), MaxFailures)]
	r.Failures = make([]Failure, 0, len(failures))
	for _, f := range failures {
		f.Step, f.Reason = Clip(f.Step, MaxWord), word(f.Reason)
		f.Message, f.Event = Clip(f.Message, MaxMessage), Clip(f.Event, MaxEvent)
		f.Count = max(f.Count, 0)
		// The API server takes no other years; seconds are enough.
		if f.Time = f.Time.UTC().Truncate(time.Second); f.Time.Year() < 1 || f.Time.Year() > 9999 {
			f.Time = time.Time{}
		}
		r.Failures = append(r.Failures, f)
	}
}

// word is a reason as conditions have it: letters and digits.
func word(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, Clip(s, MaxWord))
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return "Unknown"
	}
	return s
}

// Clip cuts a text to so many bytes, and replaces what is no text: control characters could
// control the terminal of whoever reads a status.
func Clip(s string, most int) string {
	if len(s) > most {
		cut := most - len("…")
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	clean := true
	for _, r := range s {
		if unprintable(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	// One byte stands for what is replaced, so that the text does not grow.
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, s)
}

func unprintable(r rune) bool {
	return r == utf8.RuneError || r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x200e && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// ReportsPath begins the keys of Reports in a node's store.
const ReportsPath = "pipelines:status/"
