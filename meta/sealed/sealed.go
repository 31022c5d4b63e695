package sealed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// Head is how a sealed stream begins.
	Head = "edgekit sealed 1\n"
	// KeyBytes is the length of a key.
	KeyBytes = 32

	saltBytes  = 32
	pieceBytes = 64 << 10
	// firstRead is how much room a Reader has before it knows that the stream is longer.
	firstRead = 4 << 10
)

// Errors of a Reader. ErrKey is a sealed stream of another key, or one whose beginning is
// damaged: the two cannot be told apart.
var (
	ErrNotSealed = errors.New("sealed: the stream is not sealed")
	ErrKey       = errors.New("sealed: the key is not that of the stream, or its beginning is damaged")
	ErrDamaged   = errors.New("sealed: the stream is damaged or cut off")
)

// pieces seals or opens pieces in their order.
type pieces struct {
	aead  cipher.AEAD
	count uint64
}

func newPieces(key, salt []byte) (pieces, error) {
	if len(key) != KeyBytes {
		return pieces{}, fmt.Errorf("sealed: the key has %d bytes: want %d", len(key), KeyBytes)
	}
	own, err := hkdf.Key(sha256.New, key, salt, Head, KeyBytes)
	if err != nil {
		return pieces{}, fmt.Errorf("sealed: %w", err)
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return pieces{}, fmt.Errorf("sealed: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return pieces{}, fmt.Errorf("sealed: %w", err)
	}
	return pieces{aead: aead}, nil
}

// kind says whether a piece is the last.
type kind byte

const (
	further kind = 0
	last    kind = 1
)

// nonce returns the nonce of the next piece.
func (p *pieces) nonce(k kind) []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[3:], p.count)
	n[11] = byte(k)
	p.count++
	return n[:]
}

// Writer seals what is written to it. Close ends the stream.
type Writer struct {
	out    io.Writer
	pieces pieces
	buf    []byte
	err    error // of the first write that failed
	closed bool
}

// NewWriter begins a sealed stream in out.
func NewWriter(out io.Writer, key []byte) (*Writer, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	p, err := newPieces(key, salt)
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(append([]byte(Head), salt...)); err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	return &Writer{out: out, pieces: p, buf: make([]byte, 0, pieceBytes+p.aead.Overhead())}, nil
}

// Write seals b.
func (w *Writer) Write(b []byte) (int, error) {
	if w.closed {
		return 0, errors.New("sealed: the writer is closed")
	}
	n := 0
	for len(b) > 0 && w.err == nil {
		if len(w.buf) == pieceBytes { // only when there is more: the last piece may be whole
			w.flush(further)
			continue
		}
		part := b[:min(len(b), pieceBytes-len(w.buf))]
		w.buf = append(w.buf, part...)
		b, n = b[len(part):], n+len(part)
	}
	return n, w.err
}

func (w *Writer) flush(k kind) {
	piece := w.pieces.aead.Seal(w.buf[:0], w.pieces.nonce(k), w.buf, nil)
	if _, err := w.out.Write(piece); err != nil {
		w.err = fmt.Errorf("sealed: %w", err)
	}
	w.buf = w.buf[:0]
}

// Close writes the last piece. It does not close the writer below. Further calls return the
// same.
func (w *Writer) Close() error {
	if !w.closed {
		w.closed = true
		if w.err == nil {
			w.flush(last)
		}
	}
	return w.err
}

// Reader opens a sealed stream. What it returns is authentic; the stream is whole only when it
// returns io.EOF.
type Reader struct {
	in     io.Reader
	pieces pieces
	buf    []byte // a piece as it is in the stream, and a byte of the next; grows to that
	have   int    // bytes of the next piece in buf
	plain  []byte // the room of the piece that was opened
	rest   []byte // what of it was not yet read
	ended  bool
	err    error
}

// NewReader reads the beginning of a sealed stream. The error is ErrNotSealed or is about the
// key or in; a wrong key is found by the first Read.
func NewReader(in io.Reader, key []byte) (*Reader, error) {
	head := make([]byte, len(Head)+saltBytes)
	if _, err := io.ReadFull(in, head); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("sealed: %w", err)
	} else if err != nil || !bytes.HasPrefix(head, []byte(Head)) {
		return nil, ErrNotSealed
	}
	p, err := newPieces(key, head[len(Head):])
	if err != nil {
		return nil, err
	}
	return &Reader{in: in, pieces: p, buf: make([]byte, firstRead)}, nil
}

// Read reads what was sealed.
func (r *Reader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		switch {
		case r.err != nil:
			return 0, r.err
		case r.ended:
			return 0, io.EOF
		}
		r.next()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// fill reads a piece and one byte further, which shows whether another follows, and returns how
// much is in buf. The room grows with what has come.
func (r *Reader) fill() (n int, err error) {
	most := pieceBytes + r.pieces.aead.Overhead() + 1
	for n = r.have; ; {
		more, err := io.ReadFull(r.in, r.buf[n:])
		if n += more; err != nil || n == most {
			return n, err
		}
		r.buf = append(r.buf, make([]byte, min(n, most-n))...)
	}
}

// next opens the next piece.
func (r *Reader) next() {
	n, err := r.fill()
	k, whole := further, len(r.buf)-1
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		k, whole, r.ended = last, n, true
	case err != nil:
		r.err = fmt.Errorf("sealed: %w", err)
		return
	}
	following := r.buf[len(r.buf)-1]
	first := r.pieces.count == 0
	plain, err := r.pieces.aead.Open(r.plain[:0], r.pieces.nonce(k), r.buf[:whole], nil)
	switch {
	case err != nil && first:
		r.err = ErrKey
	case err != nil:
		r.err = ErrDamaged
	}
	if r.err != nil {
		return
	}
	r.plain, r.rest = plain, plain
	r.buf[0], r.have = following, 1
}
