package hub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// TestErrorTexts sends errors whose text is not UTF-8, or is cut within a rune: on the
// wire the text is UTF-8, as proto3 demands of a string, and not longer than allowed.
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
			e := message.ErrorOf(errors.New(text))
			for _, f := range []wire.Frame{
				wire.Nack{Seq: 1, Err: e}, wire.Refusal{Source: "s", ID: 1, Err: e}, wire.Response{Message: Message{ID: 1, Operation: Response, Error: e}}, wire.GoAway{Kind: wire.GoAwayRefused, Err: e, Epoch: 0},
			} {
				b := wire.AppendFrame(nil, f)
				if len(b) != wire.Size(f) {
					t.Errorf("%T has %d bytes, announced are %d", f, len(b), wire.Size(f))
				}
				got, err := parseFrame(b)
				if err != nil || !utf8.ValidString(textOf(got)) {
					t.Errorf("%T: %v, %.60q", f, err, textOf(got))
				}
			}
			b := wire.AppendError(nil, presentable(e))
			var got *Error
			if err := wire.ParseError(&got, b); err != nil || len(b) > maxStatus || !utf8.Valid([]byte(got.Text)) || got.Text == "" {
				t.Errorf("status of %d bytes: %v", len(b), got)
			}
			if utf8.ValidString(text) && !strings.HasPrefix(text, got.Text) {
				t.Errorf("%.20q... ends in %q, which is not of the text", got.Text, got.Text[len(got.Text)-4:])
			}
		})
	}
	if got := message.Clip("x" + strings.Repeat("ü", maxName)); !utf8.ValidString(got) || len(got) > maxName {
		t.Errorf("a clipped name of %d bytes is %q", len(got), got[len(got)-3:])
	}
	if !bytes.Contains(wire.AppendFrame(nil, wire.Nack{Seq: 1, Err: &Error{Text: "Fühler"}}), []byte("Fühler")) {
		t.Error("a good text was changed")
	}
}

func textOf(f wire.Frame) string {
	switch f := f.(type) {
	case wire.Nack:
		return f.Err.Text
	case wire.Refusal:
		return f.Err.Text
	case wire.Response:
		return f.Message.Error.Text
	case wire.GoAway:
		return f.Err.Text
	}
	return "\xff"
}

// parseFrame reads one frame without its length.
func parseFrame(b []byte) (wire.Frame, error) {
	in := append(binary.AppendUvarint(nil, uint64(len(b))), b...)
	return wire.NewReader(bytes.NewReader(in), wire.MaxPiece, 0).Next()
}
