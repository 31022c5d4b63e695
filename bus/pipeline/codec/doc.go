// Package codec decodes the payloads of pipelines: JSON, CBOR, CSV, Protocol Buffers by a
// descriptor, fixed binary layouts, text and lines. It writes JSON and CBOR, and checks data
// against JSON Schemas.
//
//	d, err := codec.New(&v1alpha1.Decode{Format: codec.FormatCBOR})
//	if err != nil {
//		return err // decode.format: ...
//	}
//	data, err := d.Decode(payload)
//
// # Data
//
// Decoders give nil, bool, int64, uint64, float64, string, []byte, []any and map[string]any,
// and nothing else. Numbers of JSON and CSV are float64, as JSON has one kind of number; a
// whole number that a float64 cannot hold is int64 or uint64. CBOR, Protocol Buffers and
// layouts have whole numbers of their own: int64, or uint64 beyond it. Times are texts as in
// RFC 3339.
//
// # Bounds
//
// Payloads come from anywhere. A decoder allocates at most 20 bytes for each byte of the
// payload, and 64 KiB besides: each adds up what it will need before it allocates, and returns a
// *LimitError for a payload of very many very small values. Nesting ends at 64 levels. Nothing
// is loaded: no $ref of a schema leads to a file or the network. The readers of JSON, CBOR, CSV
// and Protocol Buffers are this package's own for these bounds, and for speed: events of a
// source have the same field names again and again, which are kept. Fuzz tests compare them with
// encoding/json, fxamacker/cbor, encoding/csv and dynamicpb.
//
// # Concurrency and stability
//
// All decoders and validators may be used by several goroutines at once. None keeps the payload.
// Errors name the place: *SyntaxError has the offset of the first wrong byte.
package codec
