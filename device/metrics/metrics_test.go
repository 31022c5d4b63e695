package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/metrics"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newMapper() (*device.Mapper, *devicetest.Link, error) {
	dev := new(devicetest.Device)
	dev.Set("level", "7")
	link := devicetest.NewLink(device.Instance{
		ID: "a/tank", Spec: schema.DeviceSpec{Protocol: schema.Protocol{Name: "memory"}, Properties: []schema.Property{{Name: "level"}, {Name: "missing"}}},
	})
	m, err := device.New(device.Config{Protocol: "memory", New: func() device.Driver { return dev }, Link: link})
	return m, link, err
}

func Example() {
	m, _, err1 := newMapper()
	collector, err2 := metrics.New(m)
	if err := errors.Join(err1, err2); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(prometheus.NewRegistry().Register(collector))
	http.Handle("/healthz", metrics.Health(m))
	// Output: <nil>
}

func TestMetrics(t *testing.T) {
	m, link, err := newMapper()
	if err != nil {
		t.Fatal(err)
	}
	collector, err := metrics.New(m)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector)
	probe := func() (int, string) {
		w := httptest.NewRecorder()
		metrics.Health(m).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	if code, _ := probe(); code != http.StatusServiceUnavailable {
		t.Errorf("before Run the code is %d", code)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	if err := link.Wait(ctx, func() bool { return link.Reports() > 0 && link.StateOf("a/tank") == device.Online }); err != nil {
		t.Fatal(err)
	}
	if code, body := probe(); code != http.StatusOK || body != `{"memory":{"online":1}}` {
		t.Errorf("%d %s", code, body)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			name := f.GetName()
			for _, l := range metric.GetLabel() {
				if l.GetName() != "protocol" {
					name += " " + l.GetValue()
				}
			}
			got[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"edgekit_mapper_devices online": 1, "edgekit_mapper_devices offline": 0, "edgekit_mapper_opens_total ok": 1, "edgekit_mapper_driver_stuck": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if len(families) != 12 || got["edgekit_mapper_reads_total ok"] < 1 || got["edgekit_mapper_reads_total error"] < 1 || got["edgekit_mapper_reported_values_total"] < 1 {
		t.Errorf("%v", got)
	}
	if _, err := metrics.New(m, m); err == nil {
		t.Error("two mappers of one protocol were taken")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
