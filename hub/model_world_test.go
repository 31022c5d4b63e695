package hub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// world is a cloud and an edge with their stores, which outlive both programs.
type world struct {
	*testing.T
	rnd     *rand.Rand
	deaths  *deaths
	orderly bool // frames come as they were written
	net     *memconn.Network
	dir     *hubtest.Directory
	down    *hubtest.Source // the cloud's
	arrived *hubtest.Sink
	sink    *hubtest.Sink // the edge's
	outbox  *hubtest.AckedSource
	mails   [2]*mail
	asks    asks

	truth, reported map[hub.Key]int

	cloud, edge run
	server      *hub.Server
	client      *hub.Client
	runs        []string // the instances of the edge, newest first
	graves      []*life
}

// run is one run of a program.
type run struct {
	*life
	stop func() // ends it, if it lives, and waits for it
}

func newWorld(t *testing.T, seed uint64, d *deaths) *world {
	w := &world{
		T: t, rnd: rand.New(rand.NewPCG(seed, 0)), deaths: d,
		net: memconn.New(memconn.Config{Delay: 20 * time.Millisecond, Window: 8 << 10}),
		dir: &hubtest.Directory{}, sink: &hubtest.Sink{}, outbox: &hubtest.AckedSource{},
		truth: map[hub.Key]int{}, reported: map[hub.Key]int{},
	}
	w.down, w.arrived = w.dir.Down("a"), w.dir.Up("a")
	w.mails = [2]*mail{{out: &hubtest.Outbox{}, in: w.dir.Inbox("a")}, {out: w.dir.Outbox("a"), in: &hubtest.Inbox{}}}
	return w
}

// begin makes a life that ends as doom says.
func (w *world) begin(d doom) *life {
	return &life{deaths: w.deaths, unruly: !w.orderly, doom: d, rnd: rand.New(rand.NewPCG(w.rnd.Uint64(), 0))}
}

func (w *world) startCloud(d doom) {
	l := w.begin(d)
	server, err := hub.NewServer(hub.ServerConfig{
		Listener: mortalListener{w.net, l}, Directory: mortalDirectory{w.dir, l}, Mux: w.asks.mux(), Keepalive: 100 * time.Millisecond,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.server, w.cloud = server, w.start(l, server.Run)
}

func (w *world) startEdge(d doom) {
	l := w.begin(d)
	earlier := w.runs[:min(len(w.runs), 4)]
	w.runs = append([]string{fmt.Sprint("run-", len(w.runs))}, w.runs...)
	client, err := hub.NewClient(hub.ClientConfig{
		Dialer: mortalDialer{w.net.Dialer("a"), l}, Node: "a", Instance: w.runs[0], Earlier: earlier, Mux: w.asks.mux(),
		Down: mortalSink{w.sink, l}, Up: mortalAckedSource{mortalSource{w.outbox, l}, w.outbox},
		Outbox: mortalOutbox{w.mails[0].out, l}, Inbox: mortalInbox{w.mails[1].in, l},
		Keepalive: 200 * time.Millisecond, Backoff: hub.Backoff{Min: time.Millisecond, Max: 100 * time.Millisecond},
		Limits: hub.Limits{Window: 8, WindowBytes: 8 << 10},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.client, w.edge = client, w.start(l, client.Run)
}

func (w *world) start(l *life, f func(context.Context) error) run {
	ctx, cancel := context.WithCancel(w.Context())
	l.cancel = cancel
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil && !l.isDead() {
			w.Error(err)
		}
	})
	w.graves = append(w.graves, l)
	return run{l, func() { cancel(); wg.Wait() }}
}

// restart stops a program and starts it again over what it kept.
func (w *world) restart(r *run, start func(doom)) {
	r.stop()
	start(w.fate())
}

// end stops everything.
func (w *world) end() {
	w.edge.stop()
	w.cloud.stop()
	for _, l := range w.graves {
		l.closeOpen()
	}
	w.asks.wg.Wait()
}

// put changes what the edge must hold.
func (w *world) put(k hub.Key, version int, body string) {
	w.down.Put(k, version, body)
	w.truth[k] = version
}

// report changes what the edge reports.
func (w *world) report(k hub.Key, version int, body string) {
	w.outbox.Put(k, version, body)
	w.reported[k] = version
}

// fail makes one in four writes fail on all sides, or none.
func (w *world) fail(on bool) {
	var state func([]hub.Object) error
	var events func([]hub.Event) error
	if on {
		chance := &life{rnd: rand.New(rand.NewPCG(w.rnd.Uint64(), 0))}
		state = func([]hub.Object) error { return notNow(chance) }
		events = func([]hub.Event) error { return notNow(chance) }
	}
	w.sink.FailApply(state)
	w.arrived.FailApply(state)
	for _, m := range w.mails {
		m.in.FailAppend(events)
	}
}

func notNow(chance *life) error {
	if chance.pick(4) == 0 {
		return errors.New("not now")
	}
	return nil
}

// calm ends all failures and waits until the world is at rest.
func (w *world) calm() {
	w.net.Stall("a", false)
	w.down.FailLoad(nil)
	w.fail(false)
	for _, m := range w.mails {
		m.out.FailNext(nil)
	}
	for _, r := range []struct {
		run   *run
		start func(doom)
	}{{&w.edge, w.startEdge}, {&w.cloud, w.startCloud}} {
		if r.run.doom != (doom{}) {
			r.run.stop()
			r.start(doom{})
		}
	}
	<-time.After(3 * time.Minute) // longer than every back-off
}

// mail is one direction of the event class.
type mail struct {
	out     *hubtest.Outbox
	in      *hubtest.Inbox
	sent    int
	refused uint64 // id of the first source that is not to arrive; 0 for none
}

// append adds some events to one of three sources; now and then the Outbox
// cannot be read.
func (m *mail) append(rnd *rand.Rand, body string) {
	source := fmt.Sprint("s", rnd.IntN(3))
	for range 1 + rnd.IntN(20) {
		m.out.Append(source, hub.Key{Resource: "events", Name: source}, body)
		m.sent++
	}
	if m.out.FailNext(nil); rnd.IntN(8) == 0 {
		m.out.FailNext(func(string) error { return errors.New("disk on fire") })
	}
}

// asks records calls and streams in both directions.
type asks struct {
	mu     sync.Mutex
	served map[string]int // handlers that ran, by what they were asked
	unsent []string       // asked while offline: no handler may have run
	wrong  []string
	wg     sync.WaitGroup
}

// mux answers each call with its own body.
func (a *asks) mux() *hub.Mux {
	m := &hub.Mux{}
	m.Handle("ask", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) {
		a.serve(string(r.Message.Body))
		return hub.Message{Body: r.Message.Body}, nil
	}))
	m.HandleStream("talk", hub.StreamHandlerFunc(func(_ context.Context, r hub.Request, s hub.Stream) error {
		a.serve(string(r.Message.Body))
		_, err := io.Copy(s, s)
		return err
	}))
	return m
}

