package hub_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestClocksYearsOff: a certificate looks expired, or not valid yet, to either side. That
// is counted, the log says what to do, and the link comes up once the clock is right.
func TestClocksYearsOff(t *testing.T) {
	early := x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time 1970-01-01T00:00:10Z is before 2026-11-24T00:00:00Z"}
	for _, tt := range []struct {
		name   string
		err    error
		log    string
		result hub.HandshakeResult
	}{
		{"the edge's", &tls.CertificateVerificationError{Err: early}, "set the clock", hub.HandshakeCertificate},
		{"the cloud's", hub.CertificateError(45), "check both clocks", hub.HandshakeRefused},
		{"none, but another authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "check the address", hub.HandshakeCertificate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, log := memconn.New(memconn.Config{}), &logBuffer{}
				server := newServer(t, hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}})
				defer program(t, server.Run)()
				var right atomic.Bool
				client := newClient(t, n, "a", func(cfg *hub.ClientConfig) {
					dialer := cfg.Dialer
					cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
					cfg.Dialer = dialFunc(func(ctx context.Context) (hub.Conn, error) {
						if !right.Load() {
							return nil, tt.err
						}
						return dialer.Dial(ctx)
					})
				})
				defer program(t, client.Run)()
				time.Sleep(time.Hour)
				if got := client.Stats().Handshakes; got[tt.result] < 100 || len(got) != 1 {
					t.Errorf("counted were %v", got)
				}
				if !log.has(tt.log) {
					t.Errorf("the log has no %q:\n%s", tt.log, &log.b)
				}
				right.Store(true)
				<-client.Ready()
			})
		})
	}
}

// fullDisk is an Outbox that cannot be read or written while its disk is full.
type fullDisk struct {
	hubtest.Outbox
	full atomic.Bool
}

func (o *fullDisk) check() error {
	if o.full.Load() {
		return fmt.Errorf("outbox: %w", syscall.ENOSPC)
	}
	return nil
}

func (o *fullDisk) Next(ctx context.Context, source string, after uint64) (hub.Event, error) {
	if err := o.check(); err != nil {
		return hub.Event{}, err
	}
	return o.Outbox.Next(ctx, source, after)
}

func (o *fullDisk) Acked(ctx context.Context, source string, id uint64) error {
	if err := o.check(); err != nil {
		return err
	}
	return o.Outbox.Acked(ctx, source, id)
}

// TestFullDiskUnderTheOutbox fills the disk while an event is on its way, so that its
// acknowledgement cannot be stored, and others wait. The link stays, the failures are
// counted and logged, and everything is delivered once there is room.
func TestFullDiskUnderTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir, outbox, log := memconn.New(memconn.Config{Delay: 50 * time.Millisecond}), &hubtest.Directory{}, &fullDisk{}, &logBuffer{}
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir})
		defer program(t, server.Run)()
		client := newClient(t, n, "a", func(cfg *hub.ClientConfig) {
			cfg.Outbox, cfg.Logger = outbox, slog.New(slog.NewTextHandler(log, nil))
		})
		defer program(t, client.Run)()
		<-client.Ready()
		time.Sleep(time.Second)
		epoch := client.Info().Epoch
		outbox.Append("s", hub.Key{Name: "1"}, "it rained")
		synctest.Wait() // it is on its way
		outbox.full.Store(true)
		time.Sleep(time.Second)
		outbox.Append("s", hub.Key{Name: "2"}, "it snowed")
		time.Sleep(time.Hour)
		if got := client.Info(); !got.Connected || got.Epoch != epoch {
			t.Errorf("the link went: %+v", got)
		}
		if dir.Inbox("a").Len() != 1 || outbox.Len() != 2 {
			t.Errorf("%d events arrived, %d are kept", dir.Inbox("a").Len(), outbox.Len())
		}
		if got := client.Stats().Retried[hub.ClassEvent]; got < 100 {
			t.Errorf("retried %d times", got)
		}
		for _, want := range []string{"event was not delivered", "not noted", syscall.ENOSPC.Error()} {
			if !log.has(want) {
				t.Errorf("the log has no %q", want)
			}
		}
		outbox.full.Store(false)
		time.Sleep(time.Minute)
		if dir.Inbox("a").Len() != 2 || outbox.Len() != 0 || client.Info().Epoch != epoch {
			t.Errorf("with room again: %d events arrived, %d are kept, %+v", dir.Inbox("a").Len(), outbox.Len(), client.Info())
		}
	})
}

