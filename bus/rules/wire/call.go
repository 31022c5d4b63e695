package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Bounds of one call through a rule, in bytes.
const (
	MaxRequest = 12 << 20 // of the request's body, as KubeEdge has it
	MaxAnswer  = 64 << 20 // of the answer's body
)

// errAnswerTooLarge is why an answer is not passed on.
var errAnswerTooLarge = fmt.Errorf("the answer has more than %d bytes", MaxAnswer)

// BoundAnswer bounds the body of an answer to MaxAnswer. It returns an error if the answer
// says itself that it is larger.
func BoundAnswer(resp *http.Response) error {
	if resp.ContentLength > MaxAnswer {
		return errAnswerTooLarge
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: MaxAnswer}
	return nil
}

// boundedBody fails when its body is longer than it may be: the client then sees a broken
// answer and not a short one.
type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read reads the body.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errAnswerTooLarge
	}
	return n, err
}

// BoundProblem returns the Problem of a call that failed at a bound: its body was larger than
// MaxRequest, or it took too long. It returns nil if the call failed otherwise. timeout is the
// detail of a call that took too long.
func BoundProblem(req *http.Request, err error, timeout string) *Problem {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return NewProblem(http.StatusRequestEntityTooLarge, ReasonTooLarge, fmt.Sprintf("a request has at most %d bytes", MaxRequest))
	}
	network, ok := errors.AsType[net.Error](err)
	if errors.Is(req.Context().Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || ok && network.Timeout() {
		return NewProblem(http.StatusGatewayTimeout, ReasonTimeout, timeout)
	}
	return nil
}

// SetPath sets the path of u to an escaped path, and keeps how it is escaped.
func SetPath(u *url.URL, escaped string) {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		path = escaped
	}
	u.Path, u.RawPath = path, escaped
}
