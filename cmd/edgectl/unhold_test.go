package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestUnhold asks the node's own API to release pods.
func TestUnhold(t *testing.T) {
	var asked []string
	serveAPI(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing shows below
		asked = append(asked, r.Method+" "+r.URL.Path+" "+string(body))
		if strings.HasSuffix(string(body), "db") {
			http.Error(w, "edged: pod plant/db: the pod is not held", http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, "released\n") // the client shows it
	})
	var out strings.Builder
	to := program.Output{Writer: &out}
	local := localFlags{DataDir: ".", Space: "plant"}
	if err := (&unholdPodCmd{Name: "web", localFlags: local}).Run(t.Context(), to); err != nil {
		t.Error(err)
	}
	if err := (&unholdNodeCmd{local}).Run(t.Context(), to); err != nil {
		t.Error(err)
	}
	if err := (&unholdPodCmd{Name: "db", localFlags: local}).Run(t.Context(), to); err == nil || !strings.Contains(err.Error(), "the pod is not held") {
		t.Errorf("one that is not held: %v", err)
	}
	want := "POST /api/v1/pods/unhold-upgrade plant/web, POST /api/v1/nodes/unhold-upgrade , POST /api/v1/pods/unhold-upgrade plant/db"
	if got := strings.Join(asked, ", "); got != want || out.String() != "released\nreleased\n" {
		t.Errorf("asked %q, printed %q", got, out.String())
	}
}
