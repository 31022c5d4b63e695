package pluginregistry_test

import (
	"testing"

	"github.com/edgekit/edgekit/edged/internal/lifecycle/lifecycletest"
	"github.com/edgekit/edgekit/edged/pluginregistry"
)

// TestRunOnce holds Run to the rules of edged: see lifecycletest.
func TestRunOnce(t *testing.T) {
	r, err := pluginregistry.New(pluginregistry.Config{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("pluginregistry.Registry", func(t *testing.T) { lifecycletest.RunOnce(t, r.Run) })
}
