package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
)

// TestRestart asks the node's own API to restart pods, and to set a device.
func TestRestart(t *testing.T) {
	var asked []string
	serveAPI(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing shows below
		asked = append(asked, r.Method+" "+r.URL.RequestURI()+" "+string(body))
		switch {
		case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "none"):
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"kind":"Status","message":"device plant/none is not known on this node"}`)
		case r.Method == http.MethodPut:
			_, _ = w.Write(body)
		case strings.Contains(string(body), "db"):
			_, _ = io.WriteString(w, `{"errMessages":["`+edged.ErrNoRestart.Error()+`"],"LogMessages":["pod plant/web: restarting a"]}`)
		default:
			_, _ = io.WriteString(w, `{"errMessages":[],"LogMessages":["pod plant/web: restarting a"]}`)
		}
	})
	var out strings.Builder
	to := program.Output{Writer: &out}
	local := localFlags{DataDir: ".", Space: "plant"}
	if err := (&restartCmd{Pods: []string{"web"}, localFlags: local}).Run(t.Context(), to); err != nil {
		t.Error(err)
	}
	if err := (&restartCmd{Pods: []string{"web", "db"}, Container: []string{"a"}, localFlags: local}).Run(t.Context(), to); err == nil || !strings.Contains(err.Error(), "cannot be restarted") {
		t.Error(err)
	}
	if err := (&deviceEdit{Name: "lamp", Values: []string{"power=on"}, localFlags: local}).Run(t.Context(), to); err != nil {
		t.Error(err)
	}
	if err := (&deviceEdit{Name: "none", Values: []string{"power=on"}, localFlags: local}).Run(t.Context(), to); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Error(err)
	}
	if err := (&deviceEdit{Name: "lamp", Values: []string{"power"}, localFlags: local}).Run(t.Context(), to); err == nil {
		t.Error("a value is missing")
	}
	for i, want := range []string{
		`POST /api/v1/namespaces/plant/pods/restart ["web"]`, `POST /api/v1/namespaces/plant/pods/restart?container=a ["web","db"]`,
		`PUT /apis/devices.kubeedge.io/v1beta1/namespaces/plant/devices/lamp {`,
	} {
		if i >= len(asked) || !strings.HasPrefix(asked[i], want) {
			t.Errorf("asked %q, want %s", asked, want)
		}
	}
	if got := out.String(); got != "pod plant/web: restarting a\npod plant/web: restarting a\ndevice plant/lamp: power=on is desired on this node\n" {
		t.Errorf("printed %q", got)
	}
}
