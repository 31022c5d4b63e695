package httplink

import (
	"context"
	"io"
	"net"
	"net/http"

	"github.com/edgekit/edgekit/hub"
)

// Open opens a stream to a peer's Server. host is the host of the request's URL without
// the port; an Open for one peer only ignores it.
type Open func(ctx context.Context, host string) (hub.Stream, error)

// Transport sends each request on a stream of its own. It is an http.RoundTripper for
// URLs of the scheme http; the link encrypts the request. The body of a response with
// status 101 is an Upgraded.
//
// The error of a request whose stream could not be opened wraps what Open returned, so
// that callers can recognize hub.ErrOffline.
type Transport struct{ http http.Transport }

var _ http.RoundTripper = (*Transport)(nil)

// NewTransport makes a Transport. It starts nothing.
func NewTransport(open Open) *Transport {
	return &Transport{http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			s, err := open(ctx, host)
			if err != nil {
				return nil, err
			}
			return newConn(s, "", host), nil
		},
		DisableKeepAlives:  true,
		DisableCompression: true, // the body is passed on as it is
		// A stream takes small writes and reads without a system call, and what
		// is upgraded goes past these: the 4 KiB each that net/http takes would
		// be 6 MiB more for a thousand followers.
		WriteBufferSize: 1 << 10,
		ReadBufferSize:  1 << 10,
	}}
}

// RoundTrip sends req and waits for the header of the response.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.http.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if body, ok := resp.Body.(closeWriter); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = upgraded{body}
	}
	return resp, nil
}

// Upgraded is the body of a response with status 101.
type Upgraded interface {
	io.ReadWriteCloser
	// ReadFrom sends the bytes of r until it ends.
	io.ReaderFrom
	// CloseWrite ends this direction.
	CloseWrite() error
}

// upgraded is net/http's body, which hides ReadFrom.
type upgraded struct{ closeWriter }

type closeWriter interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// ReadFrom sends the bytes of r.
func (u upgraded) ReadFrom(r io.Reader) (int64, error) { return carry(u.closeWriter, r) }
