package hubtest

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// Transport is one listener, its dialers, and functions that break its connections.
type Transport struct {
	Listener hub.Listener
	// Dialer dials with the proven identity of the node.
	Dialer func(node string) hub.Dialer
	// Cut breaks the node's connections at once.
	Cut func(node string)
	// Stall makes the node's connections half-open until called with false: nothing
	// arrives, and no side gets an error.
	Stall func(node string, on bool)
	// CutAfter breaks the node's connections in the middle of a transfer, after bytes
	// more bytes. With nil the suite uses Cut.
	CutAfter func(node string, bytes int)
}

// Suite gives Run a transport.
type Suite struct {
	// Open makes a fresh Transport; it is closed with t's cleanups.
	Open func(t *testing.T) Transport
	// Bubble runs each test, for a transport without real I/O in synctest.Test; nil runs
	// them in real time and in parallel, without the few that need a fake clock: those
	// run with a transport in memory.
	Bubble func(t *testing.T, f func(t *testing.T))
	// Weather is what the network is like, if it is a real one: in bad weather only those
	// tests run that it makes harder.
	Weather Weather
}

// inBadWeather are the tests that a bad network makes harder.
func inBadWeather() []string {
	return []string{
		"StateDown", "StateUp", "Events", "Streams", "StuckStream", "HalfOpenBusy", "BlackHole", "CutMidFrame", "SlowReader", "Reconnect",
	}
}

// Run checks a transport against the contract of hub, by running a hub.Client and a
// hub.Server over it.
func Run(t *testing.T, s Suite) {
	bubble := s.Bubble
	if bubble == nil {
		bubble = func(t *testing.T, f func(*testing.T)) { f(t) }
	}
	for _, tt := range []struct {
		name string
		test func(*rig)
	}{
		{"StateDown", stateDown},
		{"StateUp", stateUp},
		{"Deletes", deletes},
		{"DigestMatches", digestMatches},
		{"ChangesWhileOffline", changesWhileOffline},
		{"LaggingOwner", laggingOwner},
		{"LargeObjects", largeObjects},
		{"SinkFailures", sinkFailures},
		{"Events", eventsArrive},
		{"EventsResume", eventsResume},
		{"EventOverflow", eventOverflow},
		{"EventFailures", eventFailures},
		{"Calls", calls},
		{"CallErrors", callErrors},
		{"CallCancel", callCancel},
		{"CallLimit", callLimit},
		{"Streams", streams},
		{"StreamStatus", streamStatus},
		{"StreamCancel", streamCancel},
		{"StuckStream", stuckStream},
		{"StalledLists", stalledLists},
		{"Keepalive", keepalive},
		{"HalfOpen", halfOpen},
		{"HalfOpenBusy", halfOpenBusy},
		{"BlackHole", blackHole},
		{"CutMidFrame", cutMidFrame},
		{"SlowReader", slowReader},
		{"Reconnect", reconnect},
		{"Fencing", fencing},
		{"FencedWhileOffline", fencedWhileOffline},
		{"SameInstance", sameInstance},
		{"Refusals", refusals},
		{"Disconnect", disconnect},
		{"Shutdown", shutdown},
		{"GarbageBeforeHandshake", garbage},
		{"SilentHandshake", silentHandshake},
		{"OversizeFrame", oversize},
	} {
		if s.Weather != (Weather{}) && !slices.Contains(inBadWeather(), tt.name) || s.Bubble == nil && slices.Contains(quiet(), tt.name) {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			if s.Bubble == nil {
				t.Parallel()
			}
			bubble(t, func(t *testing.T) { tt.test(newRig(t, s.Open(t), s, tt.name)) })
		})
	}
}

// wide is how many tests of a suite over a real network run at the same time:
// they wait for the network, not for a processor.
const wide = 8

// Widen makes a test binary whose suite runs in real time run many of its tests at the
// same time, unless -parallel says how many. Call it in TestMain.
func Widen() {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		_ = f.Value.Set(strconv.Itoa(wide)) // a number it takes
	}
}

// interval is the keepalive of the suite in a bubble, and what its other times
// are multiples of.
const interval = 500 * time.Millisecond

// patience is how long the suite waits for what must happen before it fails. It is far
// longer than that takes on a busy machine.
const patience = time.Minute

// quiet are the tests which check that something does not happen for a time. In real time
// a busy machine may make it happen, so they run in a bubble only.
func quiet() []string {
	return []string{"Keepalive", "Fencing", "FencedWhileOffline", "SameInstance"}
}

// silent are the tests in which a link falls silent and both ends notice it by their
// keepalive. All others do not depend on time: there the keepalive is longer than the
// test, so that a busy machine does not end a link that a test is about to use.
func silent() []string { return []string{"HalfOpen", "HalfOpenBusy", "BlackHole"} }

// rig is a running server, and makes clients of it for the tests.
type rig struct {
	*testing.T
	tr     Transport
	ctx    context.Context
	dir    *Directory
	mux    *hub.Mux
	server *hub.Server
	// keepalive is that of both ends.
	keepalive time.Duration
	owns      bool   // the test owns the clock: it is in a bubble
	stop      func() // ends the server and waits for it
}

