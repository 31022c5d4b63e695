package mqtt_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/metastore"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// The programs of TestChaos. Each is this test program with chaosEnv in its environment, which
// has a chaosConfig.
const chaosEnv = "EDGEKIT_TEST_CHAOS"

type chaosConfig struct {
	Part   string // edge, mapper, or many of TestManyMappers
	Store  string // edge: the folder of the store
	Listen string // edge: the address of the embedded broker; empty uses the outside one
	Broker string // the address of the outside broker, or of the embedded one for a mapper

	Cloud    string   // edge: the folder of its identity; empty has no cloud
	CloudURL string   // edge: where the cloud is
	Earlier  []string // edge: its runs, this one first

	Device string         // mapper: the device that it reports
	Until  int            // mapper: the last value of each property
	From   map[string]int // mapper: the last accepted value of each property
	Quiet  bool           // mapper: it also sets what is desired of the quiet device
}

const (
	chaosNode  = "edge"
	quiet      = "plant/quiet"
	chaosRetry = time.Second // a mapper that gets no answer reports again
	properties = 32          // of the device of a mapper
)

func property(i int) string { return fmt.Sprint("p", i) }

// chaosPart runs a part until it is killed.
func chaosPart(text string) error {
	var cfg chaosConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	switch cfg.Part {
	case "edge":
		return chaosEdge(context.Background(), cfg)
	case "many":
		return manyDevices(context.Background(), cfg)
	}
	return chaosMapper(context.Background(), cfg)
}

// chaosEdge is the part of edgecore: store, twin, bus and topics.
func chaosEdge(ctx context.Context, cfg chaosConfig) error {
	store, err := badgerstore.Open(badgerstore.Config{Dir: cfg.Store, KeyFile: cfg.Store + ".key"})
	if err != nil {
		return err
	}
	defer store.Close()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		return err
	}
	var b *bus.Bus
	if cfg.Listen != "" {
		b, err = embeddedBus(cfg.Listen, store)
	} else {
		b, err = chaosBus(cfg.Broker, "edgecore-edge")
	}
	if err != nil {
		return err
	}
	group, ctx, err := runTwins(ctx, engine, b)
	if err != nil {
		return err
	}
	if err := chaosLink(ctx, group, cfg, store, engine); err != nil {
		return err
	}
	return group.Wait()
}

// embeddedBus is a bus with a broker in this process, which keeps in the store what must survive.
func embeddedBus(address string, store meta.Store) (*bus.Bus, error) {
	inner, err := broker.New(broker.Config{Address: address, Storage: metastore.New(store, "mqtt/")})
	if err != nil {
		return nil, err
	}
	return bus.New(bus.Config{Internal: inner})
}

