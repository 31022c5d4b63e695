package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/history"
	"github.com/edgekit/edgekit/twin/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var clock = time.UnixMilli(1_760_000_000_000).UTC()

// start runs an engine with two devices and serves it.
func start(t *testing.T, cfg httpapi.Config) (*twin.Engine, string) {
	t.Helper()
	now := func() time.Time { return clock }
	engine, err := twin.New(twin.Config{Store: memstore.New(), Now: now})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	cfg.Engine, cfg.Now = engine, now
	if cfg.Authorize == nil {
		cfg.Authorize = httpapi.Anyone
	}
	handler, err := httpapi.New(cfg)
	must(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		cancel() // ends the watches too
		must(t, <-ended)
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	boiler := twin.Put{Member: twin.Member{Description: "in the cellar"}, Properties: []twin.Declaration{
		{Name: "target", Type: "int", Rule: twin.Rule{Minimum: "10", Maximum: "80", History: history.Limit{Values: 100}}}, {Name: "temp/in", Type: "float", Rule: twin.Rule{ReadOnly: true}},
	}}
	must(t, engine.Put(ctx, "plant/boiler", boiler))
	must(t, engine.Put(ctx, "plant/pump", twin.Put{}))
	must(t, engine.Put(ctx, "other/fan", twin.Put{}))
	must(t, engine.SetState(ctx, "plant/boiler", "online"))
	must(t, engine.Report(ctx, twin.Values{Device: "plant/boiler", Values: map[string]string{"target": "90", "temp/in": "20.5"}}))
	return engine, server.URL
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask makes a request "METHOD path [body]" and returns "status body".
func ask(t *testing.T, url, request string) string {
	t.Helper()
	parts := strings.SplitN(request, " ", 3)
	body := ""
	if len(parts) == 3 {
		body = parts[2]
	}
	r, err := http.NewRequestWithContext(t.Context(), parts[0], url+parts[1], strings.NewReader(body))
	must(t, err)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	return fmt.Sprintf("%d %s", answer.StatusCode, strings.TrimSpace(string(text)))
}

// TestRequests makes each request of the package's documentation, and wrong ones.
func TestRequests(t *testing.T) {
	_, url := start(t, httpapi.Config{})
	const (
		target = `{"type":"int","actual":{"value":"90","time":1760000000000,"quality":"bad","fault":"value \"90\" is above the model's maximum 80"}}`
		temp   = `{"type":"float","actual":{"value":"20.5","time":1760000000000,"quality":"good"},"readOnly":true}`
		boiler = `{"id":"plant/boiler","namespace":"plant","name":"boiler","description":"in the cellar","state":"online","lastOnline":"2025-10-09T08:53:20Z","properties":{"target":` + target + `,"temp/in":` + temp + `}}`
		pump   = `{"id":"plant/pump","namespace":"plant","name":"pump","properties":{}}`
		fan    = `{"id":"other/fan","namespace":"other","name":"fan","properties":{}}`
	)
	for _, tt := range []struct{ request, want string }{
		{"GET /twin/v1/devices", `200 {"devices":[` + fan + "," + boiler + "," + pump + "]}"},
		{"GET /twin/v1/devices?namespace=plant&limit=1", `200 {"devices":[` + boiler + `],"next":"plant/boiler"}`},
		{"GET /twin/v1/devices?namespace=plant&after=plant/boiler", `200 {"devices":[` + pump + `]}`},
		{"GET /twin/v1/devices?namespace=none", `200 {"devices":[]}`},
		{"GET /twin/v1/devices?limit=x", `400 {"code":400,"reason":"parameter limit is \"x\": it must be a number from 0 to 1000"}`},
		{"GET /twin/v1/devices/plant/boiler", "200 " + boiler},
		{"GET /twin/v1/devices/plant/none", `404 {"code":404,"reason":"device plant/none is not known on this node"}`},
		{"GET /twin/v1/devices/plant/%2b", `400 {"code":400,"reason":"device id \"plant/+\": use namespace/name without slashes, wildcards or control characters"}`},
		{"GET /twin/v1/devices/plant/boiler/properties/target", "200 " + target},
		{"GET /twin/v1/devices/plant/boiler/properties/temp/in", "200 " + temp},
		{"GET /twin/v1/devices/plant/boiler/properties/none", `404 {"code":404,"reason":"device plant/boiler has no property \"none\""}`},
		{"PUT /twin/v1/devices/plant/boiler/desired {\"target\":\"60\"}", `200 {"target":{"type":"int","desired":{"value":"60","time":1760000000000},` + target[len(`{"type":"int",`):] + "}"},
		{"PUT /twin/v1/devices/plant/boiler/desired {\"target\":\"\"}", `200 {"target":` + target + "}"},
		{"PUT /twin/v1/devices/plant/boiler/desired {\"target\":\"50\",\"temp/in\":\"1\"}", `403 {"code":403,"reason":"twin temp/in: the model says that the property is ReadOnly: it takes no expected value"}`},
		{"PUT /twin/v1/devices/plant/boiler/desired {\"target\":\"99\"}", `400 {"code":400,"reason":"twin target: expected value \"99\" is above the model's maximum 80"}`},
		{"PUT /twin/v1/devices/plant/none/desired {\"target\":\"99\"}", `404 {"code":404,"reason":"device is not known on this node"}`},
		{"PUT /twin/v1/devices/plant/boiler/desired {\"target\":25}", `400 {"code":400,"reason":"the body has a number: it must be an object of texts in quotes, for example {\"target\":\"25\"}"}`},
		{"PUT /twin/v1/devices/plant/boiler/desired {\"target\":null}", `400 {"code":400,"reason":"property \"target\" is null: use \"\" to withdraw a desired value"}`},
		{"PUT /twin/v1/devices/plant/boiler/desired {}", `400 {"code":400,"reason":"the body names no property: it must be, for example, {\"target\":\"25\"}"}`},
		{"PUT /twin/v1/devices/plant/boiler/desired {\"a b\":\"1\"}", `400 {"code":400,"reason":"property name \"a b\" has a character other than a-z, A-Z, 0-9 and -_.,:/@#"}`},
		{"PUT /twin/v1/devices/plant/boiler/desired {\"a\":\"" + strings.Repeat("x", 1<<20) + "\"}", `413 {"code":413,"reason":"the body has more than 1048576 bytes"}`},
		{"GET /twin/v1/devices/plant/boiler/properties/target", "200 " + target},
		{"GET /twin/v1/devices/plant/boiler/history?property=target", `200 {"entries":[{"seq":1,"time":1760000000000,"value":"90","fault":"value \"90\" is above the model's maximum 80"}]}`},
		{"GET /twin/v1/devices/plant/boiler/history?property=target&from=1760000000001", `200 {"entries":[]}`},
		{"GET /twin/v1/devices/plant/boiler/history?property=temp/in", `200 {"entries":[]}`},
		{"GET /twin/v1/devices/plant/boiler/history", `400 {"code":400,"reason":"parameter property: property name \"\" must have 1 to 128 characters"}`},
		{"GET /twin/v1/devices/plant/boiler/history?property=a&limit=10001", `400 {"code":400,"reason":"parameter limit is \"10001\": it must be a number from 0 to 10000"}`},
		{"GET /twin/v1/devices/plant/none/history?property=a", `404 {"code":404,"reason":"device is not known on this node"}`},
		{"DELETE /twin/v1/devices/plant/boiler", `404 {"code":404,"reason":"DELETE \"/twin/v1/devices/plant/boiler\" is none of the API: see the documentation of twin/httpapi"}`},
		{"GET /twin/v1/watch?every=1ms", `400 {"code":400,"reason":"parameter every is \"1ms\": it must be a duration of at least 100ms, for example 10s"}`},
		{"GET /twin/v1/watch?device=x", `400 {"code":400,"reason":"parameter device: device id \"x\": use namespace/name without slashes, wildcards or control characters"}`},
	} {
		if got := ask(t, url, tt.request); got != tt.want {
			t.Errorf("%.100s:\ngot  %s\nwant %s", tt.request, got, tt.want)
		}
	}
}

// events reads the events of a watch, without their comments.
func events(t *testing.T, url, path, lastEvent string) (next func() string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
	must(t, err)
	if lastEvent != "" {
		r.Header.Set("Last-Event-ID", lastEvent)
	}
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	t.Cleanup(func() { answer.Body.Close() })
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("status %d, %s", answer.StatusCode, kind)
	}
	lines := bufio.NewScanner(answer.Body)
	return func() string {
		var name string
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = text
			}
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return name + " " + text
			}
		}
		t.Fatalf("the watch ended: %v", lines.Err())
		return ""
	}
}

