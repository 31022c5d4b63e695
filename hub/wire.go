package hub

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// pieceSize is how much of a large frame goes out at once on the control
	// stream; a ping never waits for more.
	pieceSize = 16 << 10
	// maxPiece bounds one frame on the control stream, before fragments are
	// joined. It leaves room for later versions of the protocol.
	maxPiece = 64 << 10
	// maxHello bounds the frames of the handshake.
	maxHello = 16 << 10
	// readBuffer is the size of the buffer that each session keeps: enough for
	// the small frames of a link at rest. What is larger is read past it.
	readBuffer = 128
)

// buffers are the write buffers of sessions and calls, in use only while
// something is being written.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2*pieceSize); return &b }}

// withBuffer lends f an empty buffer.
func withBuffer(f func(buf *[]byte) error) error {
	b := buffers.Get().(*[]byte)
	err := f(b)
	if cap(*b) <= 2*maxPiece {
		*b = (*b)[:0]
		buffers.Put(b)
	}
	return err
}

// known reports whether there is a frame with that number.
func known(n protowire.Number) bool {
	f, err := (&decoder{}).kind(n, nil)
	return f != nil || err != nil
}

// appendDelimited appends f with its length before it.
func appendDelimited(b []byte, f frame) []byte {
	n := frameSize(f)
	b = slices.Grow(b, n+binary.MaxVarintLen32)
	return appendFrame(binary.AppendUvarint(b, uint64(n)), f)
}

// writeFrame writes one whole frame, as the handshake and calls do.
func writeFrame(w io.Writer, f frame, limit int) error {
	if n := frameSize(f); n > limit {
		return tooLarge(n, limit)
	}
	return withBuffer(func(b *[]byte) error {
		*b = appendDelimited(*b, f)
		_, err := w.Write(*b)
		return err
	})
}

// frameReader reads frames and joins fragments. Its memory is bounded by what
// really arrived, whatever lengths the peer announces.
type frameReader struct {
	r     *bufio.Reader
	piece int    // most bytes in one frame
	whole int    // most bytes in one that came as fragments
	size  int    // of the frame that next returned last, with its fragments
	buf   []byte // the frame being read
	join  []byte // the fragments so far
	// budget lends the memory of join, beyond what is small, and lent is what it
	// has lent; nil has no limit.
	budget *semaphore.Weighted
	lent   int
	decoder
}

func newFrameReader(r io.Reader, piece, whole int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, readBuffer), piece: piece, whole: whole}
}

// establish has the reader take the frames of a session instead of those of the
// handshake: messages of up to whole bytes, and lists of up to keys entries.
func (r *frameReader) establish(whole, keys int) {
	r.piece, r.whole = maxPiece, whole
	r.decoder = newDecoder(keys)
	r.stands = true
}

// wait waits for the beginning of a frame, and keeps no room for one meanwhile.
func (r *frameReader) wait() error {
	r.buf = nil
	_, err := r.r.Peek(1)
	return err
}

// ahead reports whether the beginning of a frame is here.
func (r *frameReader) ahead() bool { return r.r.Buffered() > 0 }

// next returns the next frame of a known kind. A clean end between two frames
// is io.EOF.
func (r *frameReader) next() (frame, error) {
	for {
		f, err := r.one()
		if err != nil {
			return nil, err
		}
		part, ok := f.(fragment)
		if !ok {
			if f == nil {
				continue
			}
			return f, nil
		}
		if len(r.join)+len(part.Data) > r.whole {
			return nil, violation("frame of more than %d bytes", r.whole)
		}
		if err := r.extend(len(part.Data)); err != nil {
			return nil, err
		}
		r.join = append(r.join, part.Data...)
		if !part.Last {
			continue
		}
		f, err = r.frame(r.join)
		r.size = len(r.join)
		r.forget()
		if err != nil {
			return nil, err
		}
		if _, again := f.(fragment); again {
			return nil, violation("fragment in a fragment")
		}
		if f != nil {
			return f, nil
		}
	}
}

// rest gives the reader with what was read ahead, for what follows the frames.
func (r *frameReader) rest() *bufio.Reader { return r.r }

// length reads the length of the next frame.
func (r *frameReader) length() (int, error) {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
		return 0, fmt.Errorf("frame length: %w", err)
	}
	if n > uint64(r.piece) {
		return 0, violation("frame of %d bytes where %d are allowed", n, r.piece)
	}
	return int(n), nil
}

// extend makes room for n more bytes of fragments.
func (r *frameReader) extend(n int) error {
	grown := grow(r.join, n, r.whole)
	if more := cap(grown) - maxPiece - r.lent; more > 0 && r.budget != nil {
		if !r.budget.TryAcquire(int64(more)) {
			return errCrowded
		}
		r.lent += more
	}
	r.join = grown
	return nil
}

// forget lets go of the fragments.
func (r *frameReader) forget() {
	if r.join = nil; r.lent > 0 {
		r.budget.Release(int64(r.lent))
		r.lent = 0
	}
}

// errCrowded ends a session, which may begin again at once.
var errCrowded = errors.New("hub: messages of all nodes that have come in part hold more bytes than this server allows")

func (r *frameReader) one() (frame, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	if r.buf, err = readN(r.r, r.buf[:0], n); err != nil {
		return nil, err
	}
	r.size = len(r.buf)
	f, err := r.frame(r.buf)
	if cap(r.buf) > maxPiece || r.owned {
		r.buf = nil
	}
	return f, err
}

// grow makes room for n more bytes in b: twice of what there is at least, since
// append takes five times as much in all for what is large, and no more than
// whole.
func grow(b []byte, n, whole int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	grown := make([]byte, len(b), max(len(b)+n, min(2*cap(b), whole)))
	copy(grown, b)
	return grown
}

// readN appends n bytes to b. It grows b as they arrive, not by what n says.
func readN(r io.Reader, b []byte, n int) ([]byte, error) {
	whole := len(b) + n
	for n > 0 {
		step := min(n, pieceSize)
		b = grow(b, step, whole)
		got, err := io.ReadFull(r, b[len(b):len(b)+step])
		b = b[:len(b)+got]
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return b, err
		}
		n -= step
	}
	return b, nil
}