// runTwins runs the engine, the bus and the bridge between them, in a group that ends with the
// context it returns.
func runTwins(ctx context.Context, engine *twin.Engine, b *bus.Bus) (*errgroup.Group, context.Context, error) {
	bridge, err := mqtt.New(mqtt.Config{Engine: engine, Bus: b, Node: chaosNode})
	if err != nil {
		return nil, nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{engine.Run, bridge.Run, b.Run} {
		group.Go(func() error { return run(ctx) })
	}
	return group, ctx, nil
}

// chaosBus is a client that has a session.
func chaosBus(address, id string) (*bus.Bus, error) {
	c, err := client.New(client.Config{URL: address, ClientID: id, SessionExpiry: time.Hour})
	if err != nil {
		return nil, err
	}
	return bus.New(bus.Config{Mode: bus.External, External: c})
}

// reporter reports values and waits for the answers.
type reporter struct {
	bus *bus.Bus

	mu      sync.Mutex
	waiting map[string]chan topics.ErrorMessage // by event_id
}

func newReporter(b *bus.Bus, devices ...string) (*reporter, error) {
	r := &reporter{bus: b, waiting: make(map[string]chan topics.ErrorMessage)}
	for _, device := range devices {
		if _, err := b.Subscribe(topics.Device(device, topics.Result(topics.TwinUpdate)), r.answer); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *reporter) answer(_ context.Context, m bus.Message) {
	var a topics.ErrorMessage
	if json.Unmarshal(m.Payload, &a) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if answered := r.waiting[a.EventID]; answered != nil {
		answered <- a // has room for the one answer that is waited for
		delete(r.waiting, a.EventID)
	}
}

// report sends one update until it is accepted.
func (r *reporter) report(ctx context.Context, device, name, side string, value int) error {
	id := fmt.Sprintf("%s-%s-%d", name, side, value)
	payload := fmt.Appendf(nil, `{"event_id":%q,"twin":{%q:{%q:{"value":"%d"}}}}`, id, name, side, value)
	for {
		answered := make(chan topics.ErrorMessage, 1)
		r.mu.Lock()
		r.waiting[id] = answered
		r.mu.Unlock()
		// An error says that it is not sent: the next try may be.
		_ = r.bus.Publish(ctx, bus.Message{Topic: topics.Device(device, topics.TwinUpdate), Payload: payload, QoS: bus.AtLeastOnce})
		attempt, cancel := context.WithTimeout(ctx, chaosRetry)
		select {
		case a := <-answered:
			if a.Code == 0 {
				cancel()
				return nil
			}
			if a.Code < 500 && a.Code != twin.CodeUnknown { // a device of a node that has just begun
				cancel()
				return fmt.Errorf("%s of %s: %s", name, device, a.Reason)
			}
			<-attempt.Done()
		case <-attempt.Done():
		}
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// chaosMapper reports the values 1, 2, 3 and so on of each property, one after the other, and
// prints which are accepted.
func chaosMapper(ctx context.Context, cfg chaosConfig) error {
	b, err := chaosBus(cfg.Broker, "mapper-"+strings.ReplaceAll(cfg.Device, "/", "-"))
	if err != nil {
		return err
	}
	r, err := newReporter(b, cfg.Device, quiet)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if cfg.Quiet {
		if err := followQuiet(ctx, b, r, group); err != nil {
			return err
		}
	}
	group.Go(func() error { return b.Run(ctx) })
	for i := range properties {
		group.Go(func() error {
			name := property(i)
			for value := cfg.From[name] + 1; value <= cfg.Until; value++ {
				if err := r.report(ctx, cfg.Device, name, "actual", value); err != nil {
					return err
				}
				fmt.Fprintf(os.Stdout, "A %s %d\n", name, value)
			}
			return nil
		})
	}
	return group.Wait()
}

// followQuiet sets what deltas ask for, as mappers for KubeEdge do: they follow the deltas, and
// get the twin when they connect.
func followQuiet(ctx context.Context, b *bus.Bus, r *reporter, group *errgroup.Group) error {
	wanted := make(chan int, 1) // the newest
	want := func(text string) {
		value, err := strconv.Atoi(text)
		if err != nil {
			return
		}
		select {
		case <-wanted:
		default:
		}
		wanted <- value // only the one goroutine of the subscription sends, so there is room
	}
	// Both come to one subscription, so that they are in order.
	_, err := b.Subscribe(topics.Device(quiet, "twin/#"), func(_ context.Context, m bus.Message) {
		var delta topics.TwinDeltaMessage
		if json.Unmarshal(m.Payload, &delta) != nil {
			return
		}
		switch _, action, _ := topics.ParseDevice(m.Topic); action {
		case topics.TwinDelta:
			want(delta.Delta["target"])
		case topics.Result(topics.TwinGet):
			if t := delta.Twin["target"]; t != nil && t.Expected.Text() != t.Actual.Text() {
				want(t.Expected.Text())
			}
		}
	})
	if err != nil {
		return err
	}
	connected := make(chan struct{}, 1)
	b.NotifyConnect(func() {
		select {
		case connected <- struct{}{}:
		default:
		}
	})
	group.Go(func() error {
		for {
			select {
			case <-connected:
				_ = b.Publish(ctx, bus.Message{Topic: topics.Device(quiet, topics.TwinGet), Payload: []byte(`{}`), QoS: bus.AtLeastOnce})
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	group.Go(func() error {
		for {
			select {
			case value := <-wanted:
				if err := r.report(ctx, quiet, "target", "actual", value); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return nil
}

// link is a TCP proxy whose connections can be cut.
type link struct {
	listener net.Listener
	network  string // tcp or unix
	backend  string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended sync.WaitGroup
}

func newLink(network, backend string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &link{listener: l, network: network, backend: backend, conns: make(map[net.Conn]struct{})}, nil
}

func (l *link) url() string { return "tcp://" + l.listener.Addr().String() }

// serve passes connections on until close.
func (l *link) serve() {
	for {
		in, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			l.ended.Wait()
			return
		}
		if err != nil {
			continue
		}
		out, err := net.Dial(l.network, l.backend)
		if err != nil {
			in.Close()
			continue
		}
		l.mu.Lock()
		l.conns[in], l.conns[out] = struct{}{}, struct{}{}
		l.mu.Unlock()
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			l.ended.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // either end may go at any time
				pair[0].Close()
				pair[1].Close()
				l.mu.Lock()
				delete(l.conns, pair[0])
				l.mu.Unlock()
			})
		}
	}
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
}

func (l *link) close() {
	l.listener.Close()
	l.cut()
}
