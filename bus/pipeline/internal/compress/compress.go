// Package compress packs bodies of requests, files and records: zstd and gzip, with bounds for
// small machines.
package compress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Kind names a way to pack, as a pipeline's batch.compression does and as HTTP's
// Content-Encoding does.
type Kind string

// The kinds. The zero Kind is None.
const (
	None Kind = "none"
	Zstd Kind = "zstd"
	Gzip Kind = "gzip"
)

// ErrTooLarge is returned for what unpacks to more than the caller allows.
var ErrTooLarge = errors.New("compress: content is larger than allowed")

// Parse reads the name of a kind; "" is None.
func Parse(name string) (Kind, error) {
	switch k := Kind(name); k {
	case "":
		return None, nil
	case None, Zstd, Gzip:
		return k, nil
	}
	return "", fmt.Errorf("compression %.40q is not known: use zstd, gzip or none", name)
}

// MaxDecoded is the largest limit that Decode takes, in bytes.
const MaxDecoded = 8 << 20

// window is that of zstd: enough for a batch, and cheap.
const window = 256 << 10

// coders are made once, with the first use: they hold some 2 MiB.
var coders = sync.OnceValues(func() (*coderPair, error) {
	e, err1 := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
	d, err2 := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxDecoded))
	return &coderPair{e, d}, errors.Join(err1, err2)
})

type coderPair struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// Encode packs b. None returns b itself.
func Encode(kind Kind, b []byte) ([]byte, error) {
	switch kind {
	case None, "":
		return b, nil
	case Zstd:
		c, err := coders()
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		return c.encoder.EncodeAll(b, nil), nil
	case Gzip:
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, err1 := w.Write(b)
		if err := errors.Join(err1, w.Close()); err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		return out.Bytes(), nil
	}
	return nil, fmt.Errorf("compress: kind %.40q is not known", string(kind))
}

// Decode unpacks b to at most limit bytes, of which MaxDecoded is the most. What is longer
// gives ErrTooLarge.
func Decode(kind Kind, b []byte, limit int) ([]byte, error) {
	limit = min(limit, MaxDecoded)
	switch kind {
	case None, "":
		if len(b) > limit {
			return nil, ErrTooLarge
		}
		return b, nil
	case Zstd:
		return decodeZstd(b, limit)
	case Gzip:
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		if len(out) > limit {
			return nil, ErrTooLarge
		}
		return out, nil
	}
	return nil, fmt.Errorf("compress: kind %.40q is not known", string(kind))
}

// decodeZstd unpacks a frame; the decoder itself allocates no more than MaxDecoded.
func decodeZstd(b []byte, limit int) ([]byte, error) {
	c, err := coders()
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	out, err := c.decoder.DecodeAll(b, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || len(out) > limit {
		return nil, ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out, nil
}
