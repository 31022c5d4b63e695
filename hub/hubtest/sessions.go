package hubtest

import (
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub"
)

// keepalive checks that an idle session stays.
func keepalive(r *rig) {
	e := r.up("a", nil)
	r.pass(6 * r.keepalive)
	if e.sessions() != 1 || !e.Info().Connected || len(r.server.Nodes()) != 1 {
		r.Errorf("an idle session did not stay: %+v", e.Info())
	}
}

// halfOpen checks that both sides notice a link on which nothing arrives, and that the
// edge connects again when it can.
func halfOpen(r *rig) {
	e := r.up("a", nil)
	begun := time.Now()
	r.tr.Stall("a", true)
	r.until("the edge notices", func() bool { return !e.Info().Connected })
	r.until("the cloud notices", func() bool { return len(r.server.Nodes()) == 0 })
	r.within(5*r.keepalive, time.Since(begun))
	r.tr.Stall("a", false)
	r.connected(e)
	infos := r.dir.Infos()
	for i, info := range infos {
		if info.Connected != (i%2 == 0) || info.Connected == (info.Reason != "") {
			r.Errorf("client info %d is %+v", i, info)
		}
	}
}

func reconnect(r *rig) {
	e := r.up("a", nil)
	for n := 1; n <= 5; n++ {
		epoch := e.Info().Epoch
		r.tr.Cut("a")
		r.until("a new session", func() bool { return e.sessions() == n+1 })
		r.connected(e)
		// A server without shared claims forgets a node that leaves and was never fenced.
		if i := e.Info(); i.Epoch <= epoch || i.Previous != 0 && i.Previous < epoch || i.Previous >= i.Epoch {
			r.Errorf("epoch %d after %d, the cloud says after %d", i.Epoch, epoch, i.Previous)
		}
	}
}

// fencing runs two programs with one identity: the newer takes over, the older is fenced
// and waits. It gets the node again when the newer has been gone for ReleaseAfter.
func fencing(r *rig) {
	r.stop()
	r.startServer(hub.ServerConfig{ReleaseAfter: 4 * interval})
	first := r.up("a", func(c *hub.ClientConfig) { c.Instance = "first" })
	second := r.up("a", func(c *hub.ClientConfig) { c.Instance = "second" })
	r.until("the older program is told", func() bool { return first.Fenced() != nil })
	if f := first.Fenced(); f.Node != "a" || f.Instance != "first" || f.Epoch != second.Info().Epoch || !strings.Contains(f.Holder, `"second"`) || !first.Stats().Fenced {
		r.Fatalf("the older program is told %+v", f)
	}
	r.until("the cloud knows of both", func() bool { return len(r.dir.Duplicates()) > 0 })
	if d := r.dir.Duplicates()[0]; d.Node != "a" || d.Instance != "first" || d.Holder.Instance != "second" {
		r.Errorf("the cloud is told %+v", d)
	}
	r.pass(12 * interval)
	if second.sessions() != 1 || !second.Info().Connected || first.sessions() != 1 {
		r.Errorf("the newer program had %d sessions, the older %d", second.sessions(), first.sessions())
	}
	gone := time.Now()
	second.stop()
	r.until("the older program is back", func() bool { return first.sessions() == 2 })
	if took := time.Since(gone); took < 4*interval {
		r.Errorf("it was back after %v, while the newer could have come again", took)
	}
	r.connected(first)
	if first.Fenced() != nil || first.Stats().Fenced {
		r.Error("it says that it is fenced, with a session")
	}
}

// fencedWhileOffline fences the older program while it is offline: it learns of that when
// it returns.
func fencedWhileOffline(r *rig) {
	first := r.up("a", nil)
	r.tr.Stall("a", true)
	r.until("the first is offline", func() bool { return !first.Info().Connected })
	second := r.edge("a", nil)
	r.tr.Stall("a", false)
	// Whichever connects first, exactly one of them keeps the node.
	r.until("one of them is told", func() bool { return (first.Fenced() == nil) != (second.Fenced() == nil) })
	winner := second
	if first.Fenced() == nil {
		winner = first
	}
	r.connected(winner)
	sessions := winner.sessions()
	r.pass(3 * interval)
	if winner.sessions() != sessions {
		r.Error("the two went on to fight")
	}
}

// sameInstance checks that a new connection of the same program replaces one that the
// server still believes to be alive.
func sameInstance(r *rig) {
	same := func(c *hub.ClientConfig) { c.Instance = "same" }
	first := r.up("a", same)
	// A second Client with the same instance stands for the program's own next
	// connection; its dials are counted from one again, so the first must have
	// come back at least as often.
	second := r.edge("a", same)
	select {
	case err := <-first.done:
		r.Errorf("the same program was sent away: %v", err)
	case err := <-second.done:
		r.Errorf("the same program was sent away: %v", err)
	case <-time.After(4 * interval):
	}
}

