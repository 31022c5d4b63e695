package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

func nodeEvent(node, reason string, seen time.Time) corev1.Event {
	return corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: reason, ResourceVersion: "9"}, Type: corev1.EventTypeWarning, Reason: reason, Message: "\x1b[2J and more",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web"}, Source: corev1.EventSource{Host: node}, LastTimestamp: metav1.NewTime(seen)}
}

// TestFleetEvents: the newest events of edge nodes are listed, those of others are not.
func TestFleetEvents(t *testing.T) {
	f, served := testFleet(t)
	var all []any
	for i := range 9 {
		all = append(all, nodeEvent("edge-1", fmt.Sprintf("E%d", i), at(time.Duration(i)*time.Minute)))
	}
	served.lists["/api/v1/events"] = append(all, nodeEvent("core-1", "Other", at(0)), nodeEvent("edge-2", "Two", at(90*time.Second)), nodeEvent("edge-2", "Old", at(2*time.Hour)))
	for _, tt := range []struct {
		node, want string
		limit      int
	}{{"", "E2 Two E1 E0", 4}, {"edge-2", "Two", 4}, {"edge-1", "E8 E7 E6 E5 E4 E3 E2 E1 E0", 0}} {
		source, err := fleetEvents(t.Context(), f, tt.node)
		if err != nil {
			t.Fatal(err)
		}
		command := &eventsCmd{Since: time.Hour, Limit: tt.limit, Flags: printer.Flags{Output: "json"}}
		var out strings.Builder
		version, err := command.print(t.Context(), source, &out, at(0))
		var list printer.List[event]
		if err != nil || version != "7" || json.Unmarshal([]byte(out.String()), &list) != nil {
			t.Fatalf("%v %q %s", err, version, out.String())
		}
		var reasons []string
		for _, e := range list.Items {
			reasons = append(reasons, e.Reason)
		}
		if got := strings.Join(reasons, " "); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.node, got, tt.want)
		}
	}
}

// TestLocalEvents: at the node, offline too, events are listed and then followed; a watch whose
// version is gone goes on from a new list.
func TestLocalEvents(t *testing.T) {
	watches := 0
	serveAPI(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") == "" {
			_ = json.NewEncoder(w).Encode(corev1.EventList{ListMeta: metav1.ListMeta{ResourceVersion: "5"}, Items: []corev1.Event{nodeEvent("edge-1", "First", time.Now())}})
			return
		}
		watches++
		switch watches {
		case 1:
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": nodeEvent("edge-1", "Second", time.Now())})
		case 2:
			if got := r.URL.Query().Get("resourceVersion"); got != "9" {
				t.Errorf("the watch goes on at %s", got)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ERROR", "object": metav1.Status{Status: "Failure", Reason: metav1.StatusReasonExpired, Code: 410}})
		case 3:
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": nodeEvent("edge-1", "Third", time.Now())})
		default:
			http.Error(w, "the end", http.StatusInternalServerError)
		}
	})
	var out strings.Builder
	command := &eventsCmd{scopeFlags: scopeFlags{Local: true, DataDir: "."}, Since: time.Hour, Watch: true, Flags: printer.Flags{Output: "table"}}
	err := command.Run(t.Context(), &cli{}, program.Output{Writer: &out})
	if err == nil || !strings.Contains(err.Error(), "the end") {
		t.Errorf("the watch ends with %v", err)
	}
	for _, want := range []string{"First", "Second", "Third", `\x1b[2J and more`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), "SEEN") != 1 {
		t.Errorf("printed\n%q", out.String())
	}
}
