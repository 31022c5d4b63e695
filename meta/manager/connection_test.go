package manager_test

import (
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
)

// TestOthersReported: another program has a session between two of this one. Then, and
// only then, acknowledged reports are sent again.
func TestOthersReported(t *testing.T) {
	for name, tt := range map[string]struct {
		previous uint64 // as the server says at the second session
		want     int    // reports that are sent again
	}{
		"its own session was the last": {7, 0},
		"another had one meanwhile":    {9, 2},
		"a server that does not know":  {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, manager.Config{})
				must(t, m.NodeConnection(t.Context(), hub.Info{Connected: true, Epoch: 7, Previous: 3}))
				for _, name := range []string{"a", "b"} {
					must(t, m.Update(t.Context(), meta.Object{Key: meta.Key{Resource: "nodes", Name: name}, Body: []byte("{}")}))
				}
				waiting := func() (out []hub.Object) {
					t.Helper()
					versions, err := m.StateOutbox().Versions(t.Context())
					must(t, err)
					for key, version := range versions {
						out = append(out, hub.Object{Key: key, Version: version})
					}
					return out
				}
				must(t, m.StateOutbox().Acked(t.Context(), waiting()))
				must(t, m.NodeConnection(t.Context(), hub.Info{Epoch: 7, Reason: "cut"}))
				must(t, m.NodeConnection(t.Context(), hub.Info{Connected: true, Epoch: 10, Previous: tt.previous}))
				if got := len(waiting()); got != tt.want {
					t.Errorf("%d reports are sent again, want %d", got, tt.want)
				}
			})
		})
	}
}