func refusals(r *rig) {
	// The hello has another name than the connection's identity.
	e := r.edge("a", func(c *hub.ClientConfig) { c.Dialer = r.tr.Dialer("b") })
	if err := r.final(e); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
		r.Errorf("wrong name: %v", err)
	}
	// The directory refuses the node for good.
	r.dir.Refuse(func(h hub.Hello) error {
		if h.Version == "old" {
			return &hub.Error{Code: hub.CodeForbidden, Text: "not you"}
		}
		return nil
	})
	e = r.edge("c", func(c *hub.ClientConfig) { c.Version = "old" })
	err := r.final(e)
	if refused, ok := errors.AsType[*hub.RefusedError](err); !ok || refused.Err.Text != "not you" {
		r.Errorf("refused by the directory: %v", err)
	}
	r.up("d", nil)
}

func disconnect(r *rig) {
	e := r.up("a", nil)
	begun := time.Now()
	if err := r.server.Disconnect("a", &hub.Error{Code: hub.CodeUnavailable, Text: "moving", RetryAfter: interval}); err != nil {
		r.Fatal(err)
	}
	r.until("it came back", func() bool { return e.sessions() == 2 })
	if took := time.Since(begun); took < interval {
		r.Errorf("it came back after %v, asked for was %v", took, interval)
	}
	r.connected(e)
	sessions := e.sessions()
	if err := r.server.Disconnect("a", &hub.Error{Code: hub.CodeInvalid, Text: "a broken frame"}); err != nil {
		r.Fatal(err)
	}
	r.until("back after a broken frame", func() bool { return e.sessions() > sessions })
	r.connected(e)
	if err := r.server.Disconnect("a", &hub.Error{Code: hub.CodeForbidden, Text: "revoked"}); err != nil {
		r.Fatal(err)
	}
	if err := r.final(e); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden, Text: "revoked"}) {
		r.Errorf("ended with %v", err)
	}
	if err := r.server.Disconnect("nobody", nil); !errors.Is(err, hub.ErrOffline) {
		r.Errorf("disconnect of nobody: %v", err)
	}
}

// shutdown stops a server and starts another in its place.
func shutdown(r *rig) {
	e := r.up("a", nil)
	r.stop()
	r.until("the edge knows", func() bool { return !e.Info().Connected })
	r.startServer(hub.ServerConfig{})
	r.connected(e)
	r.dir.Down("a").Put(key("x"), 1, "x")
	r.until("state goes on", func() bool { return e.down.Held(key("x")) == "1" })
}

// dial opens a connection and its first stream, for peers that misbehave.
func (r *rig) dial(node string) (hub.Conn, hub.Stream) {
	r.Helper()
	conn, err := r.tr.Dialer(node).Dial(r.ctx)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	s, err := conn.OpenStream(r.ctx)
	if err != nil {
		r.Fatal(err)
	}
	return conn, s
}

// ends checks that the peer ends the stream soon.
func (r *rig) ends(s hub.Stream) {
	r.Helper()
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return // ended already
	}
	if _, err := io.Copy(io.Discard, s); isTimeout(err) {
		r.Error("the server keeps a peer that misbehaves")
	}
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

func garbage(r *rig) {
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x02\x0a\x7f", "\x04\x22\x02\x08\x01"} {
		conn, s := r.dial("a")
		// The server may hang up before the write has returned.
		if _, err := io.WriteString(s, text); err != nil && !errors.Is(err, net.ErrClosed) {
			r.Fatal(err)
		}
		_ = s.CloseWrite()
		r.ends(s)
		conn.Close()
	}
	r.up("a", nil)
}

func silentHandshake(r *rig) {
	r.stop()
	r.startServer(hub.ServerConfig{Handshake: r.handshake(2 * interval), MaxHandshakes: 2})
	_, one := r.dial("a")
	_, two := r.dial("b")
	// Two silent peers take both places; the third node waits and then gets one.
	r.up("c", nil)
	r.ends(one)
	r.ends(two)
}

// oversize is a peer that announces a frame of a gigabyte after a valid handshake.
func oversize(r *rig) {
	_, s := r.dial("a")
	hello := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	hello = protowire.AppendVarint(protowire.AppendTag(hello, 2, protowire.VarintType), 1)
	hello = protowire.AppendString(protowire.AppendTag(hello, 3, protowire.BytesType), "a")
	hello = protowire.AppendString(protowire.AppendTag(hello, 4, protowire.BytesType), "raw")
	frame := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), hello)
	if _, err := s.Write(protowire.AppendBytes(nil, frame)); err != nil {
		r.Fatal(err)
	}
	r.until("the session stands", func() bool { return len(r.server.Nodes()) == 1 })
	// The server may hang up before the Write has returned.
	if _, err := s.Write(protowire.AppendVarint(nil, 1<<30)); err != nil && !errors.Is(err, net.ErrClosed) {
		r.Fatal(err)
	}
	r.ends(s)
	r.until("the session is over", func() bool { return len(r.server.Nodes()) == 0 })
}
