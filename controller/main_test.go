package controller_test

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain looks for leaks. client-go shares idle connections to a real API
// server between all clients of a program and never closes them.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"))
}

// testLogger shows what the controller says when EDGEKIT_TEST_LOG is set.
func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	w := io.Discard
	if os.Getenv("EDGEKIT_TEST_LOG") != "" {
		w = t.Output()
	}
	return slog.New(slog.NewTextHandler(w, nil))
}
