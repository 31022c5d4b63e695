package podresources_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/podresources"
)

// TestRunOnce holds Run to the rules of edged: see edged.TestRunOnce.
func TestRunOnce(t *testing.T) {
	t.Run("podresources.Server", testRunOnce)
}

func testRunOnce(t *testing.T) {
	s, err := podresources.New(podresources.Config{Socket: filepath.Join(folder(t), "s"), Node: node{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- s.Run(ctx) }()
	}
	if err := <-ended; !errors.Is(err, lifecycle.ErrStarted) {
		t.Errorf("the second Run returns %v, want ErrStarted", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the first Run returns %v when its context ends, want nil", err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, lifecycle.ErrStarted) {
		t.Errorf("a Run after the end returns %v, want ErrStarted", err)
	}
}
