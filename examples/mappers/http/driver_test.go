package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/mappertest"
)

const pump = "plant/heatpump-1"

// simulator is a heat pump with an HTTP interface.
type simulator struct {
	mu          sync.Mutex
	temperature float64
	target      int
	mode        string
	requests    map[string]int
	lie         bool // answer with pages for people
}

func (s *simulator) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[r.URL.Path]++
	if r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("X-Client") != "edgekit" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if s.lie {
		fmt.Fprint(w, "<html>Please log in</html>")
		return
	}
	body, _ := io.ReadAll(r.Body)
	switch r.Method + " " + r.URL.Path {
	case "GET /api/status":
		fmt.Fprintf(w, `{"sensors":[{"temperature":%g}],"power":"on"}`, s.temperature)
	case "GET /api/settings":
		fmt.Fprintf(w, `{"target":{"value":%d,"unit":"C"}}`, s.target)
	case "PUT /api/settings":
		var in struct{ Target struct{ Value int } }
		if err := json.Unmarshal(body, &in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.target = in.Target.Value
	case "GET /api/mode":
		fmt.Fprintln(w, s.mode) // plain text
	case "POST /api/mode/set":
		var in struct{ Mode string }
		if err := json.Unmarshal(body, &in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mode = in.Mode
	default:
		http.NotFound(w, r)
	}
}

// startPump starts a heat pump behind a proxy, and returns the Device of device.yaml at it.
func startPump(t *testing.T) (*simulator, *mappertest.Proxy, device.Instance) {
	t.Helper()
	s := &simulator{temperature: 21.5, target: 20, mode: "eco", requests: make(map[string]int)}
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	proxy := mappertest.NewProxy(t, server.Listener.Addr().String())
	dev := mappertest.Instance(t, "model.yaml", "device.yaml")
	setConnection(t, &dev, connection{
		URL: "https://" + proxy.Addr() + "/api", Token: "secret", Headers: map[string]string{"X-Client": "edgekit"},
		CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	})
	for n := range dev.Spec.Properties {
		dev.Spec.Properties[n].CollectCycle = 20
		dev.Spec.Properties[n].Desired = nil
	}
	return s, proxy, dev
}

func setConnection(t *testing.T, dev *device.Instance, c connection) {
	t.Helper()
	o, err := schema.NewOptions(c)
	if err != nil {
		t.Fatal(err)
	}
	dev.Spec.Protocol.Config = o
}

// TestDriver holds the driver to the contract of device.Driver.
func TestDriver(t *testing.T) {
	_, proxy, dev := startPump(t)
	other := dev
	other.ID = "plant/heatpump-2"
	devicetest.RunDriver(t, devicetest.DriverConfig{
		New:      config().New,
		Instance: dev,
		Write:    map[string][]string{"target": {"45", "60"}, "mode": {`a "quoted" mode`, "eco"}},
		Others:   []device.Instance{other},
		Hang:     proxy.Hold,
	})
}

// TestRecovers has the device drop, hang, lie and restart under a gateway.
func TestRecovers(t *testing.T) {
	s, proxy, dev := startPump(t)
	c := connection{}
	if err := dev.Spec.Protocol.Config.Decode(&c); err != nil {
		t.Fatal(err)
	}
	c.Timeout = 300
	setConnection(t, &dev, c)
	g := mappertest.NewGateway(t, config(), dev)
	g.WaitActual(pump, "temperature", "21.5")
	next := 5
	follows := func(t *testing.T) { // both ways
		t.Helper()
		next++
		g.SetDesired(pump, "target", strconv.Itoa(next))
		g.Wait(func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.target == next }, func() string { return "the device does not follow" })
		s.set(func() { s.temperature = float64(next) })
		g.WaitActual(pump, "temperature", strconv.Itoa(next))
		g.WaitState(pump, device.Online)
	}
	follows(t)
	for name, disturb := range map[string]func() (end func()){
		"drops its connections": func() func() { proxy.Drop(); return func() {} },
		"has no power":          func() func() { proxy.Refuse(true); return func() { proxy.Refuse(false) } },
		"hangs":                 proxy.Hold,
		"sends rubbish": func() func() {
			proxy.Damage(func(b []byte) { b[len(b)/2] ^= 0xff })
			return func() { proxy.Damage(nil); proxy.Drop() }
		},
		"restarts with factory values": func() func() {
			proxy.Refuse(true)
			s.set(func() { s.target, s.temperature = 0, 0 })
			return func() { proxy.Refuse(false) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := disturb()
			if name != "drops its connections" {
				g.WaitState(pump, device.Offline)
			}
			end()
			follows(t)
		})
	}
	t.Run("lies", func(t *testing.T) { // what is no JSON is no value; plain text may be one
		s.set(func() { s.lie = true })
		g.WaitActual(pump, "mode", "<html>Please log in</html>")
		if got := g.Actual(pump, "temperature"); got != strconv.Itoa(next) {
			t.Errorf("temperature is %q from a page", got)
		}
		s.set(func() { s.lie = false })
		g.WaitActual(pump, "mode", "eco")
		follows(t)
	})
}

func TestSettingsErrors(t *testing.T) {
	for says, c := range map[string]connection{
		"url is":              {URL: "10.0.0.5"},
		"ca has no":           {URL: "https://a", CA: "x"},
		"certificate and key": {URL: "https://a", Certificate: "x"},
		"timeout is -1":       {URL: "https://a", Timeout: -1},
		"secretRef":           {URL: "https://u:p@a"},
	} {
		if _, err := c.client(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want %q", c, err, says)
		}
	}
	for says, config := range map[string]string{
		"jsonPath":    `{"path":"/a","jsonPath":"$["}`,
		"writeMethod": `{"path":"/a","writeMethod":"DELETE"}`,
		"configData":  `{"path":1}`,
	} {
		_, err := newPoint(&device.Instance{}, schema.Property{Name: "p", Visitors: &schema.Visitor{Config: schema.Options(config)}})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "property p") {
			t.Errorf("%s: got %v, want %q", config, err, says)
		}
	}
}

// TestRefused has the device answer with an error: its status and text are in the driver's.
func TestRefused(t *testing.T) {
	_, _, dev := startPump(t)
	c := connection{}
	if err := dev.Spec.Protocol.Config.Decode(&c); err != nil {
		t.Fatal(err)
	}
	c.Token = "wrong"
	setConnection(t, &dev, c)
	d := new(driver)
	if err := d.Open(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Read(t.Context(), "target"); err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "who are you?") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("got %v", err)
	}
}
