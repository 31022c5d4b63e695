package hubtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// caller has the methods by which one side calls the other.
type caller struct {
	name string
	call func(context.Context, hub.Message) (hub.Message, error)
	open func(context.Context, hub.Message) (hub.Stream, error)
}

// both returns the callers of a session with node a.
func (r *rig) both(e *edge) []caller {
	return []caller{
		{"edge to cloud", e.Call, e.OpenStream},
		{
			"cloud to edge",
			func(ctx context.Context, m hub.Message) (hub.Message, error) { return r.server.Call(ctx, "a", m) },
			func(ctx context.Context, m hub.Message) (hub.Stream, error) { return r.server.OpenStream(ctx, "a", m) },
		},
	}
}

func calls(r *rig) {
	r.mux.Handle("echo", hub.HandlerFunc(func(_ context.Context, req hub.Request) (hub.Message, error) {
		if req.Node != "a" || req.Message.Operation != hub.Query {
			return hub.Message{}, fmt.Errorf("asked by %q with %v", req.Node, req.Message.Operation)
		}
		return hub.Message{Version: req.Message.Version, Body: req.Message.Body}, nil
	}))
	e := r.up("a", nil)
	big := bytes.Repeat([]byte("x"), 1<<20)
	for _, c := range r.both(e) {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				m := to("echo")
				m.Version = fmt.Sprint(i)
				if i == 0 {
					m.Body = big
				}
				got, err := c.call(r.ctx, m)
				if err != nil || got.Version != m.Version || !bytes.Equal(got.Body, m.Body) || got.Operation != hub.Response {
					r.Errorf("%s: call %d: %d bytes, version %q, %v", c.name, i, len(got.Body), got.Version, err)
				}
			})
		}
		wg.Wait()
	}
}

func callErrors(r *rig) {
	r.mux.Handle("typed", hub.HandlerFunc(func(context.Context, hub.Request) (hub.Message, error) {
		return hub.Message{}, fmt.Errorf("outer: %w", &hub.Error{Code: hub.CodeNotFound, Text: "no such thing"})
	}))
	r.mux.Handle("untyped", hub.HandlerFunc(func(context.Context, hub.Request) (hub.Message, error) {
		return hub.Message{}, errors.New("broken")
	}))
	r.mux.Handle("huge", hub.HandlerFunc(func(context.Context, hub.Request) (hub.Message, error) {
		return hub.Message{Body: make([]byte, 5<<20)}, nil
	}))
	e := r.up("a", nil)
	for _, c := range r.both(e) {
		for _, tt := range []struct {
			m    hub.Message
			want error
		}{
			{to("typed"), &hub.Error{Code: hub.CodeNotFound, Text: "no such thing"}},
			{to("untyped"), &hub.Error{Code: hub.CodeUnknown, Text: "broken"}},
			{to("nobody"), &hub.Error{Code: hub.CodeUnsupported}},
			{to("huge"), &hub.Error{Code: hub.CodeExhausted}},
			{hub.Message{Key: key("x"), Body: make([]byte, 5<<20)}, hub.ErrTooLarge},
		} {
			if _, err := c.call(r.ctx, tt.m); !errors.Is(err, tt.want) {
				r.Errorf("%s: %s: got %v, want %v", c.name, tt.m.Key.Resource, err, tt.want)
			}
		}
	}
	if _, err := r.server.Call(r.ctx, "nobody", to("typed")); !errors.Is(err, hub.ErrOffline) {
		r.Errorf("call to a node that is not there: %v", err)
	}
	e.stop()
	if _, err := e.Call(r.ctx, to("typed")); !errors.Is(err, hub.ErrOffline) {
		r.Errorf("call without a session: %v", err)
	}
}

