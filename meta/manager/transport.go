package manager

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
)

var (
	// ErrUnsupported is the error of a Transport's request if the cloud serves no such
	// streams: it runs an older version.
	ErrUnsupported = errors.New("meta/manager: the cloud does not serve this")
	// ErrBusy is the error of a Transport's request that the cloud refused because of a
	// limit. It may be made again later.
	ErrBusy = errors.New("meta/manager: the cloud serves as many requests as it may")
)

// StreamOpener opens streams to the cloud; hub.Client implements it.
type StreamOpener interface {
	OpenStream(ctx context.Context, m hub.Message) (hub.Stream, error)
}

// Transport sends HTTP requests to the cloud, each on a stream of its own. It is an
// http.RoundTripper whose methods may be called by several goroutines at once. Its errors
// wrap ErrOffline if there is no link or it was lost before the answer began, ErrUnsupported
// or ErrBusy. The body of an answer ends with an error if the link is lost.
type Transport struct{ http *httplink.Transport }

// NewTransport makes a Transport whose streams are for a resource of the cloud's Mux. The hosts
// of the requests have no meaning.
func NewTransport(links StreamOpener, resource string) *Transport {
	return &Transport{httplink.NewTransport(func(ctx context.Context, _ string) (hub.Stream, error) {
		return links.OpenStream(ctx, hub.Message{Key: hub.Key{Resource: resource, Name: "request"}})
	})}
}

// RoundTrip sends the request and waits for the header of the answer.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.http.RoundTrip(req)
	if err == nil || req.Context().Err() != nil {
		return resp, err
	}
	remote, answered := errors.AsType[*hub.Error](err)
	switch {
	case errors.Is(err, hub.ErrOffline), errors.Is(err, hub.ErrInterrupted):
		err = fmt.Errorf("%w: %w", ErrOffline, err)
	case answered && remote.Code == hub.CodeUnsupported:
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	case answered && remote.Code == hub.CodeExhausted:
		err = fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return nil, err
}
