package codec

import (
	"fmt"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Formats of payloads.
const (
	FormatJSON     = "json"
	FormatCBOR     = "cbor"
	FormatCSV      = "csv"
	FormatProtobuf = "protobuf"
	FormatBinary   = "binary"
	FormatText     = "text"
	FormatLines    = "lines"
	FormatNone     = "none"
)

// New makes the decoder of a source; it is a pipeline.DecoderMaker. A nil spec and an empty
// format mean JSON. An error names the field below decode and the remedy.
func New(spec *v1alpha1.Decode) (pipeline.Decoder, error) {
	if spec == nil {
		return &JSON{}, nil
	}
	switch spec.Format {
	case FormatJSON, "":
		return &JSON{}, nil
	case FormatCBOR:
		return &CBOR{}, nil
	case FormatCSV:
		return newCSV(spec.CSV)
	case FormatProtobuf:
		return newProtobuf(spec.Protobuf)
	case FormatBinary:
		return newBinary(spec.Binary)
	case FormatText:
		return Text{}, nil
	case FormatLines:
		return Lines{}, nil
	case FormatNone:
		return None{}, nil
	}
	return nil, fmt.Errorf("decode.format: %q is not known: use json, cbor, csv, protobuf, binary, text or none", spec.Format)
}

var _ pipeline.DecoderMaker = New

// Text takes the payload as one text, which must be UTF-8.
type Text struct{}

// Decode implements pipeline.Decoder.
func (Text) Decode(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, &SyntaxError{Format: FormatText, Offset: validPrefix(b), Reason: "it is not UTF-8: use the format none for bytes"}
	}
	return string(b), nil
}

// validPrefix is how many bytes at the beginning of b are UTF-8.
func validPrefix(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// Lines takes the payload as a list of lines without their ends; an empty one at the end
// does not count.
type Lines struct{}

// Decode implements pipeline.Decoder.
func (Lines) Decode(b []byte) (any, error) {
	text, err := Text{}.Decode(b)
	if err != nil {
		return nil, err
	}
	left := budgetOf(len(b))
	var l listBuilder
	for line := range lines(text.(string)) {
		if !left.spend(costText) || !l.add(line, &left) {
			return nil, &LimitError{Format: FormatLines, Offset: len(b)}
		}
	}
	list, ok := l.list(&left)
	if !ok {
		return nil, &LimitError{Format: FormatLines, Offset: len(b)}
	}
	return list, nil
}

// None leaves bytes as they are.
type None struct{}

// Decode implements pipeline.Decoder.
func (None) Decode(b []byte) (any, error) { return append([]byte{}, b...), nil }