// callCancel checks that a deadline, a cancel and a lost link reach the handler.
func callCancel(r *rig) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	r.mux.Handle("wait", hub.HandlerFunc(func(ctx context.Context, _ hub.Request) (hub.Message, error) {
		select {
		case begun <- struct{}{}:
			<-ctx.Done()
			ended <- ctx.Err()
		case <-ctx.Done(): // the caller of this late call no longer waits
		}
		return hub.Message{}, ctx.Err()
	}))
	e := r.up("a", nil)
	for _, c := range r.both(e) {
		for patient, entered := 100*time.Millisecond, false; !entered; patient *= 2 { // a busy machine needs longer to get there
			ctx, cancel := context.WithTimeout(r.ctx, patient)
			seen := make(chan bool, 1)
			go func() {
				select {
				case <-begun:
					seen <- true
				case <-ctx.Done():
					seen <- false
				}
			}()
			_, err := c.call(ctx, to("wait"))
			if !errors.Is(err, context.DeadlineExceeded) {
				r.Fatalf("%s: deadline: %v", c.name, err)
			}
			cancel()
			if entered = <-seen; entered {
				<-ended
			}
		}

		ctx, cancel := context.WithCancel(r.ctx)
		go func() { <-begun; cancel() }()
		if _, err := c.call(ctx, to("wait")); !errors.Is(err, context.Canceled) {
			r.Errorf("%s: cancel: %v", c.name, err)
		}
		<-ended

		sessions := e.sessions()
		go func() { <-begun; r.tr.Cut("a") }()
		if _, err := c.call(r.ctx, to("wait")); !errors.Is(err, hub.ErrInterrupted) {
			r.Errorf("%s: lost link: %v", c.name, err)
		}
		<-ended
		r.until("a new session", func() bool { return e.sessions() > sessions })
		r.connected(e)
	}
}

func callLimit(r *rig) {
	release := make(chan struct{})
	var entered sync.WaitGroup
	entered.Add(3)
	r.mux.Handle("hold", hub.HandlerFunc(func(context.Context, hub.Request) (hub.Message, error) {
		entered.Done()
		<-release
		return hub.Message{}, nil
	}))
	e := r.up("a", func(c *hub.ClientConfig) { c.Limits.MaxCalls = 3 })
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			if _, err := r.server.Call(r.ctx, "a", to("hold")); err != nil {
				r.Error(err)
			}
		})
	}
	entered.Wait()
	if _, err := r.server.Call(r.ctx, "a", to("hold")); !errors.Is(err, &hub.Error{Code: hub.CodeExhausted}) {
		r.Errorf("the fourth call: %v", err)
	}
	close(release)
	calls.Wait()
	_ = e
}

func echoStream(_ context.Context, _ hub.Request, s hub.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

func streams(r *rig) {
	r.mux.HandleStream("echo", hub.StreamHandlerFunc(echoStream))
	e := r.up("a", nil)
	for _, c := range r.both(e) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				size := 1000
				if i%10 == 0 {
					size = 10_000 // more than a window
				}
				text := strings.Repeat(fmt.Sprint("stream ", i, " "), size)
				if err := r.echo(c, text); err != nil {
					r.Errorf("%s: stream %d: %v", c.name, i, err)
				}
			})
		}
		wg.Wait()
	}
}

// echo sends text through a stream and checks that it comes back.
func (r *rig) echo(c caller, text string) error {
	s, err := c.open(r.ctx, to("echo"))
	if err != nil {
		return err
	}
	defer s.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(s, text)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err = errors.Join(err, <-sent); err == nil && string(got) != text {
		return fmt.Errorf("%d bytes came back of %d", len(got), len(text))
	}
	return err
}

func streamStatus(r *rig) {
	r.mux.HandleStream("fail", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
		_, _ = io.WriteString(s, "so far")
		return &hub.Error{Code: hub.CodeConflict, Text: "no further"}
	}))
	e := r.up("a", nil)
	for _, c := range r.both(e) {
		s, err := c.open(r.ctx, to("fail"))
		if err != nil {
			r.Fatal(err)
		}
		got, err := io.ReadAll(s)
		if string(got) != "so far" || !errors.Is(err, &hub.Error{Code: hub.CodeConflict, Text: "no further"}) {
			r.Errorf("%s: %q, %v", c.name, got, err)
		}
		s.Close()
		s, err = c.open(r.ctx, to("nobody"))
		if err != nil {
			r.Fatal(err)
		}
		if _, err := io.ReadAll(s); !errors.Is(err, &hub.Error{Code: hub.CodeUnsupported}) {
			r.Errorf("%s: no handler: %v", c.name, err)
		}
		s.Close()
	}
}

