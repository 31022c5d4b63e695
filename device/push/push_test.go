package push_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a Sink that keeps what it gets.
type sink struct {
	mu     sync.Mutex
	got    []string
	fail   error // of each Write
	refuse string
	most   int // readings that one Write takes; 0 means all
}

func (s *sink) Write(_ context.Context, readings []push.Reading) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range readings {
		switch {
		case s.fail != nil:
			return i, s.fail
		case r.Value == s.refuse:
			return i, fmt.Errorf("%w: value %s", push.ErrRefused, r.Value)
		case s.most > 0 && i == s.most:
			return i, errors.New("too many at once")
		}
		s.got = append(s.got, r.Value)
	}
	return len(readings), nil
}

func (s *sink) Close() error { return nil }

func (s *sink) set(fail error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *sink) values() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func boiler(p *schema.PushMethod) device.Instance {
	return device.Instance{
		ID: "plant/boiler", Spec: schema.DeviceSpec{Properties: []schema.Property{{Name: "temperature", PushMethod: p}, {Name: "quiet"}}},
		Model: schema.DeviceModelSpec{Properties: []schema.ModelProperty{{Name: "temperature", Type: schema.TypeFloat, Unit: "C"}}},
	}
}

func toRedis() *schema.PushMethod {
	return &schema.PushMethod{DB: &schema.PushDB{Redis: &schema.PushRedis{Client: &schema.RedisClientConfig{Addr: "r:1"}}}}
}

// bench is a Pusher with a link and a sink, in a bubble.
type bench struct {
	t     *testing.T
	link  *devicetest.Link
	p     *push.Pusher
	store meta.Store
	stop  func()
}

func start(t *testing.T, store meta.Store, s push.Sink, p *schema.PushMethod) *bench {
	t.Helper()
	link := devicetest.NewLink(boiler(p))
	pusher, err := push.New(push.Config{
		Link: link, Store: store, MaxReadings: 10, Batch: 4,
		Open: map[string]push.Opener{push.MethodRedis: func(schema.PushMethod, push.Secret) (push.Sink, error) { return s, nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, first := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- pusher.Watch(ctx, func([]device.Instance) {
			select {
			case <-first:
			default:
				close(first)
			}
		})
	}()
	<-first
	return &bench{t: t, link: link, p: pusher, store: store, stop: func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}}
}

func (b *bench) report(value string) {
	b.t.Helper()
	if err := b.p.Report(b.t.Context(), "plant/boiler", map[string]string{"temperature": value, "quiet": "1"}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) stored() int {
	keys, _, err := b.store.Keys(b.t.Context(), meta.Local+"push/data/")
	if err != nil {
		b.t.Fatal(err)
	}
	return len(keys)
}

// TestAway has a sink that is away: readings are kept in order over a restart, the oldest are
// dropped, and all arrive when it is back.
func TestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		s := &sink{fail: errors.New("away"), most: 3}
		b := start(t, store, s, toRedis())
		for i := range 13 {
			b.report(fmt.Sprint(i))
		}
		if got := b.link.Values("plant/boiler"); got["temperature"] != "12" || got["quiet"] != "1" {
			t.Errorf("the link has %v: the twin must not wait for a sink", got)
		}
		if got := b.p.Stats(); got.Dropped != 3 || got.Waiting != 10 || b.stored() != 10 {
			t.Errorf("stats are %+v, %d records", got, b.stored())
		}
		b.stop()

		b = start(t, store, s, nil) // the device has no pushMethod any more
		s.set(nil)
		time.Sleep(10 * time.Minute)
		b.stop()
		if got, want := s.values(), []string{"3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}; !slices.Equal(got, want) {
			t.Errorf("the sink has %v, want %v", got, want)
		}
		if got := b.p.Stats(); got.Sent != 10 || got.Waiting != 0 || b.stored() != 0 {
			t.Errorf("stats are %+v, %d records", got, b.stored())
		}
		b = start(t, store, s, nil) // and now its target is forgotten
		b.stop()
		if keys, _, err := store.Keys(t.Context(), meta.Local+"push/"); err != nil || len(keys) > 0 {
			t.Errorf("the store still has %v, %v", keys, err)
		}
	})
}

