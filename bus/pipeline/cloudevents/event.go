package cloudevents

import (
	"fmt"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// SpecVersion is the version on the wire. Patch versions of the specification do not change it.
const SpecVersion = "1.0"

// MaxNameLength is the longest name of an extension that is read. The specification advises 20.
const MaxNameLength = 64

// An AttributeError says which attribute of an event is wrong.
type AttributeError struct {
	Index     int    // of the event in a batch
	Attribute string // its name on the wire; empty means the event as a whole
	Reason    string
}

func (e *AttributeError) Error() string {
	s := "cloudevents: "
	if e.Index > 0 {
		s += fmt.Sprintf("event %d: ", e.Index)
	}
	if e.Attribute != "" {
		s += e.Attribute + ": "
	}
	return s + e.Reason
}

func wrong(attribute, format string, args ...any) error {
	return &AttributeError{Attribute: attribute, Reason: fmt.Sprintf(format, args...)}
}

// Validate says what an event may not be. Reading and writing call it.
func Validate(e *pipeline.Event) error {
	for _, a := range []struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if a.value == "" {
			return wrong(a.name, "it is required, and may not be empty")
		}
		if err := validText(a.name, a.value); err != nil {
			return err
		}
	}
	if _, err := url.Parse(e.Source); err != nil {
		return wrong("source", "%.60q is not a URI reference", e.Source)
	}
	if err := validText("subject", e.Subject); err != nil {
		return err
	}
	if y := e.Time.Year(); y < 1 || y > 9999 {
		return wrong("time", "the year %d is not within 1 and 9999", y)
	}
	for name, value := range e.Extensions {
		if err := validExtension(name, value); err != nil {
			return err
		}
	}
	return nil
}

// reserved are names that no extension has.
var reserved = map[string]bool{"specversion": true, "id": true, "source": true, "type": true, "subject": true, "time": true, "data": true}

func validExtension(name, value string) error {
	if reserved[name] {
		return wrong(name, "an extension may not have the name of an attribute of its own")
	}
	if err := validName(name); err != nil {
		return err
	}
	if name == "dataschema" {
		if u, err := url.Parse(value); err != nil || !u.IsAbs() {
			return wrong(name, "%.60q is not an absolute URI", value)
		}
	}
	return validText(name, value)
}

func validName(name string) error {
	if name == "" || len(name) > MaxNameLength {
		return wrong("", "the name of an attribute has %d letters, 1 to %d are allowed", len(name), MaxNameLength)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return wrong("", "the name of an attribute %q may have the letters a to z and 0 to 9 only", name)
		}
	}
	return nil
}

// validText refuses characters that the type String may not have.
func validText(attribute, s string) error {
	for i, r := range s {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef {
			return wrong(attribute, "the character %U at byte %d is not allowed in a text", r, i)
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return wrong(attribute, "byte %d is not UTF-8", i)
			}
		}
	}
	return nil
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, wrong("time", "%.60q is not a time as in RFC 3339", s)
	}
	return t, nil
}
