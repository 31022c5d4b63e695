package wsconn

import (
	"encoding/binary"
	"fmt"
)

// The multiplexer's wire, within binary WebSocket messages of at most maxMessage bytes. A
// message holds whole frames: a byte that says which kind, the stream's id as a uvarint,
// and what the comments beside the kinds below say. The edge's streams have odd ids, the
// cloud's even ones, and each side's ids grow.
const (
	frameOpen    byte = iota + 1 // the sender opens the stream
	frameData                    // uvarint length, and so many bytes
	frameBlocked                 // the same; the sender has more, but no credit
	frameEnd                     // the sender writes no more
	frameClose                   // the sender neither writes nor reads any more
	frameCredit                  // uvarint: so many more bytes may be sent
)

const (
	// maxMessage fills four TLS records with a WebSocket header before it.
	maxMessage = 64<<10 - 64
	// maxHeader bounds what stands before the bytes of a data frame.
	maxHeader = 1 + 2*binary.MaxVarintLen64
	// slice is how much of a stream goes into a message while others wait.
	slice = 16 << 10
)

type frame struct {
	kind byte
	id   uint64
	n    uint64 // of frameCredit
	data []byte // of frameData and frameBlocked; part of the message
}

func appendFrame(b []byte, f frame) []byte {
	b = binary.AppendUvarint(append(b, f.kind), f.id)
	switch f.kind {
	case frameData, frameBlocked:
		b = append(binary.AppendUvarint(b, uint64(len(f.data))), f.data...)
	case frameCredit:
		b = binary.AppendUvarint(b, f.n)
	}
	return b
}

// parseFrame takes the first frame of a message and returns the rest.
func parseFrame(b []byte) (frame, []byte, error) {
	f := frame{kind: b[0]}
	var err error
	if f.id, b, err = parseUvarint(b[1:]); err != nil {
		return f, nil, err
	}
	switch f.kind {
	case frameOpen, frameEnd, frameClose:
		return f, b, nil
	case frameCredit:
		f.n, b, err = parseUvarint(b)
		return f, b, err
	case frameData, frameBlocked:
		var n uint64
		if n, b, err = parseUvarint(b); err != nil {
			return f, nil, err
		}
		if n > uint64(len(b)) {
			return f, nil, violation("%d bytes announced where %d follow", n, len(b))
		}
		f.data = b[:n]
		return f, b[n:], nil
	}
	return f, nil, violation("frame of kind %d", f.kind)
}

func parseUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, violation("broken number")
	}
	return v, b[n:], nil
}

// ProtocolError says what a peer did that the protocol does not allow. Its
// connection ends.
type ProtocolError struct{ Text string }

// Error says what the peer did.
func (e *ProtocolError) Error() string { return "wsconn: protocol violation: " + e.Text }

func violation(format string, args ...any) error {
	return &ProtocolError{Text: fmt.Sprintf(format, args...)}
}
