package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// source is a place with artefacts.
type source interface {
	// scope is the name by which trust policies know it: HOST/REPOSITORY or LocalScope.
	scope() string
	// resolve finds the artefact: an index or a manifest.
	resolve(ctx context.Context) (ocispec.Descriptor, error)
	// fetch returns a small blob or manifest whose size and digest are right.
	fetch(ctx context.Context, d ocispec.Descriptor, limit int64) ([]byte, error)
	// signatures lists the manifests that refer to d (notation).
	signatures(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error)
	// tagged finds a manifest by its tag (cosign); false if there is none.
	tagged(ctx context.Context, tag string) (ocispec.Descriptor, bool, error)
	// blob opens a blob at an offset, or at an earlier one, which it returns.
	blob(ctx context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error)
	io.Closer
}

// localSource is a source whose blobs may be in files that only this program writes.
type localSource interface {
	// local returns the file of a blob, if there is one.
	local(d ocispec.Descriptor) (readSeekCloser, bool)
}

type readSeekCloser interface {
	io.ReadSeeker
	io.Closer
}

// open opens the request's source.
func (a *attempt) open(ctx context.Context) (source, error) {
	name := a.req.Source
	switch scheme, rest, _ := strings.Cut(name, "://"); {
	case scheme == "oci":
		return a.openRegistry(rest)
	case scheme == "https", scheme == "http":
		return a.openURL(ctx, name)
	case scheme == "file":
		name = rest
	case strings.Contains(name, "://"):
		return nil, refuse("source", "%.200q: want oci://HOST/REPOSITORY:TAG, https://... or the path of a file", name)
	}
	return openFile(name, a.req.Digest, a.cfg)
}

// passingError is a failure that may pass.
type passingError struct{ error }

func (e *passingError) Unwrap() error { return e.error }

// statusError is an answer of an HTTP server.
type statusError struct {
	url  string
	code int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answers %d %s", e.url, e.code, http.StatusText(e.code))
}

// mayPass reports whether a new attempt may succeed: the network or the server failed, not the
// artefact.
func mayPass(err error) bool {
	if _, ok := errors.AsType[*RefusedError](err); ok {
		return false
	}
	if e, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return passingStatus(e.StatusCode)
	}
	if e, ok := errors.AsType[*statusError](err); ok {
		return passingStatus(e.code)
	}
	if isCertificateError(err) || errors.Is(err, errPlainHTTP) {
		return false
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS) {
		return false
	}
	if _, ok := errors.AsType[*passingError](err); ok {
		return true
	}
	_, isURL := errors.AsType[*url.Error](err)
	_, isNet := errors.AsType[net.Error](err)
	return isURL || isNet || errors.Is(err, io.ErrUnexpectedEOF)
}

func passingStatus(code int) bool {
	return code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
}

// errPlainHTTP refuses a URL without TLS.
var errPlainHTTP = errors.New("plain HTTP is not allowed for this host: use https, or allow it in the node's settings")

// fenced lets no request go out by plain HTTP, unless its host is allowed to, and ends a body
// that stops.
type fenced struct {
	next  http.RoundTripper
	plain []string // hosts
}

func (f fenced) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !plainHost(f.plain, r.URL.Host) {
		return nil, fmt.Errorf("%s: %w", r.URL.Host, errPlainHTTP)
	}
	response, err := f.next.RoundTrip(r)
	if err == nil {
		response.Body = newStallReader(response.Body)
	}
	return response, err
}

// plainHost reports whether a host, with or without its port, is among those of plain HTTP.
func plainHost(plain []string, host string) bool {
	return slices.ContainsFunc(plain, func(p string) bool {
		name, _, ok := strings.Cut(host, ":")
		return p == host || ok && p == name
	})
}

// stallTime is how long a body may give nothing.
const stallTime = time.Minute

// stallReader closes a body that gives nothing for stallTime.
type stallReader struct {
	io.ReadCloser
	timer *time.Timer
}

func newStallReader(body io.ReadCloser) *stallReader {
	timer := time.AfterFunc(stallTime, func() { body.Close() })
	timer.Stop() // it runs during Read only
	return &stallReader{body, timer}
}

func (s *stallReader) Read(b []byte) (int, error) {
	s.timer.Reset(stallTime)
	n, err := s.ReadCloser.Read(b)
	if !s.timer.Stop() && err != nil {
		err = fmt.Errorf("no data for %s: %w", stallTime, io.ErrUnexpectedEOF)
	}
	return n, err
}

func (s *stallReader) Close() error {
	s.timer.Stop()
	return s.ReadCloser.Close()
}

// readBlob reads a small blob and compares size and digest.
func readBlob(r io.Reader, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := checkDescriptor("blob", d, limit); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, &passingError{err}
	}
	if int64(len(text)) > d.Size {
		return nil, refuse("blob", "%s has more than the %d bytes that it should have", d.Digest, d.Size)
	}
	if int64(len(text)) < d.Size {
		return nil, &passingError{fmt.Errorf("%s: %w", d.Digest, io.ErrUnexpectedEOF)}
	}
	return text, compareDigest(text, d)
}
