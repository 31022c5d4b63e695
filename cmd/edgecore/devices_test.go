package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/httpapi"
)

// TestDeviceFlags refuses wrong settings with their names.
func TestDeviceFlags(t *testing.T) {
	for want, f := range map[string]deviceFlags{
		"device-history-mib":      {DeviceHistoryMiB: -1, DeviceHistoryInterval: time.Minute},
		"device-history-interval": {DeviceHistoryMiB: 1, DeviceHistoryInterval: time.Millisecond},
	} {
		_, err := f.engine(nil, slog.New(slog.DiscardHandler))
		if usage, ok := errors.AsType[*program.UsageError](err); !ok || usage.Setting != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestDeviceAPI reaches the devices as root does, on the socket of the node's own API.
func TestDeviceAPI(t *testing.T) {
	store := memstore.New()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	extensions, err := deviceFlags{DeviceAPI: "off"}.extensions(engine, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "api.sock")
	api, err := apiserver.New(apiserver.Config{Store: store, Node: "edge-1", Socket: socket, Extensions: extensions})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- engine.Run(ctx) }()
	go func() { ended <- api.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
	})
	if err := engine.Put(ctx, "plant/boiler", twin.Put{}); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		for {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
			if err == nil || ctx.Err() != nil {
				return conn, err
			}
		}
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://node/twin/v1/devices/plant/boiler/desired", strings.NewReader(`{"target":"25"}`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(body), `"desired":{"value":"25"`) {
		t.Errorf("%d %s %v", answer.StatusCode, body, err)
	}
	if d, _ := engine.Device("plant/boiler"); d.Twins["target"].Expected.Value != "25" {
		t.Errorf("the device is %+v", d)
	}
}

// TestDeviceAuthorize has a request that no API has authenticated.
func TestDeviceAuthorize(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://node/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (deviceFlags{DeviceAPI: "namespace"}).authorize(r, "plant/boiler", httpapi.Read); !errors.Is(err, httpapi.ErrUnauthenticated) {
		t.Errorf("nobody: %v", err)
	}
}

// TestMayUse has what pods may do.
func TestMayUse(t *testing.T) {
	pod, other := apiserver.Identity{User: "system:serviceaccount:plant:app"}, apiserver.Identity{User: "system:node:edge-1"}
	for _, tt := range []struct {
		flag   string
		who    apiserver.Identity
		device string
		action httpapi.Action
		ok     bool
	}{
		{"namespace", pod, "plant/boiler", httpapi.Read, true},
		{"namespace", pod, "plant/boiler", httpapi.Set, true},
		{"namespace", pod, "plants/boiler", httpapi.Read, false},
		{"namespace", other, "plant/boiler", httpapi.Read, false},
		{"read", pod, "plant/boiler", httpapi.Read, true},
		{"read", pod, "plant/boiler", httpapi.Set, false},
		{"off", pod, "plant/boiler", httpapi.Read, false},
	} {
		if err := (deviceFlags{DeviceAPI: tt.flag}).mayUse(tt.who, tt.device, tt.action); (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
