package host_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline/host"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// TestOlderProgram: an edgepipe of another release is used, and failures say that it is one.
func TestOlderProgram(t *testing.T) {
	n := newNode(t, lives)
	n.cfg = func(c *host.Config) { c.Version = "v2.0.0" }
	n.put(t, key("a"), pipelineText("a"))
	n.run(t)
	c := n.client(t)
	const failed = `{"version":%q,"statuses":[{"namespace":"plant","name":"a","uid":"u-a","generation":3,"state":"Failed","failures":[{"reason":"Invalid","message":"no"}]}]}`
	for version, want := range map[string]bool{"v1.0.0": true, "v2.0.0": false} {
		post(t, c, wire.PathStatus, fmt.Sprintf(failed, version))
		n.reports.until(t, version, func(now map[string]*wire.Report, _ map[string]int) bool {
			r := now["pipelines/status/plant/a"]
			return r != nil && len(r.Failures) == 1 && strings.Contains(r.Failures[0].Message, "edgepipe is v1.0.0 and edgecore v2.0.0: install") == want
		})
	}
}

// TestDataOfRemoved: when the last Pipeline is gone, what edgepipe stored is removed, so that one of
// the same name does not send the events of the old one; when edgecore ends it stays.
func TestDataOfRemoved(t *testing.T) {
	n := newNode(t, lives)
	file := filepath.Join(n.folder, wire.Store, "queue")
	for _, dir := range []string{wire.Store, wire.State} {
		if err := os.Mkdir(filepath.Join(n.folder, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.put(t, key("a"), pipelineText("a"))
	_, stop := n.run(t)
	n.client(t)
	stop()
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("after edgecore's end: %v", err)
	}
	n.run(t)
	n.client(t)
	n.remove(t, key("a"))
	hubtest.Until(t, "what it stored is removed", func() bool {
		_, store := os.Stat(filepath.Join(n.folder, wire.Store))
		_, state := os.Stat(filepath.Join(n.folder, wire.State))
		return errors.Is(store, os.ErrNotExist) && errors.Is(state, os.ErrNotExist)
	})
}
