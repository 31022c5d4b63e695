package hub

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// parseFrame reads one message Frame. Nothing in the result points into b. A
// frame of a kind that this program does not know is nil without an error, so
// that a newer peer may send it.
func parseFrame(b []byte) (frame, error) {
	var f frame
	err := eachField(b, func(v field) error {
		var err error
		if v.typ == protowire.BytesType && f == nil {
			f, err = parseKind(v.num, v.b)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// parseKind is a codec's switch: one case for each frame.
func parseKind(num protowire.Number, b []byte) (frame, error) {
	switch num {
	case numHello:
		return parseHello(b)
	case numWelcome:
		return parseWelcome(b)
	case numGoodbye:
		return parseGoodbye(b)
	case numPing:
		return parsePing(b)
	case numPong:
		id, err := parseUint(b)
		return pong{id}, err
	case numDigest:
		return parseDigest(b)
	case numWant:
		return want{}, eachField(b, func(field) error { return nil })
	case numVersions:
		return parseVersions(b)
	case numPut:
		return parsePut(b)
	case numAck:
		seq, err := parseUint(b)
		return ack{seq}, err
	case numNack:
		return parseNack(b)
	case numFragment:
		return parseFragment(b)
	case numCancel:
		id, err := parseUint(b)
		return cancel{id}, err
	case numOpen:
		return parseOpen(b)
	case numResponse:
		m, err := parseMessage(b)
		return response{m}, err
	case numMarks:
		return parseMarks(b)
	case numEvent:
		return parseEvent(b)
	case numRefusal:
		return parseRefusal(b)
	case numBatch:
		return parseBatch(b)
	case numOpening:
		count, err := parseUint(b)
		return opening{count}, err
	}
	return nil, nil
}

func parsePing(b []byte) (frame, error) {
	var f ping
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			f.ID = v.u
		case 2:
			f.RoundTrip = time.Duration(min(v.u, uint64(maxKeepalive.Microseconds()))) * time.Microsecond
		}
		return nil
	})
	return f, err
}

func parseHello(b []byte) (frame, error) {
	var f hello
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
			f.Capabilities = append(f.Capabilities, string(v.b))
		case 7:
			f.Keepalive = v.duration()
		case 8:
			f.Limits, err = parseLimits(v.b)
		case 9:
			f.Dial = v.u
		case 10:
			f.Yield = v.u != 0
		}
		return err
	})
	return f, err
}

func parseWelcome(b []byte) (frame, error) {
	var f welcome
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
			f.Capabilities = append(f.Capabilities, string(v.b))
		case 6:
			f.Previous = v.u
		}
		return err
	})
	return f, err
}

func parseGoodbye(b []byte) (frame, error) {
	var f goodbye
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Kind = goodbyeKind(v.u)
		case 2:
			f.Err, err = parseError(v.b)
		case 3:
			f.Epoch = v.u
		}
		return err
	})
	return f, err
}

func parseDigest(b []byte) (frame, error) {
	var f digest
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			if len(v.b) != len(f.Sum) {
				return violation("digest of %d bytes", len(v.b))
			}
			copy(f.Sum[:], v.b)
		case 2:
			f.Count = v.u
		}
		return nil
	})
	return f, err
}

func parseVersions(b []byte) (frame, error) {
	var f versions
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			var e entry
			err := eachField(v.b, func(v field) error {
				if !parseKey(&e.Key, v) && v.num == 4 {
					e.Version = string(v.b)
				}
				return nil
			})
			if err != nil {
				return err
			}
			f.Entries = append(f.Entries, e)
		case 2:
			f.Last = v.u != 0
		}
		return nil
	})
	return f, err
}

func parsePut(b []byte) (frame, error) {
	var f put
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Seq = v.u
		case 2:
			f.Message, err = parseMessage(v.b)
		}
		return err
	})
	if err == nil && f.Message.Operation != Insert && f.Message.Operation != Update && f.Message.Operation != Delete {
		return nil, violation("state with operation %q", f.Message.Operation)
	}
	return f, err
}

func parseNack(b []byte) (frame, error) {
	f := nack{Err: &Error{}}
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Seq = v.u
		case 2:
			f.Err, err = parseError(v.b)
		}
		return err
	})
	return f, err
}

// parseFragment leaves Data in b: the reader joins fragments at once.
func parseFragment(b []byte) (frame, error) {
	var f fragment
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

func parseOpen(b []byte) (frame, error) {
	var f open
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Class = class(v.u)
		case 2:
			f.Timeout = v.duration()
		case 3:
			f.Message, err = parseMessage(v.b)
		}
		return err
	})
	if err == nil && f.Message.Operation != Query {
		return nil, violation("stream opened with operation %q", f.Message.Operation)
	}
	return f, err
}

func parseMarks(b []byte) (frame, error) {
	var f marks
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			var m mark
			err := eachField(v.b, func(v field) error {
				switch v.num {
				case 1:
					m.Source = string(v.b)
				case 2:
					m.ID = v.u
				}
				return nil
			})
			if err != nil {
				return err
			}
			f.Entries = append(f.Entries, m)
		case 2:
			f.Last = v.u != 0
		}
		return nil
	})
	return f, err
}

func parseEvent(b []byte) (frame, error) {
	var f event
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
			f.Body = bytes.Clone(v.b)
		}
		return nil
	})
	if err == nil && f.ID == 0 {
		return nil, violation("event without an id")
	}
	return f, err
}

func parseRefusal(b []byte) (frame, error) {
	f := refusal{Err: &Error{}}
	err := eachField(b, func(v field) (err error) {
		switch v.num {
		case 1:
			f.Source = string(v.b)
		case 2:
			f.ID = v.u
		case 3:
			f.Err, err = parseError(v.b)
		}
		return err
	})
	return f, err
}

// parseBatch leaves Data in b: a batch is unpacked at once.
func parseBatch(b []byte) (frame, error) {
	var f batch
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
