package podresources_test

import (
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/lifecycle/lifecycletest"
	"github.com/edgekit/edgekit/edged/podresources"
)

// TestRunOnce holds Run to the rules of edged: see lifecycletest.
func TestRunOnce(t *testing.T) {
	s, err := podresources.New(podresources.Config{Socket: filepath.Join(folder(t), "s"), Node: node{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("podresources.Server", func(t *testing.T) { lifecycletest.RunOnce(t, s.Run) })
}