// noTargets is a store that does not take the record of a target, as a full disk that has room
// again a moment later.
type noTargets struct{ meta.Store }

func (n noTargets) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	for _, op := range ops {
		if strings.HasPrefix(op.Key, meta.Local+"push/target/") {
			return 0, errors.New("the disk is full")
		}
	}
	return n.Store.Apply(ctx, ops...)
}

// TestTargetNotStored has readings stored whose target is not: after a restart the device brings
// the target, and the readings are sent.
func TestTargetNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		s := &sink{fail: errors.New("away")}
		b := start(t, noTargets{store}, s, toRedis())
		b.report("1")
		b.report("2")
		b.stop()

		b = start(t, store, s, toRedis())
		s.set(nil)
		b.report("3")
		time.Sleep(10 * time.Minute)
		b.stop()
		if got, want := s.values(), []string{"1", "2", "3"}; !slices.Equal(got, want) {
			t.Errorf("the sink has %v, want %v", got, want)
		}
		if n := b.stored(); n != 0 {
			t.Errorf("%d records stay in the store", n)
		}
	})
}

// TestOtherWays has a mapper that reports over a Pusher: conditions, methods and proposals get
// through to the link, or to nobody if the link takes none.
func TestOtherWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, store := devicetest.NewLink(boiler(nil)), memstore.New()
		p, err := push.New(push.Config{Link: link, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- p.ServeMethods(ctx, func(context.Context, string, string, schema.Options) (schema.Options, error) {
				return schema.Options(`{"a":"b"}`), nil
			})
		}()
		synctest.Wait()
		if result, err := link.Call(ctx, "plant/boiler", "purge", nil); err != nil || string(result) != `{"a":"b"}` {
			t.Errorf("the method: got %s, %v", result, err)
		}
		down := device.Condition{Type: device.ConditionConnected, Reason: "OpenFailed"}
		err = errors.Join(p.Conditions(ctx, "plant/boiler", []device.Condition{down}), p.Propose(ctx, "modbus", []device.Proposal{{Name: "pump"}}))
		if err != nil || link.ConditionOf("plant/boiler", down.Type) != down || len(link.Proposals()) != 1 {
			t.Errorf("got %v, condition %+v, proposals %v", err, link.ConditionOf("plant/boiler", down.Type), link.Proposals())
		}
		if p, err = push.New(push.Config{Link: struct{ device.Link }{link}, Store: store}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Conditions(ctx, "plant/boiler", nil), p.Propose(ctx, "modbus", nil)); err != nil {
			t.Errorf("a link that takes neither: %v", err)
		}
		plain := make(chan error, 1)
		go func() { plain <- p.ServeMethods(ctx, nil) }()
		synctest.Wait()
		cancel()
		if err := errors.Join(<-ended, <-plain); err != nil {
			t.Error(err)
		}
	})
}

// TestRefused has a sink refuse one reading: the others arrive.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{refuse: "2"}
		b := start(t, memstore.New(), s, toRedis())
		for i := range 5 {
			b.report(fmt.Sprint(i))
		}
		synctest.Wait()
		b.stop()
		if got, want := s.values(), []string{"0", "1", "3", "4"}; !slices.Equal(got, want) {
			t.Errorf("the sink has %v, want %v", got, want)
		}
		if got := b.p.Stats(); got.Refused != 1 || got.Sent != 4 {
			t.Errorf("stats are %+v", got)
		}
	})
}

// TestRepeatedReport has edgecore away: the report is repeated, the reading is pushed once.
func TestRepeatedReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		b := start(t, memstore.New(), s, toRedis())
		b.link.Fail(errors.New("edgecore is away"))
		for range 3 {
			if err := b.p.Report(t.Context(), "plant/boiler", map[string]string{"temperature": "7"}); err == nil {
				t.Error("the error of the link is lost")
			}
		}
		b.link.Fail(nil)
		b.report("7")
		b.report("7") // a new reading
		synctest.Wait()
		b.stop()
		if got, want := s.values(), []string{"7", "7"}; !slices.Equal(got, want) {
			t.Errorf("the sink has %v, want %v", got, want)
		}
	})
}