// TestWatch follows a device through all kinds of events, and resumes.
func TestWatch(t *testing.T) {
	engine, url := start(t, httpapi.Config{})
	ctx := t.Context()
	next := events(t, url, "/twin/v1/watch?namespace=plant&device=plant/boiler", "")
	want := func(event string) {
		t.Helper()
		if got := next(); got != event {
			t.Errorf("got  %s\nwant %s", got, event)
		}
	}
	want(`device {"device":"plant/boiler","state":"online"}`)
	want(`property {"device":"plant/boiler","property":"target","type":"int","actual":{"value":"90","time":1760000000000,"quality":"bad","fault":"value \"90\" is above the model's maximum 80"}}`)
	want(`property {"device":"plant/boiler","property":"temp/in","type":"float","actual":{"value":"20.5","time":1760000000000,"quality":"good"}}`)
	must(t, engine.Report(ctx, twin.Values{Device: "plant/pump", Values: map[string]string{"x": "1"}}))
	must(t, engine.Report(ctx, twin.Values{Device: "plant/boiler", Values: map[string]string{"new": "1"}}))
	want(`property {"device":"plant/boiler","property":"new","type":"string","actual":{"value":"1","time":1760000000000,"quality":"good"}}`)
	_, err := engine.Update(ctx, "plant/boiler", map[string]*twin.Patch{"new": nil})
	must(t, err)
	want(`deleted {"device":"plant/boiler","property":"new"}`)
	must(t, engine.Remove(ctx, "plant/boiler"))
	want(`removed {"device":"plant/boiler"}`)

	must(t, engine.Report(ctx, twin.Values{Device: "plant/pump", Values: map[string]string{"y": "1"}}))
	next = events(t, url, "/twin/v1/watch?namespace=plant", fmt.Sprint(clock.UnixMilli()))
	want(`device {"device":"plant/pump"}`)
	want(`property {"device":"plant/pump","property":"x","type":"string","actual":{"value":"1","time":1760000000000,"quality":"good"}}`)
	next = events(t, url, "/twin/v1/watch?namespace=plant", fmt.Sprint(clock.UnixMilli()+1))
	want(`device {"device":"plant/pump"}`)
	must(t, engine.Report(ctx, twin.Values{Device: "plant/pump", Values: map[string]string{"x": "2"}}))
	// The engine's clock stands still: the change is as old as the watch.
	must(t, engine.Put(ctx, "plant/late", twin.Put{}))
	want(`device {"device":"plant/late"}`)
}

