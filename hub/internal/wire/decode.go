package wire

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// decoder reads frames. It counts how many entries its peer may still list; the zero
// value accepts no list. It allocates at most 20 bytes for each byte that it reads:
// TestDecodersAreBounded searches for the worst input.
type decoder struct {
	keys     int  // entries that the peer may list in all
	versions int  // of these, how many are left for versions
	marks    int  // and how many for the first marks
	marked   bool // the first marks are complete; each later frame of marks may have keys entries
	// stands is set on the control stream after the handshake: frames of a handshake are
	// then refused, and so are those of calls, which have streams of their own.
	stands bool
	// packed is set while a batch is unpacked: what may not be in one is then refused before it
	// is read.
	packed bool
	// Owned says that the caller does not use the bytes given to Frame again, so that
	// bodies may stay in them.
	Owned bool
}

// newDecoder returns one for a peer that may list so many keys, and as many sources.
func newDecoder(keys int) decoder { return decoder{keys: keys, versions: keys, marks: keys} }

// Frame reads one message Frame. The result does not point into b, except where Owned
// allows it. A frame of an unknown kind is nil without an error, so that a newer peer may
// send it.
func (d *decoder) Frame(b []byte) (Frame, error) {
	var f Frame
	err := eachField(b, func(v field) error {
		var err error
		if v.typ == protowire.BytesType && f == nil {
			f, err = d.kind(v.num, v.b)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// body returns the body of a message: a copy, unless Owned is set.
func (d *decoder) body(b []byte) []byte {
	if d.Owned {
		return b[:len(b):len(b)]
	}
	return bytes.Clone(b)
}

// kind is a codec's switch: one case for each frame.
func (d *decoder) kind(num protowire.Number, b []byte) (Frame, error) {
	if d.stands && (num == numHello || num == numWelcome || num == NumOpen || num == numResponse) {
		return nil, message.Violation("frame %d after the handshake", num)
	}
	if d.packed && num <= numOpening && num != numVersions && num != numPut && num != numEvent {
		return nil, message.Violation("frame %d in a batch", num)
	}
	switch num {
	case numHello:
		return parseHello(b)
	case numWelcome:
		return parseWelcome(b)
	case numGoAway:
		return parseGoAway(b)
	case numPing:
		return parsePing(b)
	case numPong:
		return parsePong(b)
	case numDigest:
		return parseDigest(b)
	case numWant:
		return Want{}, eachField(b, func(field) error { return nil })
	case numVersions:
		return d.parseVersions(b)
	case numPut:
		return d.parsePut(b)
	case numAck:
		seq, err := parseUint(b)
		return Ack{seq}, err
	case numNack:
		return parseNack(b)
	case numFragment:
		return parseFragment(b)
	case numCancel:
		id, err := parseUint(b)
		return Cancel{id}, err
	case NumOpen:
		return d.parseOpen(b)
	case numResponse:
		var f Response
		err := d.parseMessage(&f.Message, b)
		return f, err
	case numMarks:
		return d.parseMarks(b)
	case numEvent:
		return d.parseEvent(b)
	case numRefusal:
		return parseRefusal(b)
	case numBatch:
		return parseBatch(b)
	case numOpening:
		count, err := parseUint(b)
		return Opening{count}, err
	}
	return nil, nil
}

// maxRoundTrip bounds what a peer may say of its last ping.
const maxRoundTrip = 10 * time.Minute

func parsePing(b []byte) (Frame, error) {
	var f Ping
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			f.ID = v.u
		case 2:
			f.RoundTrip = time.Duration(min(v.u, uint64(maxRoundTrip.Microseconds()))) * time.Microsecond
		}
		return nil
	})
	return f, err
}

func parsePong(b []byte) (Frame, error) {
	var f Pong
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			f.ID = v.u
		case 2:
			f.Time = v.u
		}
		return nil
	})
	return f, err
}

func parseHello(b []byte) (Frame, error) {
	var f Hello
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Min = v.u
		case 2:
			f.Max = v.u
		case 3:
			f.Node = string(v.b)
		case 4:
			f.Instance = string(v.b)
		case 5:
			f.Version = string(v.b)
		case 6:
			f.Capabilities, err = appendCapability(f.Capabilities, v.b)
		case 7:
			f.Keepalive = v.duration()
		case 8:
			f.Limits, err = parseLimits(v.b)
		case 9:
			f.Dial = v.u
		case 10:
			f.Yield = v.u != 0
		case 11:
			f.Earlier, err = appendEarlier(f.Earlier, v.b)
		}
		return err
	})
	return f, err
}