// panics is a Sink that panics at first.
type panics struct {
	sink
	times int
}

func (p *panics) Write(ctx context.Context, readings []push.Reading) (int, error) {
	if p.times++; p.times < 3 {
		panic("driver fault")
	}
	return p.sink.Write(ctx, readings)
}

func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(panics)
		b := start(t, memstore.New(), s, toRedis())
		b.report("1")
		time.Sleep(time.Minute)
		b.stop()
		if got := s.values(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("the sink has %v", got)
		}
	})
}

// server is a server that keeps the requests.
func server(t *testing.T, requests chan<- string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization") + " " + string(body)
		if strings.Contains(string(body), "bad") {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func secret(_, name string) string { return "the " + name }

func TestHTTP(t *testing.T) {
	requests := make(chan string, 10)
	u, err := url.Parse(server(t, requests).URL)
	if err != nil {
		t.Fatal(err)
	}
	var port int64
	if _, err := fmt.Sscan(u.Port(), &port); err != nil {
		t.Fatal(err)
	}
	s, err := push.HTTP(schema.PushMethod{HTTP: &schema.PushHTTP{HostName: "http://" + u.Hostname(), Port: port, RequestPath: "/values"}}, secret)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, err := s.Write(t.Context(), []push.Reading{{Device: "plant/boiler", Property: "temperature", Value: "21 &", Time: 1760000000123}, {Property: "p", Value: "bad"}})
	if n != 1 || !errors.Is(err, push.ErrRefused) {
		t.Errorf("got %d, %v", n, err)
	}
	if got, want := <-requests, "POST /values the authorization temperature=21+%26&time=2025-10-09+08%3A53%3A20&device=plant%2Fboiler&timestamp=1760000000123"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for field, h := range map[string]*schema.PushHTTP{
		"hostName is empty": {}, "hostName": {HostName: "ftp://a"}, "port": {HostName: "a", Port: 70000},
	} {
		if _, err := push.HTTP(schema.PushMethod{HTTP: h}, secret); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestOTLP(t *testing.T) {
	requests := make(chan string, 10)
	s, err := push.OTLP(schema.PushMethod{OTEL: &schema.PushOTEL{EndpointURL: server(t, requests).URL}}, secret)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, err := s.Write(t.Context(), []push.Reading{
		{Device: "plant/boiler", Property: "temperature", Value: "21.5", Unit: "C", Time: 1760000000123},
		{Device: "plant/boiler", Property: "name", Value: "text"},
		{Device: "plant/boiler", Property: "on", Value: "true", Time: 2},
		{Device: "plant/boiler", Property: "temperature", Value: "-9007199254740993", Time: 3},
	})
	if n != 4 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	got := <-requests
	want := `POST /v1/metrics the authorization {"resourceMetrics":[{"resource":{"attributes":[{"key":"device.id","value":{"stringValue":"plant/boiler"}}]},` +
		`"scopeMetrics":[{"scope":{"name":"edgekit/device/push"},"metrics":[` +
		`{"name":"temperature","unit":"C","gauge":{"dataPoints":[{"timeUnixNano":"1760000000123000000","asDouble":21.5},{"timeUnixNano":"3000000","asInt":"-9007199254740993"}]}},` +
		`{"name":"on","gauge":{"dataPoints":[{"timeUnixNano":"2000000","asInt":"1"}]}}]}]}]}`
	if got != want || !json.Valid([]byte(got[strings.IndexByte(got, '{'):])) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n, err := s.Write(t.Context(), []push.Reading{{Property: "name", Value: "NaN"}}); n != 1 || err != nil || len(requests) > 0 {
		t.Errorf("text: %d, %v", n, err)
	}
	if _, err := push.OTLP(schema.PushMethod{OTEL: &schema.PushOTEL{EndpointURL: "collector:4318"}}, secret); err == nil || !strings.Contains(err.Error(), "endpointURL") {
		t.Errorf("got %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PASSWORD", "common")
	t.Setenv("REDIS_PASSWORD", "own")
	if got := push.Environment(push.MethodRedis, "password") + " " + push.Environment(push.MethodMySQL, "password"); got != "own common" {
		t.Errorf("got %s", got)
	}
}
