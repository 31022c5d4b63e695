package wire

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

	"github.com/edgekit/edgekit/hub/internal/message"
)

const (
	// PieceSize is how much of a large frame goes out at once on the control
	// stream; a ping never waits for more.
	PieceSize = 16 << 10
	// MaxPiece bounds one frame on the control stream, before fragments are
	// joined. It leaves room for later versions of the protocol.
	MaxPiece = 64 << 10
	// MaxHello bounds the frames of the handshake.
	MaxHello = 16 << 10
	// ReadBuffer is the size of the buffer that each session keeps: enough for the small
	// frames of a link at rest. Larger reads bypass it.
	ReadBuffer = 128
)

// buffers are the write buffers of sessions and calls, in use only while
// something is being written.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2*PieceSize); return &b }}

// WithBuffer lends f an empty buffer.
func WithBuffer(f func(buf *[]byte) error) error {
	b := buffers.Get().(*[]byte)
	err := f(b)
	if cap(*b) <= 2*MaxPiece {
		*b = (*b)[:0]
		buffers.Put(b)
	}
	return err
}

// Known reports whether there is a frame with that number.
func Known(n protowire.Number) bool {
	f, err := (&decoder{}).kind(n, nil)
	return f != nil || err != nil
}

// AppendDelimited appends f with its length before it.
func AppendDelimited(b []byte, f Frame) []byte {
	n := Size(f)
	b = slices.Grow(b, n+binary.MaxVarintLen32)
	return AppendFrame(binary.AppendUvarint(b, uint64(n)), f)
}

// WriteFrame writes one whole frame, as the handshake and calls do.
func WriteFrame(w io.Writer, f Frame, limit int) error {
	if n := Size(f); n > limit {
		return message.TooLarge(n, limit)
	}
	return WithBuffer(func(b *[]byte) error {
		*b = AppendDelimited(*b, f)
		_, err := w.Write(*b)
		return err
	})
}

// Reader reads frames and joins fragments. Its memory is bounded by what
// really arrived, whatever lengths the peer announces.
type Reader struct {
	r     *bufio.Reader
	piece int    // most bytes in one frame
	whole int    // most bytes in one that came as fragments
	Size  int    // of the frame that next returned last, with its fragments
	buf   []byte // the frame being read
	join  []byte // the fragments so far
	// Budget lends the memory of join beyond a small part, and lent is how much it has
	// lent; nil has no limit.
	Budget *semaphore.Weighted
	lent   int
	decoder
}

// NewReader makes a Reader for frames of up to piece bytes, and of whole bytes where
// they come as fragments.
func NewReader(r io.Reader, piece, whole int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, ReadBuffer), piece: piece, whole: whole}
}

// Establish makes the reader accept the frames of a session instead of those of the
// handshake: messages of up to whole bytes, and lists of up to keys entries.
func (r *Reader) Establish(whole, keys int) {
	r.piece, r.whole = MaxPiece, whole
	r.decoder = newDecoder(keys)
	r.stands = true
}

// Wait waits for the beginning of a frame, and holds no buffer for it meanwhile.
func (r *Reader) Wait() error {
	r.buf = nil
	_, err := r.r.Peek(1)
	return err
}

// Ahead reports whether the beginning of a frame is buffered.
func (r *Reader) Ahead() bool { return r.r.Buffered() > 0 }

// Next returns the next frame of a known kind. A clean end between two frames
// is io.EOF.
func (r *Reader) Next() (Frame, error) {
	for {
		f, err := r.one()
		if err != nil {
			return nil, err
		}
		part, ok := f.(Fragment)
		if !ok {
			if f == nil {
				continue
			}
			return f, nil
		}
		if len(r.join)+len(part.Data) > r.whole {
			return nil, message.Violation("frame of more than %d bytes", r.whole)
		}
		if err := r.extend(len(part.Data)); err != nil {
			return nil, err
		}
		r.join = append(r.join, part.Data...)
		if !part.Last {
			continue
		}
		f, err = r.Frame(r.join)
		r.Size = len(r.join)
		r.DropFragments()
		if err != nil {
			return nil, err
		}
		if _, again := f.(Fragment); again {
			return nil, message.Violation("fragment in a fragment")
		}
		if f != nil {
			return f, nil
		}
	}
}

// Buffered returns the reader with what was read ahead, for what follows the frames.
func (r *Reader) Buffered() *bufio.Reader { return r.r }

// Length reads the length of the next frame.
func (r *Reader) Length() (int, error) {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
		return 0, fmt.Errorf("frame length: %w", err)
	}
	if n > uint64(r.piece) {
		return 0, message.Violation("frame of %d bytes where %d are allowed", n, r.piece)
	}
	return int(n), nil
}

// extend makes room for n more bytes of fragments.
func (r *Reader) extend(n int) error {
	grown := Grow(r.join, n, r.whole)
	if more := cap(grown) - MaxPiece - r.lent; more > 0 && r.Budget != nil {
		if !r.Budget.TryAcquire(int64(more)) {
			return errNoBudget
		}
		r.lent += more
	}
	r.join = grown
	return nil
}

// DropFragments frees the fragments.
func (r *Reader) DropFragments() {
	if r.join = nil; r.lent > 0 {
		r.Budget.Release(int64(r.lent))
		r.lent = 0
	}
}

// errNoBudget ends a session, which may begin again at once.
var errNoBudget = errors.New("hub: messages of all nodes that have come in part hold more bytes than this server allows")

func (r *Reader) one() (Frame, error) {
	n, err := r.Length()
	if err != nil {
		return nil, err
	}
	if r.buf, err = ReadN(r.r, r.buf[:0], n); err != nil {
		return nil, err
	}
	r.Size = len(r.buf)
	f, err := r.Frame(r.buf)
	if cap(r.buf) > MaxPiece || r.Owned {
		r.buf = nil
	}
	return f, err
}

// Grow makes room for n more bytes in b. It at least doubles the capacity, up to whole:
// append grows a large slice by a quarter, which allocates five times the bytes in all.
func Grow(b []byte, n, whole int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	grown := make([]byte, len(b), max(len(b)+n, min(2*cap(b), whole)))
	copy(grown, b)
	return grown
}

// ReadN appends n bytes to b. It grows b as they arrive, and does not trust n.
func ReadN(r io.Reader, b []byte, n int) ([]byte, error) {
	whole := len(b) + n
	for n > 0 {
		step := min(n, PieceSize)
		b = Grow(b, step, whole)
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