func parseWelcome(b []byte) (Frame, error) {
	var f Welcome
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Version = v.u
		case 2:
			f.Epoch = v.u
		case 3:
			f.Keepalive = v.duration()
		case 4:
			f.Limits, err = parseLimits(v.b)
		case 5:
			f.Capabilities, err = appendCapability(f.Capabilities, v.b)
		case 6:
			f.Previous = v.u
		}
		return err
	})
	return f, err
}

func parseGoAway(b []byte) (Frame, error) {
	var f GoAway
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Kind = GoAwayKind(v.u)
		case 2:
			err = ParseError(&f.Err, v.b)
		case 3:
			f.Epoch = v.u
		}
		return err
	})
	return f, err
}

func parseDigest(b []byte) (Frame, error) {
	var f Digest
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			if len(v.b) != len(f.Sum) {
				return message.Violation("digest of %d bytes", len(v.b))
			}
			copy(f.Sum[:], v.b)
		case 2:
			f.Count = v.u
		}
		return nil
	})
	return f, err
}

func (d *decoder) parsePut(b []byte) (Frame, error) {
	var f Put
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Seq = v.u
		case 2:
			err = d.parseMessage(&f.Message, v.b)
		case 3:
			f.Trace = nil
			if trace := message.Traceparent(v.b); trace != "" {
				f.Trace = &trace
			}
		}
		return err
	})
	if err == nil && f.Seq == 0 {
		return nil, message.Violation("state without a number")
	}
	if err == nil && f.Message.Operation != message.Insert && f.Message.Operation != message.Update && f.Message.Operation != message.Delete {
		return nil, message.Violation("state with operation %q", f.Message.Operation)
	}
	return f, err
}

func parseNack(b []byte) (Frame, error) {
	var f Nack
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Seq = v.u
		case 2:
			err = ParseError(&f.Err, v.b)
		}
		return err
	})
	if err == nil && f.Seq == 0 {
		return nil, message.Violation("nack without a number")
	}
	if f.Err == nil {
		f.Err = &message.Error{}
	}
	return f, err
}

// parseFragment leaves Data in b: the reader joins fragments at once.
func parseFragment(b []byte) (Frame, error) {
	var f Fragment
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			f.Data = v.b
		case 2:
			f.Last = v.u != 0
		}
		return nil
	})
	return f, err
}

func (d *decoder) parseOpen(b []byte) (Frame, error) {
	var f Open
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Class = Class(v.u)
		case 2:
			f.Timeout = v.duration()
		case 3:
			err = d.parseMessage(&f.Message, v.b)
		}
		return err
	})
	if err == nil && f.Message.Operation != message.Query {
		return nil, message.Violation("stream opened with operation %q", f.Message.Operation)
	}
	return f, err
}

func (d *decoder) parseEvent(b []byte) (Frame, error) {
	var f Event
	err := eachField(b, func(v field) error {
		if parseKey(&f.Key, v) {
			return nil
		}
		switch v.num {
		case 4:
			f.Source = string(v.b)
		case 5:
			f.ID = v.u
		case 8:
			f.Body = d.body(v.b)
		}
		return nil
	})
	if err == nil && (f.ID == 0 || f.Source == "") {
		return nil, message.Violation("event without an id or a source")
	}
	return f, err
}

func parseRefusal(b []byte) (Frame, error) {
	var f Refusal
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Source = string(v.b)
		case 2:
			f.ID = v.u
		case 3:
			err = ParseError(&f.Err, v.b)
		}
		return err
	})
	if err == nil && (f.ID == 0 || f.Source == "") {
		return nil, message.Violation("refusal without an id or a source")
	}
	if f.Err == nil {
		f.Err = &message.Error{}
	}
	return f, err
}

// parseBatch leaves Data in b: a batch is unpacked at once.
func parseBatch(b []byte) (Frame, error) {
	var f Batch
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			f.Raw = v.u
		case 2:
			f.Data = v.b
		}
		return nil
	})
	return f, err
}
