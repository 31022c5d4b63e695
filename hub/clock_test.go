package hub_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestClocks: both sides learn from keepalives that their clocks agree.
func TestClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memconn.New(memconn.Config{Delay: 25 * time.Millisecond})
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}})
		defer program(t, server.Run)()
		client := newClient(t, n, "a", nil)
		if ahead, known := client.ClockAhead(time.Now()); known {
			t.Errorf("ahead %v before any link", ahead)
		}
		defer program(t, client.Run)()
		time.Sleep(20 * time.Minute)
		if ahead, known := client.ClockAhead(time.Now()); !known || ahead.Abs() > time.Millisecond {
			t.Errorf("ahead %v, known is %v", ahead, known)
		}
		if skew := server.Extremes().ClockSkew; skew > 50*time.Millisecond {
			t.Errorf("the cloud sees %v", skew)
		}
	})
}

// TestExtremes: what the cloud knows of the worst node, whatever it sends.
func TestExtremes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir})
		defer program(t, server.Run)()
		if x := server.Extremes(); x != (hub.Extremes{}) {
			t.Errorf("without nodes: %+v", x)
		}
		for _, name := range []string{"x", "y", "z"} {
			dir.Down("a").Put(hub.Key{Name: name}, 1, "0123456789")
		}
		conn, control := dialRaw(t, n, "a")
		defer conn.Close()
		send := func(b []byte) {
			if _, err := control.Write(b); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		ping := func(id uint64) []byte {
			return frameBytes(4, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), id))
		}
		send(helloBytes(1, 1, "a", "raw"))
		send(frameBytes(6, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), make([]byte, 16))))
		send(frameBytes(8, protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 1))) // it holds nothing
		if x := server.Extremes(); x.Queued != 3 || x.ClockSkew != 0 {
			t.Errorf("three objects are not acknowledged: %+v", x)
		}
		now := time.Now()
		for _, tt := range []struct {
			id   uint64
			want time.Duration
		}{
			{uint64(now.Add(time.Hour).UnixNano()), time.Hour}, {uint64(now.Add(-time.Minute).UnixNano()), time.Minute},
			{1, now.Sub(time.Unix(0, 1))}, {math.MaxUint64, now.Sub(time.Unix(0, -1))}, {math.MaxInt64, 4e9 * time.Second}, {1 << 63, 4e9 * time.Second},
		} {
			send(ping(tt.id))
			if got := server.Extremes().ClockSkew; (got - tt.want).Abs() > max(tt.want/1000, time.Millisecond) {
				t.Errorf("a ping of %d: %v, want %v", tt.id, got, tt.want)
			}
		}
	})
}
