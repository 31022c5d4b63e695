package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/edgekit/edgekit/edged/runtime"
)

// What clients speak and runtimes do not, and what runtimes speak.
const (
	channelsV5     = "v5.channel.k8s.io"
	channelsV4     = "v4.channel.k8s.io"
	tunnelPrefix   = "SPDY/3.1+" // a WebSocket that carries SPDY; the rest of the name is what that carries
	tunnelProtocol = tunnelPrefix + portForwardV1
	portForwardV1  = "portforward.k8s.io"

	sessionIdle = 4 * time.Hour // the kubelet's
)

// The channels of v5.channel.k8s.io, in the order of their numbers.
const (
	channelStdin = iota
	channelStdout
	channelStderr
	channelError
	channelResize
)

// speaks reports whether a WebSocket request offers a protocol.
func speaks(r *http.Request, protocol string) bool {
	return isWebSocket(r) && hasToken(r.Header, "Sec-WebSocket-Protocol", protocol)
}

// translate serves a request in a protocol that runtimes do not speak. It is false
// for any other request.
func (s *Server) translate(w http.ResponseWriter, r *http.Request, target *url.URL, opts runtime.Streaming) bool {
	var err error
	switch {
	case speaks(r, channelsV5):
		err = channels(w, r, target, opts)
	case speaks(r, tunnelProtocol):
		err = s.tunnel(w, r, target)
	default:
		return false
	}
	if err != nil && r.Context().Err() == nil {
		s.log.Debug("a translated session failed", "path", r.URL.Path, "err", err)
	}
	return true
}

// tunnel joins a WebSocket that carries SPDY to the runtime's SPDY (KEP-4006).
func (s *Server) tunnel(w http.ResponseWriter, r *http.Request, target *url.URL) error {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, target.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", spdy.HeaderSpdy31)
	req.Header.Set(httpstream.HeaderProtocolVersion, portForwardV1)
	resp, err := s.proxy.RoundTrip(req)
	if err != nil {
		answer(w, &statusError{http.StatusBadGateway, fmt.Sprintf("the container runtime does not stream: %v", err)})
		return err
	}
	defer resp.Body.Close()
	rt, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // what of it there is
		answer(w, &statusError{http.StatusBadGateway, fmt.Sprintf("the container runtime does not stream: %s %s", resp.Status, text)})
		return nil
	}
	websocket.Server{
		Handshake: func(c *websocket.Config, _ *http.Request) error {
			c.Protocol = []string{tunnelProtocol}
			return nil
		},
		Handler: func(ws *websocket.Conn) {
			ws.PayloadType = websocket.BinaryFrame
			both(r.Context(), ws, rt)
		},
	}.ServeHTTP(w, r)
	return nil
}

// both copies between two connections until either side ends, and closes both.
func both(ctx context.Context, a, b io.ReadWriteCloser) {
	end := sync.OnceFunc(func() { a.Close(); b.Close() })
	defer end()
	stop := context.AfterFunc(ctx, end)
	defer stop()
	var wg sync.WaitGroup
	for _, way := range [][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		wg.Go(func() {
			defer end()
			_, _ = io.Copy(way[0], way[1]) // the end of one is the end of both
		})
	}
	wg.Wait()
}

// channels joins a WebSocket with numbered channels to the runtime's SPDY, which
// has a stream for each. With v5.channel.k8s.io a client can close stdin alone
// (KEP-4006).
func channels(w http.ResponseWriter, r *http.Request, target *url.URL, opts runtime.Streaming) error {
	remote, err := dialSPDY(r.Context(), target)
	if err != nil {
		answer(w, &statusError{http.StatusBadGateway, fmt.Sprintf("the container runtime does not stream: %s", strings.TrimSpace(err.Error()))})
		return err
	}
	defer remote.Close()
	kind := func(on bool, k wsstream.ChannelType) wsstream.ChannelType {
		if on {
			return k
		}
		return wsstream.IgnoreChannel
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{channelsV5: {Binary: true, Channels: []wsstream.ChannelType{
		channelStdin:  kind(opts.Stdin, wsstream.ReadChannel),
		channelStdout: kind(opts.Stdout, wsstream.WriteChannel),
		channelStderr: kind(opts.Stderr, wsstream.WriteChannel),
		channelError:  wsstream.WriteChannel,
		channelResize: kind(opts.TTY, wsstream.ReadChannel),
	}}})
	conn.SetIdleTimeout(sessionIdle)
	_, local, err := conn.Open(w, r)
	if err != nil {
		return err // the client has its answer
	}
	end := sync.OnceFunc(func() { conn.Close(); remote.Close() })
	defer end()
	stop := context.AfterFunc(r.Context(), end)
	defer stop()
	returned := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-remote.CloseChan():
			conn.Close() // the runtime ended the session
		case <-returned:
		}
	})
	defer watch.Wait()
	defer close(returned)
	return join(remote, local, opts)
}

// dialSPDY opens the runtime's end of a session.
func dialSPDY(ctx context.Context, target *url.URL) (httpstream.Connection, error) {
	rt, err := spdy.NewRoundTripper(nil)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(httpstream.HeaderProtocolVersion, channelsV4)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return rt.NewConnection(resp)
}

// join copies between the client's channels and the runtime's streams until the
// runtime has said how the command ended.
func join(remote httpstream.Connection, local []io.ReadWriteCloser, opts runtime.Streaming) error {
	open := func(kind string) (httpstream.Stream, error) {
		return remote.CreateStream(http.Header{"Streamtype": {kind}})
	}
	failure, err := open("error")
	if err != nil {
		return err
	}
	failure.Close() // our half: the runtime writes there
	var in, out sync.WaitGroup
	for _, c := range []struct {
		on      bool
		kind    string
		channel int
		toNode  bool
	}{
		{opts.Stdin, "stdin", channelStdin, true}, {opts.Stdout, "stdout", channelStdout, false},
		{opts.Stderr, "stderr", channelStderr, false}, {opts.TTY, "resize", channelResize, true},
	} {
		if !c.on {
			continue
		}
		st, err := open(c.kind)
		if err != nil {
			return err
		}
		if c.toNode {
			in.Go(func() {
				defer st.Close()
				_, _ = io.Copy(st, local[c.channel]) // what the client does not send is not missed
			})
			continue
		}
		st.Close()
		out.Go(func() { _, _ = io.Copy(local[c.channel], st) }) // a client that goes ends the session
	}
	status, err := io.ReadAll(io.LimitReader(failure, 64<<10))
	out.Wait()
	if err == nil {
		_, err = local[channelError].Write(status)
	}
	for _, l := range local {
		l.Close()
	}
	in.Wait()
	return err
}
