package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/twin/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a gateway until stop is called, and returns its addresses.
func start(t *testing.T, dir string) (mqtt, web string, stop func()) {
	t.Helper()
	// Below the ports that Linux gives to other programs by itself.
	mqtt = fmt.Sprintf("tcp://127.0.0.1:%d", 20_000+rand.IntN(10_000))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, dir, mqtt, listener) }()
	return mqtt, "http://" + listener.Addr().String(), func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// app connects an MQTT client and returns it with the documents of the boiler.
func app(t *testing.T, url string) (*bus.Bus, <-chan topics.TwinDocumentMessage, func()) {
	t.Helper()
	outside, err := client.New(client.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: outside})
	if err != nil {
		t.Fatal(err)
	}
	documents := make(chan topics.TwinDocumentMessage, 100)
	_, err = b.Subscribe(topics.Device("plant/boiler", topics.TwinDocument), func(_ context.Context, m bus.Message) {
		var d topics.TwinDocumentMessage
		if err := json.Unmarshal(m.Payload, &d); err != nil {
			t.Errorf("%s: %v", m.Payload, err)
		}
		documents <- d
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready()
	return b, documents, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("app: %v", err)
		}
	}
}

// devices reads the twins over HTTP.
func devices(t *testing.T, url string) []httpapi.Device {
	t.Helper()
	response, err := http.Get(url + "/twin/v1/devices")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var list httpapi.DeviceList
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list.Devices
}

// TestGateway has an app set a value over MQTT, reads the twin over HTTP, and
// finds both again after a restart.
func TestGateway(t *testing.T) {
	dir := t.TempDir()
	mqtt, web, stop := start(t, dir)
	client, documents, disconnect := app(t, mqtt)
	update, err := json.Marshal(topics.TwinUpdateMessage{Twin: map[string]*topics.Twin{"target": {Expected: topics.Text("60")}}})
	if err != nil {
		t.Fatal(err)
	}
	// The app may be there before the device is: it publishes until the driver
	// has written the value.
	retry := time.NewTicker(200 * time.Millisecond)
	defer retry.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for reported := false; !reported; {
		select {
		case <-retry.C:
			if err := client.Publish(ctx, bus.Message{Topic: topics.Device("plant/boiler", topics.TwinUpdate), Payload: update}); err != nil {
				t.Fatal(err)
			}
		case d := <-documents:
			current := d.Twin["target"].Current
			reported = current != nil && current.Actual.Text() == "60"
		case <-ctx.Done():
			t.Fatalf("the driver did not report 60: %+v", devices(t, web))
		}
	}
	list := devices(t, web)
	if len(list) != 1 || list[0].ID != "plant/boiler" || list[0].Properties["target"].Actual.Value != "60" || list[0].Properties["pressure"].Actual.Value != "1.5" {
		t.Errorf("devices are %+v", list)
	}
	disconnect()
	stop()

	mqtt, web, stop = start(t, dir)
	_, _, disconnect = app(t, mqtt)
	for list = devices(t, web); len(list) == 0; list = devices(t, web) { // until the engine has read the store
		select {
		case <-retry.C:
		case <-ctx.Done():
			t.Fatal("no device after a restart")
		}
	}
	if list[0].Properties["target"].Desired.Value != "60" {
		t.Errorf("after a restart the devices are %+v", list)
	}
	disconnect()
	stop()
}

func TestDriver(t *testing.T) {
	devicetest.RunDriver(t, devicetest.DriverConfig{
		New:      newBoiler,
		Instance: device.Instance{ID: "plant/boiler", Spec: spec, Model: model},
		Write:    map[string][]string{"target": {"45", "60"}},
		Others:   []device.Instance{{ID: "plant/spare", Spec: spec, Model: model}},
	})
}

// TestBadSettings wants the error of each setting.
func TestBadSettings(t *testing.T) {
	for name, address := range map[string]string{"no port": "tcp://127.0.0.1", "no scheme": "127.0.0.1:1884"} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			if err := run(t.Context(), t.TempDir(), address, listener); err == nil {
				t.Errorf("%s was taken", address)
			}
		})
	}
}
