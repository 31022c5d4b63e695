package extra

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/internal/outbound"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// natsSink publishes to JetStream. It is connected from the first Send to Close.
type natsSink struct {
	env     pipeline.Env
	spec    *v1alpha1.Sink
	subject *pipeline.Template

	mu   sync.Mutex
	conn *nats.Conn // nil before the first Send
	js   jetstream.JetStream
}

func openNATS(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	if _, err := outbound.ParseURL("nats.url", spec.NATS.URL, "nats", "tls"); err != nil {
		return nil, specError(spec, err)
	}
	if _, err := compression(spec, "none"); err != nil {
		return nil, err
	}
	if env.Expressions == nil {
		return nil, specError(spec, errors.New("nats.subject: this program has no expressions"))
	}
	subject, err := pipeline.CompileTemplate(env.Expressions, string(spec.NATS.Subject))
	if err != nil {
		return nil, specError(spec, fmt.Errorf("nats.subject: %w", err))
	}
	return &natsSink{env: env, spec: spec, subject: subject}, nil
}

// natsDialer keeps connections away from link-local addresses, also to servers that the first
// one names.
type natsDialer struct{ *net.Dialer }

// Dial connects.
func (d natsDialer) Dial(network, address string) (net.Conn, error) {
	return d.Dialer.Dial(network, address)
}

// connect connects, once.
func (s *natsSink) connect(ctx context.Context) (*nats.Conn, jetstream.JetStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn, s.js, nil
	}
	cred, err := outbound.Load(ctx, s.env, s.spec)
	if err != nil {
		return nil, nil, err
	}
	options := []nats.Option{
		nats.Name("edgekit pipeline " + s.env.Ref.String() + "/" + string(s.spec.Name)), nats.Timeout(10 * time.Second), nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second), nats.ReconnectBufSize(-1), nats.NoEcho(), nats.SetCustomDialer(natsDialer{outbound.Dialer()}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.env.Logger.Debug("nats", "err", err) }),
	}
	switch {
	case cred.Token != "":
		options = append(options, nats.Token(cred.Token))
	case cred.Username != "":
		options = append(options, nats.UserInfo(cred.Username, cred.Password))
	}
	if cred.HasTLS() {
		cfg, err := cred.TLS()
		if err != nil {
			return nil, nil, err
		}
		options = append(options, nats.Secure(cfg))
	}
	conn, err := nats.Connect(string(s.spec.NATS.URL), options...)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(1<<14))
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	s.conn, s.js = conn, js
	return conn, js, nil
}

// message makes the message of an event.
func (s *natsSink) message(e *pipeline.Event) (*nats.Msg, error) {
	subject, err := s.subject.Render(&pipeline.Vars{Event: e, Node: s.env.Node, Now: s.env.Clock.Now()})
	if err == nil {
		err = checkSubject(subject)
	}
	if err != nil {
		return nil, fmt.Errorf("nats.subject: %w", err)
	}
	payload, err := cloudEvent(e)
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(subject)
	m.Data = payload
	m.Header.Set(jetstream.MsgIDHeader, strings.Map(oneLine, e.Source+"/"+e.ID))
	m.Header.Set("Content-Type", cloudevents.ContentType)
	return m, nil
}

// oneLine keeps line breaks out of a header.
func oneLine(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '_'
	}
	return r
}

// checkSubject refuses what is no subject to publish to. Those that begin with $ are the
// server's own.
func checkSubject(s string) error {
	if len(s) > 1024 || strings.ContainsAny(s, " \t\r\n\x00*>") || strings.HasPrefix(s, "$") || s == "" || strings.Contains("."+s+".", "..") {
		return fmt.Errorf("%.100q is no subject to publish to: it has no spaces, wildcards or empty parts, and does not begin with $", s)
	}
	return nil
}

// tooLargeForStream is the server's error for a message over the stream's limit. The error for a
// full stream is another one: that passes.
const tooLargeForStream jetstream.ErrorCode = 10054

// Send publishes all events and waits until the stream has them.
func (s *natsSink) Send(ctx context.Context, events []pipeline.Event) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := s.send(ctx, events); err != nil {
		return fmt.Errorf("bus/pipeline/extra: nats: %w", err)
	}
	return nil
}

func (s *natsSink) send(ctx context.Context, events []pipeline.Event) error {
	conn, js, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if !conn.IsConnected() {
		return errors.New("the server is not connected")
	}
	var options []jetstream.PublishOpt
	if s.spec.NATS.Stream != "" {
		options = append(options, jetstream.WithExpectStream(s.spec.NATS.Stream))
	}
	var acks []jetstream.PubAckFuture
	var after error // for when what comes before is there
	for i := range events {
		m, err := s.message(&events[i])
		if err == nil && int64(len(m.Data)) > conn.MaxPayload()-4096 {
			err = fmt.Errorf("the event has %d bytes, the server takes %d", len(m.Data), conn.MaxPayload())
		}
		if err != nil {
			after = refused(i, err)
			break
		}
		ack, err := js.PublishMsgAsync(m, options...)
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	for i, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == tooLargeForStream {
				return refused(i, err)
			}
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return after
}

func (s *natsSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.js.CleanupPublisher()
		s.conn.Close()
		s.conn, s.js = nil, nil
	}
	return nil
}
