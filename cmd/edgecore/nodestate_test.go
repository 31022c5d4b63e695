package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/twin"
)

// TestStatusDocument runs edgecore without a cloud, and reads its status, its goroutines and its
// log from the socket.
func TestStatusDocument(t *testing.T) {
	data, endpoint := joinedFolder(t, 24*time.Hour), critest.Serve(t, runtimetest.New())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int, 1)
	var log bytes.Buffer
	go func() {
		done <- runWithoutCloud(ctx, data, endpoint, &log, "--mqtt-mode", "both", "--mqtt-broker", "tcp://127.0.0.1:1")
	}()
	socket := filepath.Join(data, apiDir, kubeletSocket)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	get := func(path string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+path, nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	var s nodestate.Status
	hubtest.Until(t, "a failed attempt to connect is shown", func() bool {
		select {
		case code := <-done:
			t.Fatalf("edgecore ended with %d: %s", code, &log)
		default:
		}
		text, err := get(nodestate.Path)
		if err != nil {
			return false // the socket is not there yet
		}
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return s.Link.Failed > 0 && len(s.Errors) > 0
	})
	if s.Kind != nodestate.Kind || s.Node == "" || s.Link.Connected || s.Link.Reason == "" || s.Link.LastTry.IsZero() || !s.Store.Encrypted || s.Program.Slot != "base" ||
		s.Store.StateQueued != nil || !s.Runtime.Ready || s.MQTT.Mode != "both" || s.MQTT.Outside == nil || s.Certificate.Ends.IsZero() || len(s.Disks) == 0 || s.Clock.Behind {
		t.Errorf("%+v", s)
	}
	if text, err := get(nodestate.PathGoroutines); err != nil || !strings.Contains(string(text), "goroutine ") || !strings.Contains(string(text), "stacks") {
		t.Errorf("%v: %.200s", err, text)
	}
	if text, err := get(nodestate.PathLog); err != nil || !strings.Contains(string(text), "edgecore starts") {
		t.Errorf("%v: %.200s", err, text)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("edgecore ended with %d: %s", code, &log)
	}
}

func TestDevicesState(t *testing.T) {
	got := devicesState([]twin.Device{{ID: "ns/b", State: "offline"}, {ID: "ns/a"}, {ID: "ns/c", State: "online"}, {ID: "ns/d", State: "ok"}})
	if got.Total != 4 || got.States["none"] != 1 || strings.Join(got.Bad, " ") != "ns/a ns/b" {
		t.Errorf("%+v", got)
	}
	if got := roundTrip(hub.Histogram{Counts: []uint64{1, 1}, Sum: 30 * time.Millisecond}); got != "15ms" || roundTrip(hub.Histogram{}) != "" {
		t.Errorf("round trip %q", got)
	}
	if got := withoutPassword("tcp://u:secret@h:1883"); strings.Contains(got, "secret") {
		t.Error(got)
	}
}
