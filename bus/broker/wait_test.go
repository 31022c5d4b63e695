package broker_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/hubtest"
)

// waitFor waits until the condition holds.
func waitFor(t testing.TB, holds func() bool) {
	t.Helper()
	hubtest.Until(t, "the condition holds", holds)
}

// waitSeconds lets real time pass, for what the protocol says in whole seconds and the
// broker measures with the clock of the machine.
func waitSeconds(t testing.TB, seconds float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds*float64(time.Second)))
	defer cancel()
	<-ctx.Done()
}

// dialRaw opens a connection and sends nothing.
func dialRaw(t testing.TB, addr net.Addr) (*peer, error) {
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{t: t, conn: conn, version: 4}, nil
}
