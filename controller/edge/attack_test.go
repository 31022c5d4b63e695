package edge_test

import (
	"errors"
	"testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/decodetest"
)

// TestAttackReports: a node sends reports that are small on the wire and large in memory.
// Before there was a limit, 1 MiB of empty containers took 693 MiB, of conditions 1,459
// MiB.
func TestAttackReports(t *testing.T) {
	w := start(t, controllertest.NewClientset()).Writers()
	var cases []decodetest.Case
	for name, c := range map[string]struct{ resource, before, after string }{
		"containers":        {"pods/status", `{"metadata":{"namespace":"a","name":"p","uid":"u"},"spec":{"containers":[`, `]}}`},
		"containerStatuses": {"pods/status", `{"metadata":{"namespace":"a","name":"p"},"status":{"containerStatuses":[`, `]}}`},
		"mirror":            {"pods", `{"metadata":{"namespace":"a","name":"p"},"spec":{"ephemeralContainers":[`, `]}}`},
		"conditions":        {"nodes", `{"metadata":{"name":"other"},"status":{"conditions":[`, `]}}`},
		"images":            {"nodes", `{"metadata":{"name":"other"},"status":{"images":[`, `]}}`},
		"events":            {"events", `{"metadata":{"namespace":"b","name":"p","ownerReferences":[`, `]}}`},
		"delete_options":    {"pods", `{"dryRun":[`, `]}`},
	} {
		key := hub.Key{Resource: c.resource, Namespace: "a", Name: "p"}
		if c.resource == "nodes" {
			key = hub.Key{Resource: "nodes", Name: "n"}
		}
		cases = append(cases, decodetest.Case{
			Name: "report_" + name, Before: c.before, Between: ",", After: c.after,
			Units: []string{`{}`, `""`, `"ab"`, `{"name":"a"}`, `{"type":"a"}`, `[]`, `0`, `{"resources":{"limits":{"a":"1"}}}`}, Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) {
				err := w[c.resource](t.Context(), "n", hub.Object{Key: key, Body: b, Deleted: name == "delete_options"})
				if e, ok := errors.AsType[*hub.Error](err); ok && !e.Final() {
					t.Errorf("it would come again: %v", err)
				}
			},
		})
	}
	decodetest.Search(t, cases...)
}
