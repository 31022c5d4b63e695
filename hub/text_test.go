package hub

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestErrorTexts has errors whose text is not UTF-8, or is cut within a rune:
// what is on the wire is UTF-8, as proto3 wants of a string, and no longer than
// it may be.
func TestErrorTexts(t *testing.T) {
	for name, text := range map[string]string{
		"bytes of a program":  "exit: \xff\xfe\x80 end",
		"cut by who made it":  "Temperaturfühler"[:len("Temperaturf")+1],
		"long, runes of two":  "x" + strings.Repeat("ü", maxStatus),
		"long, runes of four": "xyz" + strings.Repeat("😀", maxStatus/2),
		"long, all of it bad": strings.Repeat("\xff", 2*maxStatus),
		"many continuations":  strings.Repeat("\x80", maxStatus),
		"plain":               "no such pod",
	} {
		t.Run(name, func(t *testing.T) {
			e := wireError(errors.New(text))
			for _, f := range []frame{
				nack{1, e}, refusal{"s", 1, e}, response{Message{ID: 1, Operation: Response, Error: e}}, goodbye{goodbyeRefused, e, 0},
			} {
				b := appendFrame(nil, f)
				if len(b) != frameSize(f) {
					t.Errorf("%T has %d bytes, announced are %d", f, len(b), frameSize(f))
				}
				got, err := parseAny(b)
				if err != nil || !utf8.ValidString(textOf(got)) {
					t.Errorf("%T: %v, %.60q", f, err, textOf(got))
				}
			}
			b := appendError(nil, presentable(e))
			var got *Error
			if err := parseError(&got, b); err != nil || len(b) > maxStatus || !utf8.Valid([]byte(got.Text)) || got.Text == "" {
				t.Errorf("status of %d bytes: %v", len(b), got)
			}
			if utf8.ValidString(text) && !strings.HasPrefix(text, got.Text) {
				t.Errorf("%.20q... ends in %q, which is not of the text", got.Text, got.Text[len(got.Text)-4:])
			}
		})
	}
	if got := clip("x" + strings.Repeat("ü", maxName)); !utf8.ValidString(got) || len(got) > maxName {
		t.Errorf("a clipped name of %d bytes is %q", len(got), got[len(got)-3:])
	}
	if !bytes.Contains(appendFrame(nil, nack{1, &Error{Text: "Fühler"}}), []byte("Fühler")) {
		t.Error("a good text was changed")
	}
}

func textOf(f frame) string {
	switch f := f.(type) {
	case nack:
		return f.Err.Text
	case refusal:
		return f.Err.Text
	case response:
		return f.Message.Error.Text
	case goodbye:
		return f.Err.Text
	}
	return "\xff"
}