// TestBusyNodeDelaysNoOther: one node has as much work under way as it may, of 100 ms
// each, on a server with two places for work. Another node's report waits for one piece
// of that work. With first come, first served it would wait for six.
func TestBusyNodeDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const work = 100 * time.Millisecond
		n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
		slow := func() error { <-time.After(work); return nil }
		busy := dir.Down("busy")
		busy.FailLoad(func(hub.Key, string) error { return slow() })
		dir.Up("busy").FailApply(func([]hub.Object) error { return slow() })
		dir.Inbox("busy").FailAppend(func([]hub.Event) error { return slow() })
		calm := dir.Up("calm")
		calm.FailApply(func([]hub.Object) error { return slow() })
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, MaxWork: 2})
		defer program(t, server.Run)()
		flood, events, quiet := &hubtest.AckedSource{}, &hubtest.Outbox{}, &hubtest.AckedSource{}
		one := newClient(t, n, "busy", func(cfg *hub.ClientConfig) { cfg.Down, cfg.Up, cfg.Outbox = &hubtest.Sink{}, flood, events })
		defer program(t, one.Run)()
		other := newClient(t, n, "calm", func(cfg *hub.ClientConfig) { cfg.Up = quiet })
		defer program(t, other.Run)()
		<-one.Ready()
		<-other.Ready()
		for i := range 2000 {
			k := hub.Key{Name: fmt.Sprint(i)}
			busy.Put(k, 1, "down")
			flood.Put(k, 1, "up")
			events.Append(fmt.Sprint("s", i%8), k, "happened")
		}
		for i := range 50 {
			time.Sleep(70 * time.Millisecond)
			begun := time.Now()
			quiet.Put(hub.Key{Name: "status"}, i+1, "fine")
			if err := calm.Wait(t.Context(), func() bool { return calm.Held(hub.Key{Name: "status"}) == fmt.Sprint(i+1) }); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 2*work {
				t.Fatalf("report %d took %v", i, took)
			}
		}
		if server.Stats().Queued[hub.ClassState] == 0 {
			t.Error("the busy node was not busy")
		}
	})
}

// TestTroubleIsLoggedInMeasure: the edge refuses two objects for an hour. Both logs have
// a few lines of it, the metrics count all of it, and a refusal for good is logged at
// once.
func TestTroubleIsLoggedInMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir, sink := memconn.New(memconn.Config{}), &hubtest.Directory{}, &hubtest.Sink{}
		near, far := &logBuffer{}, &logBuffer{}
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, Logger: slog.New(slog.NewTextHandler(far, nil))})
		defer program(t, server.Run)()
		client := newClient(t, n, "a", func(cfg *hub.ClientConfig) {
			cfg.Down, cfg.Logger = sink, slog.New(slog.NewTextHandler(near, nil))
		})
		defer program(t, client.Run)()
		<-client.Ready()
		epoch := client.Info().Epoch
		sink.FailApply(func([]hub.Object) error { return syscall.ENOSPC })
		for _, name := range []string{"x", "y"} {
			dir.Down("a").Put(hub.Key{Resource: "pods", Name: name}, 1, "body")
		}
		time.Sleep(time.Hour)
		if got := client.Info(); !got.Connected || got.Epoch != epoch {
			t.Errorf("the link went: %+v", got)
		}
		const most = 70 // 10 at once in each of the 10 minutes
		for side, log := range map[string]*logBuffer{"edge": near, "cloud": far} {
			if lines := log.count("object was not delivered"); lines < 10 || lines > most {
				t.Errorf("%s: %d lines in an hour", side, lines)
			}
		}
		if got := client.Stats().Retried[hub.ClassState]; got < 2*most {
			t.Errorf("%d retries are counted", got)
		}
		sink.FailApply(func([]hub.Object) error { return &hub.Error{Code: hub.CodeInvalid, Text: "no such thing"} })
		time.Sleep(2 * time.Minute)
		for side, log := range map[string]*logBuffer{"edge": near, "cloud": far} {
			if lines := log.count("no such thing"); lines != 2 {
				t.Errorf("%s: %d lines of two refusals", side, lines)
			}
		}
	})
}

// TestReadyEdgeCanBeCalled: a server is slow to claim a node after it has sent the
// welcome. A caller waits for the node meanwhile, and gets ErrOffline if the node
// disconnects first.
func TestReadyEdgeCanBeCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, mux := memconn.New(memconn.Config{}), &hub.Mux{}
		mux.Handle("echo", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) { return r.Message, nil }))
		server := newServer(t, hub.ServerConfig{Listener: slowWelcome{n}, Directory: &hubtest.Directory{}})
		defer program(t, server.Run)()
		client := newClient(t, n, "a", func(cfg *hub.ClientConfig) { cfg.Mux = mux })
		stop := program(t, client.Run)
		echo := hub.Message{Key: hub.Key{Resource: "echo"}}
		<-client.Ready()
		if _, err := server.Call(t.Context(), "a", echo); err != nil {
			t.Errorf("a call to a node that is ready: %v", err)
		}
		stop()
		time.Sleep(time.Minute)

		client = newClient(t, n, "a", nil)
		stop = program(t, client.Run)
		<-client.Ready()
		answer := make(chan error)
		go func() {
			_, err := server.Call(t.Context(), "a", echo)
			answer <- err
		}()
		synctest.Wait()
		n.Cut("a")
		stop()
		if err := <-answer; !errors.Is(err, hub.ErrOffline) {
			t.Errorf("a call to a node that went in its handshake: %v", err)
		}
	})
}

// slowWelcome delays what follows a welcome by a second.
type slowWelcome struct{ hub.Listener }

func (l slowWelcome) Accept(ctx context.Context) (hub.Conn, error) {
	c, err := l.Listener.Accept(ctx)
	return slowConn{c}, err
}

type slowConn struct{ hub.Conn }

func (c slowConn) AcceptStream(ctx context.Context) (hub.Stream, error) {
	st, err := c.Conn.AcceptStream(ctx)
	return slowStream{st}, err
}

type slowStream struct{ hub.Stream }

func (s slowStream) SetDeadline(t time.Time) error {
	if t.IsZero() {
		<-time.After(time.Second)
	}
	return s.Stream.SetDeadline(t)
}
