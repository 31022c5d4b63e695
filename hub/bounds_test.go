package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// The most memory that a peer can cost, whatever it does.

// freshSource returns a body of its own at each Load, as a Source does that
// encodes.
type freshSource struct {
	hubtest.Source
	size int
}

func (s *freshSource) Load(ctx context.Context, k hub.Key, held string) (hub.Object, error) {
	o, err := s.Source.Load(ctx, k, held)
	o.Body = make([]byte, s.size)
	return o, err
}

// oneSource is a Directory that gives each node the same Source.
type oneSource struct {
	hubtest.Directory
	down hub.Source
}

func (d *oneSource) Attach(ctx context.Context, h hub.Hello) (hub.Node, error) {
	n, err := d.Directory.Attach(ctx, h)
	n.Down = d.down
	return n, err
}

// TestStalledReadersAreBounded: nodes ask for 16 MiB of state each and read nothing. Each
// costs its window, and no more is loaded.
func TestStalledReadersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes, objects, size, window = 20, 2000, 8 << 10, 512 << 10
		n, down := memconn.New(memconn.Config{Window: 16 << 10}), &freshSource{size: size}
		for i := range objects {
			down.Put(hub.Key{Name: fmt.Sprint(i)}, 1, "")
		}
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: &oneSource{down: down}})
		defer program(t, server.Run)()
		limits := protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), window)
		before := inUse()
		for i := range nodes {
			node := fmt.Sprint("n", i)
			conn, s := dialRaw(t, n, node)
			defer conn.Close()
			_, hello := frameOf(helloBytes(1, 1, node, "raw"))
			hello = protowire.AppendBytes(protowire.AppendTag(bytes.Clone(hello), 8, protowire.BytesType), limits)
			nothing := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), append(make([]byte, 15), 1))
			for _, f := range [][]byte{frameBytes(1, hello), frameBytes(6, nothing)} {
				if _, err := s.Write(f); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait() // the versions were asked for
			if _, err := s.Write(frameBytes(8, []byte{16, 1})); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := len(server.Nodes()); got != nodes {
			t.Fatalf("%d nodes are connected", got)
		}
		// The window, what was loaded for when it has room, and the lists of keys
		// that both sides of a comparison need.
		const most = window + 8*size + objects*400
		if each := (inUse() - before) / nodes; each < window/2 || each > most {
			t.Errorf("a node costs %d bytes, at most %d were expected", each, most)
		}
		if got := down.Loads(); got > nodes*(window/size+8) {
			t.Errorf("%d objects were loaded", got)
		}
	})
}

// TestStreamsThatNeverOpenAreBounded: a node opens 5,000 streams and never sends an
// opening frame. The server keeps as many as its limits allow and 64 more, for ten
// seconds.
func TestStreamsThatNeverOpenAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams, kept = 5000, 4 + 4 + 64
		n := memconn.New(memconn.Config{})
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}, Limits: hub.Limits{MaxCalls: 4, MaxStreams: 4}})
		defer program(t, server.Run)()
		conn, control := dialRaw(t, n, "a")
		defer conn.Close()
		if _, err := control.Write(helloBytes(1, 1, "a", "raw")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before, open := inUse(), 0
		opened := make([]hub.Stream, streams)
		for i := range opened {
			s, err := conn.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			opened[i] = s
			_, _ = s.Write(append(protowire.AppendVarint(nil, 1<<20), "the rest never comes"...))
		}
		synctest.Wait()
		if grown := inUse() - before; grown > streams*2<<10+kept*32<<10 {
			t.Errorf("they cost %d bytes", grown)
		}
		for _, s := range opened { // one that was turned away takes no more bytes
			if _, err := s.Write([]byte("x")); err == nil {
				open++
			}
		}
		if open != kept {
			t.Errorf("%d are open, %d may be", open, kept)
		}
		time.Sleep(11 * time.Second)
		for _, s := range opened {
			if _, err := s.Write([]byte("x")); err == nil {
				t.Fatal("one is still open after 11 s")
			}
		}
	})
}