func newRig(t *testing.T, tr Transport, s Suite, name string) *rig {
	r := &rig{T: t, tr: tr, dir: &Directory{}, mux: &hub.Mux{}, keepalive: interval, owns: s.Bubble != nil}
	switch {
	case s.Bubble == nil && !slices.Contains(silent(), name):
		r.keepalive = 3 * patience
	case s.Bubble == nil, s.Weather != (Weather{}):
		r.keepalive = 8 * interval // lost packets and a busy machine make a link late, not dead
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	r.ctx = ctx
	r.startServer(hub.ServerConfig{})
	return r
}

// startServer fills in cfg and runs a server.
func (r *rig) startServer(cfg hub.ServerConfig) {
	r.Helper()
	cfg.Listener, cfg.Directory, cfg.Mux = r.tr.Listener, r.dir, r.mux
	cfg.Keepalive = r.keepalive
	cfg.Logger = slog.New(slog.NewTextHandler(testWriter{r.T}, nil))
	if cfg.Handshake == 0 {
		cfg.Handshake = 5 * time.Second
	}
	server, err := hub.NewServer(cfg)
	if err != nil {
		r.Fatal(err)
	}
	r.server = server
	r.stop = r.run(server.Run, nil)
	<-server.Ready()
}

// run runs f until the returned func is called, which waits for it, or until
// the test ends. What f returns goes to done.
func (r *rig) run(f func(context.Context) error, done chan<- error) func() {
	ctx, cancel := context.WithCancel(r.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := f(ctx)
		if done != nil {
			done <- err
		}
	})
	stop := func() {
		cancel()
		wg.Wait()
	}
	r.Cleanup(stop)
	return stop
}

// edge is one running client.
type edge struct {
	*hub.Client
	down   *Sink
	up     *AckedSource
	inbox  *Inbox
	outbox *Outbox
	done   chan error
	stop   func()

	mu    sync.Mutex
	infos []hub.Info
}

// edge runs a client for the node; edit may change its configuration.
func (r *rig) edge(node string, edit func(*hub.ClientConfig)) *edge {
	r.Helper()
	return r.edgeWith(node, r.newEdge(), edit)
}

// newEdge makes a node whose stores are empty.
func (*rig) newEdge() *edge {
	return &edge{down: &Sink{}, up: &AckedSource{}, inbox: &Inbox{}, outbox: &Outbox{}}
}

// edgeWith runs another client on the stores of an earlier one.
func (r *rig) edgeWith(node string, e *edge, edit func(*hub.ClientConfig)) *edge {
	r.Helper()
	e = &edge{down: e.down, up: e.up, inbox: e.inbox, outbox: e.outbox, done: make(chan error, 1)}
	cfg := hub.ClientConfig{
		Dialer: r.tr.Dialer(node), Node: node, Down: e.down, Up: e.up, Inbox: e.inbox, Outbox: e.outbox, Mux: r.mux,
		Keepalive: r.keepalive, Backoff: hub.Backoff{Min: 5 * time.Millisecond, Max: 50 * time.Millisecond},
		Connected: []func(hub.Info){e.note}, Logger: slog.New(slog.NewTextHandler(testWriter{r.T}, nil)),
	}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if e.Client, err = hub.NewClient(cfg); err != nil {
		r.Fatal(err)
	}
	e.stop = r.run(e.Run, e.done)
	return e
}

func (e *edge) note(i hub.Info) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.infos = append(e.infos, i)
}

// sessions is how many sessions have begun.
func (e *edge) sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, i := range e.infos {
		if i.Connected {
			n++
		}
	}
	return n
}

// up runs a client and waits until both sides know of its session.
func (r *rig) up(node string, edit func(*hub.ClientConfig)) *edge {
	r.Helper()
	e := r.edge(node, edit)
	r.connected(e)
	return e
}

func (r *rig) connected(e *edge) {
	r.Helper()
	r.until("the session stands", func() bool {
		for _, i := range r.server.Nodes() {
			if i.Epoch == e.Info().Epoch && e.Info().Connected {
				return true
			}
		}
		return false
	})
}

// until waits for a condition.
func (r *rig) until(what string, cond func() bool) {
	r.Helper()
	Until(r.T, what, cond)
}

// Until waits for a condition that nothing signals, by polling. It ends the test after a
// minute, which is far longer than a condition takes on a busy machine.
func Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// final waits for a client's Run to return.
func (r *rig) final(e *edge) error {
	r.Helper()
	select {
	case err := <-e.done:
		return err
	case <-time.After(patience):
		r.Fatal("Run did not return")
		return nil
	}
}

// within checks that something took at most that long. In real time a busy machine may
// take longer: there, only patience bounds it.
func (r *rig) within(most, took time.Duration) {
	r.Helper()
	if r.owns && took > most {
		r.Errorf("it took %v, want %v at most", took, most)
	}
}

// handshake is a time for handshakes: d, or more in real time, where a busy machine needs it.
func (r *rig) handshake(d time.Duration) time.Duration {
	if r.owns {
		return d
	}
	return 5 * d
}

// pass lets d pass.
func (r *rig) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
	}
}

func key(name string) hub.Key { return hub.Key{Resource: "things", Namespace: "space", Name: name} }

func to(resource string) hub.Message {
	return hub.Message{Key: hub.Key{Resource: resource, Name: "x"}, Body: []byte("question")}
}

// testWriter sends log lines to the test's own log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}