// TestAuthorize leaves out what may not be read, and refuses what may not be done.
func TestAuthorize(t *testing.T) {
	authorize := func(r *http.Request, device string, action httpapi.Action) error {
		switch user := r.Header.Get("User"); {
		case r.URL.Query().Get("user") == "" && user == "":
			return fmt.Errorf("%w: show a token", httpapi.ErrUnauthenticated)
		case !strings.HasPrefix(device, "plant/"):
			return errors.New("only devices of namespace plant")
		case action == httpapi.Set:
			return errors.New("only reading")
		}
		return nil
	}
	engine, url := start(t, httpapi.Config{Authorize: authorize})
	for _, tt := range []struct{ request, want string }{
		{"GET /twin/v1/devices", `401 {"code":401,"reason":"the request has no valid credentials: show a token"}`},
		{"GET /twin/v1/devices?user=a&namespace=other", `200 {"devices":[]}`},
		{"GET /twin/v1/devices/other/fan?user=a", `403 {"code":403,"reason":"only devices of namespace plant"}`},
		{"GET /twin/v1/devices/other/none?user=a", `403 {"code":403,"reason":"only devices of namespace plant"}`},
		{"PUT /twin/v1/devices/plant/pump/desired?user=a {\"x\":\"1\"}", `403 {"code":403,"reason":"only reading"}`},
		{"GET /twin/v1/devices/plant/pump/history?property=a", `401 {"code":401,"reason":"the request has no valid credentials: show a token"}`},
		{"GET /twin/v1/watch?user=a&device=other/fan", `403 {"code":403,"reason":"only devices of namespace plant"}`},
	} {
		if got := ask(t, url, tt.request); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.request, got, tt.want)
		}
	}
	next := events(t, url, "/twin/v1/watch?user=a&current=false", "")
	must(t, engine.SetState(t.Context(), "other/fan", "online"))
	must(t, engine.SetState(t.Context(), "plant/pump", "online"))
	if got := next(); got != `device {"device":"plant/pump","state":"online"}` {
		t.Errorf("got %s", got)
	}
}

// TestLimits refuses a client that has too many watches, and not another one.
func TestLimits(t *testing.T) {
	_, url := start(t, httpapi.Config{MaxWatches: 2, Client: func(r *http.Request) string { return r.URL.Query().Get("user") }})
	for range 2 {
		events(t, url, "/twin/v1/watch?user=a", "")()
	}
	if got := ask(t, url, "GET /twin/v1/watch?user=a"); !strings.HasPrefix(got, "429 ") || !strings.Contains(got, "a has 2 requests") {
		t.Errorf("got %s", got)
	}
	events(t, url, "/twin/v1/watch?user=b", "")()
	if got := ask(t, url, "GET /twin/v1/devices/plant/pump?user=a"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("got %s", got)
	}
}

func TestNew(t *testing.T) {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	must(t, err)
	for want, cfg := range map[string]httpapi.Config{
		"Engine": {Authorize: httpapi.Anyone}, "Authorize": {Engine: engine}, "MaxWatches": {Engine: engine, Authorize: httpapi.Anyone, MaxWatches: -1},
	} {
		if _, err := httpapi.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
