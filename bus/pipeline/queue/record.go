package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/compress"
	"github.com/edgekit/edgekit/bus/pipeline/internal/value"
)

// errDamaged is returned for bytes that are no record of ours.
var errDamaged = errors.New("record is damaged or of a newer version")

// recordVersion is the first byte of each record.
const recordVersion = 1

// Bounds of a record.
const (
	maxForm    = pipeline.MaxEvent + 64<<10 // of one event
	recordSize = 256 << 10                  // of the events that are stored together, before compression
	maxRecord  = maxForm + recordSize       // of one record, before compression
)

// How the events of a record are packed. The numbers are on disk: they never change.
const (
	packedRaw  = 0
	packedZstd = 1
	packedGzip = 2
)

// record is a number of events that were stored together.
type record struct {
	stored time.Time // in milliseconds
	count  int
	packed byte
	body   []byte // the events, packed
}

// seal gives content a version, a checksum and itself.
func seal(content []byte) []byte {
	b := make([]byte, 5, 5+len(content))
	b[0] = recordVersion
	binary.BigEndian.PutUint32(b[1:], crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, content...)
}

// unseal returns the content of what seal made, or errDamaged.
func unseal(b []byte) ([]byte, error) {
	if len(b) < 5 || b[0] != recordVersion || binary.BigEndian.Uint32(b[1:]) != crc32.Checksum(b[5:], crc32.MakeTable(crc32.Castagnoli)) {
		return nil, errDamaged
	}
	return b[5:], nil
}

// encode returns the bytes of r.
func (r record) encode() []byte {
	b := make([]byte, 0, 16+len(r.body))
	b = append(b, r.packed)
	b = binary.AppendVarint(b, r.stored.UnixMilli())
	b = binary.AppendUvarint(b, uint64(r.count))
	return seal(append(b, r.body...))
}

// decodeRecord reads what encode made, or returns errDamaged.
func decodeRecord(b []byte) (record, error) {
	content, err := unseal(b)
	if err != nil {
		return record{}, err
	}
	v := value.NewReader(content)
	r := record{packed: v.Byte()}
	r.stored = time.UnixMilli(v.Int())
	r.count = int(min(v.Uint(), maxRecord))
	if v.Err() != nil || r.count == 0 {
		return record{}, errDamaged
	}
	r.body = content[len(content)-v.Len():]
	return r, nil
}

// events unpacks and reads the events of r.
func (r record) events() ([]pipeline.Event, error) {
	body := r.body
	var err error
	switch r.packed {
	case packedRaw:
	case packedZstd:
		body, err = compress.Decode(compress.Zstd, body, maxRecord)
	case packedGzip:
		body, err = compress.Decode(compress.Gzip, body, maxRecord)
	default:
		return nil, errDamaged
	}
	if err != nil || r.count > len(body) {
		return nil, errDamaged
	}
	v := value.NewReader(body)
	list := make([]pipeline.Event, 0, min(r.count, 1+len(body)/minEvent))
	for range r.count {
		e := readEvent(v)
		if v.Err() != nil {
			return nil, errDamaged
		}
		list = append(list, e)
	}
	if v.Len() > 0 {
		return nil, errDamaged
	}
	return list, nil
}

// minEvent is the least size of an event's form.
const minEvent = 8

// appendEvent appends the form of e: texts, time, extensions, data.
func appendEvent(b []byte, e pipeline.Event) ([]byte, error) {
	start := len(b)
	for _, s := range []string{e.ID, e.Source, e.Type, e.Subject} {
		b = value.AppendText(b, s)
	}
	if e.Time.IsZero() {
		b = append(b, 0, 0)
	} else {
		b = binary.AppendVarint(append(b, 1), e.Time.Unix())
		b = binary.AppendUvarint(b, uint64(e.Time.Nanosecond()))
	}
	b = binary.AppendUvarint(b, uint64(len(e.Extensions)))
	keys := make([]string, 0, len(e.Extensions))
	for k := range e.Extensions {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = value.AppendText(value.AppendText(b, k), e.Extensions[k])
	}
	b, err := value.Append(b, e.Data)
	if err != nil {
		return nil, fmt.Errorf("event %.80q: %w", e.ID, err)
	}
	if len(b)-start > maxForm {
		return nil, fmt.Errorf("event %.80q has %d bytes, at most %d are stored", e.ID, len(b)-start, maxForm)
	}
	return b, nil
}

// readEvent reads what appendEvent made; r.Err tells of a fault.
func readEvent(r *value.Reader) pipeline.Event {
	e := pipeline.Event{ID: r.Text(), Source: r.Text(), Type: r.Text(), Subject: r.Text()}
	if r.Byte() == 1 {
		e.Time = time.Unix(r.Int(), int64(r.Uint()%1e9)).UTC()
	} else {
		r.Byte()
	}
	for range r.Count(2) {
		if e.Extensions == nil {
			e.Extensions = make(map[string]string)
		}
		k := r.Text()
		e.Extensions[k] = r.Text()
		if r.Err() != nil {
			return e
		}
	}
	e.Data = r.Value()
	return e
}

// packer makes records of events.
type packer struct {
	kind compress.Kind // "" packs nothing
}

// pack puts events into records of at most recordSize, or of one event.
func (p packer) pack(events []pipeline.Event, now time.Time) ([]record, error) {
	var out []record
	var body []byte
	count := 0
	flush := func() error {
		r := record{stored: now, count: count, body: body}
		if p.kind != "" && p.kind != compress.None {
			packed, err := compress.Encode(p.kind, body)
			if err != nil {
				return err
			}
			if len(packed) < len(body) {
				r.body, r.packed = packed, packedZstd
				if p.kind == compress.Gzip {
					r.packed = packedGzip
				}
			}
		}
		out, body, count = append(out, r), nil, 0
		return nil
	}
	for _, e := range events {
		longer, err := appendEvent(body, e)
		if err != nil {
			return nil, err
		}
		if count > 0 && len(longer) > recordSize {
			if err := flush(); err != nil {
				return nil, err
			}
			if longer, err = appendEvent(nil, e); err != nil {
				return nil, err
			}
		}
		body, count = longer, count+1
	}
	if count > 0 {
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
