package sources

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/bus"
)

// TestLifecycle holds HTTP to the rules of every Run.
func TestLifecycle(t *testing.T) { t.Run("sources.HTTP", testHTTPLifecycle) }

func testHTTPLifecycle(t *testing.T) {
	web, err := NewHTTP(HTTPConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 2)
	for range 2 { // whichever is second is refused
		go func() { results <- web.Run(ctx) }()
	}
	if err := <-results; !errors.Is(err, bus.ErrStarted) {
		t.Errorf("second Run: %v", err)
	}
	cancel()
	if err := <-results; err != nil {
		t.Errorf("Run after cancel: %v", err)
	}
}
