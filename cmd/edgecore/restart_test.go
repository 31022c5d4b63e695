package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// restarts is a node with the pod plant/web, whose containers are a and b.
type restarts struct{}

func (restarts) RestartContainers(_ context.Context, namespace, name string, containers ...string) ([]string, error) {
	switch {
	case namespace != "plant" || name != "web":
		return nil, &edged.NoPodError{Namespace: namespace, Name: name}
	case len(containers) == 0:
		return []string{"a", "b"}, nil
	case !slices.Contains([]string{"a", "b"}, containers[0]):
		return nil, fmt.Errorf("%w: no container %s", edged.ErrNoRestart, containers[0])
	}
	return containers, nil
}

// machineAPI is a node's API with the paths of somebody at the machine, and an engine with the
// device plant/lamp; the node has no cloud.
func machineAPI(t *testing.T) (*apiserver.Server, *twin.Engine) {
	t.Helper()
	store := memstore.New()
	engine, err := twin.New(twin.Config{Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := engine.Put(ctx, "plant/lamp", twin.Put{}); err != nil {
		t.Fatal(err)
	}
	api, err := apiserver.New(apiserver.Config{
		Store: store, Node: "gate-7", Connected: func() (bool, time.Time) { return false, time.Time{} },
		Extensions: machinePaths(restarts{}, engine),
	})
	if err != nil {
		t.Fatal(err)
	}
	return api, engine
}

func TestRestartPath(t *testing.T) {
	api, _ := machineAPI(t)
	for _, tt := range []struct {
		path, body string
		code       int
		logs, errs string // joined
	}{
		{"/api/v1/namespaces/plant/pods/restart", `["web"]`, 200, "pod plant/web: restarting a, b", ""},
		{"/api/v1/namespaces/plant/pods/restart?container=b", `["web"]`, 200, "pod plant/web: restarting b", ""},
		{"/api/v1/namespaces/plant/pods/restart", `["none","web"]`, 200, "pod plant/web: restarting a, b", "there is no pod plant/none"},
		{"/api/v1/namespaces/plant/pods/restart?container=x", `["web"]`, 200, "", "no container x"},
		{"/api/v1/namespaces/plant/pods/restart", `[]`, 400, "", ""},
		{"/api/v1/namespaces/plant/pods/restart", `{"web":1}`, 400, "", ""},
		{"/api/v1/namespaces/plant/pods/restart", `["` + strings.Repeat("a", maxRestartBody) + `"]`, 400, "", ""},
	} {
		w := httptest.NewRecorder()
		api.AdminHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, tt.path, strings.NewReader(tt.body)))
		var got struct {
			ErrMessages []string `json:"errMessages"`
			LogMessages []string `json:"LogMessages"`
			Kind        string   `json:"kind"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != tt.code {
			t.Errorf("%s %.40s: %d %s, %v", tt.path, tt.body, w.Code, w.Body, err)
			continue
		}
		if tt.code != 200 {
			if got.Kind != "Status" {
				t.Errorf("an error that is no Status: %s", w.Body)
			}
			continue
		}
		if strings.Join(got.LogMessages, "\n") != tt.logs || (tt.errs == "") != (len(got.ErrMessages) == 0) || !strings.Contains(strings.Join(got.ErrMessages, "\n"), tt.errs) || !strings.Contains(w.Body.String(), `"errMessages":[`) {
			t.Errorf("%s %s: %s", tt.path, tt.body, w.Body)
		}
	}
}

// TestDevicePath: a PUT of a Device sets its desired values on this node alone, offline.
func TestDevicePath(t *testing.T) {
	api, engine := machineAPI(t)
	const path = "/apis/devices.kubeedge.io/v1beta1/namespaces/plant/devices/lamp"
	const on = `{"apiVersion":"devices.kubeedge.io/v1beta1","kind":"Device","metadata":{"name":"lamp","namespace":"plant"},"spec":{"nodeName":"gate-8","properties":[{"name":"power","desired":{"value":"on"}}]}}`
	for _, tt := range []struct {
		path, body string
		code       int
		text       string
	}{
		{path, on, 200, `"value":"on"`},
		{path + "x", on, 400, "the path names"},
		{"/apis/devices.kubeedge.io/v1beta1/namespaces/farm/devices/lamp", on, 400, "the path names"},
		{"/apis/devices.kubeedge.io/v1beta1/namespaces/plant/devices/none", strings.ReplaceAll(on, `"lamp"`, `"none"`), 404, "not known"},
		{path, `{"metadata":{"name":"lamp"}}`, 400, "no desired value"},
		{path, `[]`, 400, "Device in JSON"},
		{path, strings.Repeat("x", maxDeviceBody+1), 400, "too large"},
	} {
		w := httptest.NewRecorder()
		api.AdminHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, tt.path, strings.NewReader(tt.body)))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("PUT %s %.80s: %d %s, want %d %s", tt.path, tt.body, w.Code, w.Body, tt.code, tt.text)
		}
		if w.Code == 200 && !strings.Contains(w.Header().Get("Warning"), "on this node") {
			t.Errorf("no warning that the cloud is not asked: %v", w.Header())
		}
	}
	got, err := engine.Get("plant/lamp", "power")
	if err != nil || got[0].Twin.Expected == nil || got[0].Twin.Expected.Value != "on" {
		t.Errorf("%+v, %v", got, err)
	}
}