// streamCancel checks that the opener's Close ends a handler that neither reads nor
// writes, and one that is blocked in a write, and that a broken link ends a read.
func streamCancel(r *rig) {
	ended := make(chan error, 1)
	begun := make(chan struct{}, 1)
	r.mux.HandleStream("idle", hub.StreamHandlerFunc(func(ctx context.Context, _ hub.Request, _ hub.Stream) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}))
	r.mux.HandleStream("flood", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
		begun <- struct{}{}
		for {
			if _, err := s.Write(make([]byte, 64<<10)); err != nil {
				ended <- err
				return err
			}
		}
	}))
	e := r.up("a", nil)
	for _, c := range r.both(e) {
		for _, resource := range []string{"idle", "flood"} {
			s, err := c.open(r.ctx, to(resource))
			if err != nil {
				r.Fatal(err)
			}
			<-begun
			s.Close()
			if err := <-ended; err == nil {
				r.Errorf("%s: %s ended well", c.name, resource)
			}
			if _, err := s.Read(make([]byte, 1)); err == nil {
				r.Errorf("%s: read after Close", c.name)
			}
		}
		s, err := c.open(r.ctx, to("idle"))
		if err != nil {
			r.Fatal(err)
		}
		<-begun
		sessions := e.sessions()
		r.tr.Cut("a")
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, hub.ErrInterrupted) {
			r.Errorf("%s: read over a lost link: %v", c.name, err)
		}
		<-ended
		s.Close()
		r.until("a new session", func() bool { return e.sessions() > sessions })
		r.connected(e)
	}
}

// stuckStream checks that streams which nobody reads delay nothing else.
func stuckStream(r *rig) {
	r.mux.HandleStream("flood", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
		for {
			if _, err := s.Write(make([]byte, 64<<10)); err != nil {
				return err
			}
		}
	}))
	r.mux.HandleStream("echo", hub.StreamHandlerFunc(echoStream))
	e := r.up("a", nil)
	for _, c := range r.both(e) {
		for range 3 {
			s, err := c.open(r.ctx, to("flood"))
			if err != nil {
				r.Fatal(err)
			}
			defer s.Close()
		}
		for range 3 { // fast at first, so that their windows have grown
			s, err := c.open(r.ctx, to("flood"))
			if err != nil {
				r.Fatal(err)
			}
			defer s.Close()
			if _, err := io.CopyN(io.Discard, s, 256<<10); err != nil {
				r.Fatal(err)
			}
		}
	}
	for _, c := range r.both(e) {
		if err := r.echo(c, strings.Repeat("0123456789", 100_000)); err != nil {
			r.Errorf("%s: %v", c.name, err)
		}
	}
	r.dir.Down("a").Put(key("x"), 1, "x")
	r.until("state arrives", func() bool { return e.down.Held(key("x")) == "1" })
	if e.sessions() != 1 {
		r.Error("the session was lost")
	}
}

// stalledLists: pods at the edge read answers of the cloud fast, so that their windows grow,
// and then no more. The node's state arrives all the same, and so do new answers.
func stalledLists(r *rig) {
	const lists, fast = 20, 5 << 18
	r.mux.HandleStream("flood", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
		for {
			if _, err := s.Write(make([]byte, 64<<10)); err != nil {
				return err
			}
		}
	}))
	r.mux.HandleStream("echo", hub.StreamHandlerFunc(echoStream))
	e := r.up("a", nil)
	for range lists {
		s, err := e.OpenStream(r.ctx, to("flood"))
		if err != nil {
			r.Fatal(err)
		}
		defer s.Close()
		if _, err := io.CopyN(io.Discard, s, fast); err != nil {
			r.Fatal(err)
		}
	}
	down := r.dir.Down("a")
	for i := range 64 {
		down.Put(key(strconv.Itoa(i)), 1, strings.Repeat("x", 64<<10))
	}
	r.until("state arrives", func() bool { return e.down.Len() == 64 })
	if err := r.echo(caller{"edge to cloud", e.Call, e.OpenStream}, strings.Repeat("0123456789", 100_000)); err != nil {
		r.Error(err)
	}
	if e.sessions() != 1 {
		r.Error("the session was lost")
	}
}
