package wire

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// Batches carry bulk traffic: several frames of state or events, compressed as one. Each
// stands alone, so that a session at rest keeps no compressor, and a reader needs no more
// than MaxBatchRaw for one, whatever the peer sends. The packed bytes bound a batch too:
// what they can unpack to, and how many frames and entries they can hold (see items).
// Only frames that wait to be written are packed: a single small update, or a link on
// which nothing waits, costs no compression.

const (
	// MaxBatchRaw bounds what a batch unpacks to, in bytes.
	MaxBatchRaw = 64 << 10
	// MinBatchRaw is how many bytes must wait before a batch is made of them.
	MinBatchRaw = 4 << 10
	// maxRatio is how many bytes DEFLATE can make of one; see RFC 1951: a match of
	// 258 bytes takes two bits at least.
	maxRatio = 1032
	// freeItems is how many frames and entries a batch may have whatever its size.
	freeItems = 16
	// firstRaw is the first size of the buffer for unpacked bytes.
	firstRaw = 4 << 10
)

// packers and unpackers are in use only while a batch is made or read.
var (
	packers = sync.Pool{New: func() any {
		w, _ := flate.NewWriter(nil, packLevel) // fails only for a bad level
		return &packer{deflate: w}
	}}
	unpackers = sync.Pool{New: func() any { return &unpacker{inflate: flate.NewReader(bytes.NewReader(nil))} }}
)

// packLevel is the fastest. The slower levels saved 6 % more on pod manifests, and took
// up to ten times as long on data that does not compress; see BenchmarkBatch.
const packLevel = flate.BestSpeed

type packer struct {
	raw     []byte
	out     bytes.Buffer
	deflate *flate.Writer
}

type unpacker struct {
	in      bytes.Reader
	raw     []byte        // grows as bytes are unpacked, up to MaxBatchRaw
	inflate io.ReadCloser // a flate.Resetter too
}

// Packable reports whether a frame may travel in a batch.
func Packable(f Frame) bool {
	switch f.(type) {
	case Put, Versions, Event:
		return true
	}
	return false
}

// AppendBatch appends frames to b as one batch. It reports false, and leaves b as
// it was, when compression saves less than an eighth.
func AppendBatch(b []byte, frames []Frame) ([]byte, bool) {
	p := packers.Get().(*packer)
	defer packers.Put(p)
	p.raw = p.raw[:0]
	for _, f := range frames {
		p.raw = AppendDelimited(p.raw, f)
	}
	p.out.Reset()
	p.deflate.Reset(&p.out)
	_, err := p.deflate.Write(p.raw)
	err = errors.Join(err, p.deflate.Close())
	if err != nil || p.out.Len() > len(p.raw)*7/8 {
		return b, false
	}
	return AppendDelimited(b, Batch{Raw: uint64(len(p.raw)), Data: p.out.Bytes()}), true
}

// items is how many frames a batch may have, and as many entries of versions. Each
// that a peer really sends differs from the one before: an event without a body takes
// two packed bytes, anything else four or more. What compresses better than half a
// byte is one frame sent again and again, which costs the receiver much and the
// sender nothing.
func (f Batch) items() int { return freeItems + 2*len(f.Data) }

// inflated unpacks a batch into the buffer of u.
func (u *unpacker) inflated(f Batch) ([]byte, error) {
	u.in.Reset(f.Data)
	if err := u.inflate.(flate.Resetter).Reset(&u.in, nil); err != nil {
		return nil, message.Violation("broken batch")
	}
	size := int(f.Raw)
	raw := u.raw[:0]
	for len(raw) < size {
		if len(raw) == cap(raw) {
			raw = append(make([]byte, 0, min(size, max(firstRaw, 2*cap(raw)))), raw...)
			u.raw = raw
		}
		n, err := u.inflate.Read(raw[len(raw):min(cap(raw), size)])
		if raw = raw[:len(raw)+n]; err != nil && len(raw) < size {
			return nil, message.Violation("broken batch")
		}
	}
	if n, err := u.inflate.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return nil, message.Violation("batch has more than the %d bytes that it says", f.Raw)
	}
	return raw, nil
}

// unpack calls yield with each frame of a batch. It takes no more memory than
// MaxBatchRaw, and what the frames themselves need.
func (f Batch) unpack(d *decoder, yield func(Frame) error) error {
	if f.Raw == 0 {
		return message.Violation("an empty batch")
	}
	if f.Raw > MaxBatchRaw {
		return message.Violation("batch of %d bytes where %d are allowed", f.Raw, MaxBatchRaw)
	}
	if f.Raw > maxRatio*uint64(len(f.Data)) {
		return message.Violation("batch of %d bytes out of %d: no compression does that", f.Raw, len(f.Data))
	}
	u := unpackers.Get().(*unpacker)
	defer unpackers.Put(u)
	raw, err := u.inflated(f)
	if err != nil {
		return err
	}
	left := f.items()
	whole := d.versions
	d.versions, d.packed = min(whole, left), true // the limit for this batch
	defer func() { d.versions, d.packed = d.versions+whole-min(whole, f.items()), false }()
	for len(raw) > 0 {
		if left--; left < 0 {
			return message.Violation("batch of %d bytes has more than %d frames: send them unpacked", len(f.Data), f.items())
		}
		n, used := binary.Uvarint(raw)
		if used <= 0 || n > uint64(len(raw)-used) {
			return message.Violation("broken frame in a batch")
		}
		inner, err := d.Frame(raw[used : used+int(n)])
		if err != nil {
			return err
		}
		if raw = raw[used+int(n):]; inner == nil {
			continue // of a kind that is not known here
		}
		if err := yield(inner); err != nil {
			return err
		}
	}
	return nil
}

// Unpack calls yield with each frame of a batch that the reader brought.
func (r *Reader) Unpack(f Batch, yield func(Frame) error) error { return f.unpack(&r.decoder, yield) }