func (a *asks) serve(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.served == nil {
		a.served = make(map[string]int)
	}
	a.served[what]++
}

// asker has the methods by which one end of the link calls the other.
type asker struct {
	call func(context.Context, hub.Message) (hub.Message, error)
	open func(context.Context, hub.Message) (hub.Stream, error)
}

// ask makes one end call the other, or open a stream to it.
func (w *world) ask(id int) {
	client, server := w.client, w.server
	from := asker{client.Call, client.OpenStream}
	if w.rnd.IntN(2) == 0 {
		from = asker{
			func(ctx context.Context, m hub.Message) (hub.Message, error) { return server.Call(ctx, "a", m) },
			func(ctx context.Context, m hub.Message) (hub.Stream, error) { return server.OpenStream(ctx, "a", m) },
		}
	}
	size, patience, talk := w.rnd.IntN(6000), time.Duration(w.rnd.IntN(1000))*time.Millisecond, w.rnd.IntN(2) == 0
	a := &w.asks
	a.wg.Go(func() {
		ctx, cancel := context.WithTimeout(w.Context(), patience)
		defer cancel()
		m := hub.Message{Key: hub.Key{Resource: "ask"}, Body: []byte(strconv.Itoa(id))}
		var err error
		var complaint string
		if talk {
			m.Key.Resource = "talk"
			complaint, err = from.talk(ctx, m, size)
		} else if m.Body = append(m.Body, make([]byte, size)...); true {
			var answer hub.Message
			if answer, err = from.call(ctx, m); err == nil && !bytes.Equal(answer.Body, m.Body) {
				complaint = "another answer"
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case complaint != "":
			a.wrong = append(a.wrong, fmt.Sprintf("ask %d: %s", id, complaint))
		case errors.Is(err, hub.ErrOffline):
			a.unsent = append(a.unsent, string(m.Body))
		}
	})
}

// talk sends size bytes through a stream that echoes them. A stream that ends cleanly has
// echoed all of them; one that fails has echoed the first ones.
func (f asker) talk(ctx context.Context, m hub.Message, size int) (complaint string, err error) {
	s, err := f.open(ctx, m)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if at, ok := ctx.Deadline(); ok {
		_ = s.SetDeadline(at)
	}
	text := bytes.Repeat(m.Body, 1+size/len(m.Body))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, _ = s.Write(text)
		_ = s.CloseWrite()
	})
	back, err := io.ReadAll(s)
	switch {
	case err == nil && len(back) != len(text):
		complaint = fmt.Sprintf("a clean end after %d bytes of %d", len(back), len(text))
	case !bytes.HasPrefix(text, back):
		complaint = "other bytes came back"
	}
	return complaint, nil
}
