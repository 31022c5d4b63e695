package cri

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestCheckSaysThatItWaits: a runtime takes 25 seconds to answer. That is logged soon,
// and every ten seconds from then on. A runtime that answers at once is not logged.
func TestCheckSaysThatItWaits(t *testing.T) {
	for name, x := range map[string]struct {
		takes time.Duration
		lines int
	}{"well": {200 * time.Millisecond, 0}, "slow": {25 * time.Second, 3}, "hung": {time.Hour, 12}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				c, err := New(Config{Socket: "/run/x.sock", Logger: slog.New(slog.NewTextHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				failed := errors.New("not yet")
				err = c.watchCall(t.Context(), func(ctx context.Context) error {
					ctx, cancel := c.quick(ctx)
					defer cancel()
					select {
					case <-time.After(x.takes):
					case <-ctx.Done():
					}
					return failed
				})
				if !errors.Is(err, failed) {
					t.Error(err)
				}
				if lines := strings.Count(log.String(), "endpoint=/run/x.sock"); lines != x.lines {
					t.Errorf("%d lines, want %d:\n%s", lines, x.lines, log.String())
				}
				if x.lines > 0 && !strings.Contains(log.String(), "restart it") {
					t.Errorf("no remedy is named: %s", log.String())
				}
			})
		})
	}
}
