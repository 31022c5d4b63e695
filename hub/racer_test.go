package hub_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// lane is a hub.Dialer over a network of its own, which a server accepts from.
type lane struct {
	hub.Dialer
	name  string
	net   *memconn.Network
	delay time.Duration // before the dial
	black bool          // a dial never returns, as where UDP is blocked
	dials int
	open  atomic.Int64
}

func newLane(t *testing.T, name string) *lane {
	n := memconn.New(memconn.Config{})
	l := &lane{Dialer: n.Dialer("a"), name: name, net: n}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := n.Accept(ctx); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return l
}

// twoLanes makes a race of two.
func twoLanes(t *testing.T) (best, other *lane, r *hub.Racer) {
	t.Helper()
	best, other = newLane(t, "best"), newLane(t, "other")
	r, err := hub.NewRacer(hub.RaceConfig{Lanes: []hub.Lane{{Name: "best", Dialer: best}, {Name: "other", Dialer: other}}})
	if err != nil {
		t.Fatal(err)
	}
	return best, other, r
}

func (l *lane) Dial(ctx context.Context) (hub.Conn, error) {
	l.dials++
	if l.black {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	// A dial that is cancelled too late still returns a connection.
	<-time.After(l.delay)
	conn, err := l.Dialer.Dial(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return laneConn{conn, l}, nil
}

type laneConn struct {
	hub.Conn
	lane *lane
}

func (c laneConn) Peer() hub.Peer { return hub.Peer{Transport: c.lane.name} }

func (c laneConn) Close() error {
	c.lane.open.Add(-1)
	return c.Conn.Close()
}

// racing is a Racer over a preferred lane and another.
func racing(t *testing.T, f func(t *testing.T, best, other *lane, dial func() (string, time.Duration))) {
	synctest.Test(t, func(t *testing.T) {
		best, other, r := twoLanes(t)
		f(t, best, other, func() (string, time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			begun := time.Now()
			conn, err := r.Dial(ctx)
			took := time.Since(begun)
			if err != nil {
				return "", took
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			if n := best.open.Load() + other.open.Load(); n != 0 {
				t.Errorf("%d connections are left open", n)
			}
			return conn.Peer().Transport, took
		})
	})
}

func TestRaceBestLaneWins(t *testing.T) {
	racing(t, func(t *testing.T, best, other *lane, dial func() (string, time.Duration)) {
		best.delay = 200 * time.Millisecond
		if won, took := dial(); won != "best" || took != best.delay || other.dials != 0 {
			t.Errorf("%s after %v, other set out %d times", won, took, other.dials)
		}
		// Slower than its head start, but still the first to connect; the loser returns a
		// connection, which is closed.
		best.delay, other.delay = 300*time.Millisecond, 100*time.Millisecond
		if won, took := dial(); won != "best" || took != best.delay || other.dials != 1 {
			t.Errorf("%s after %v, other set out %d times", won, took, other.dials)
		}
	})
}

func TestRaceRemembersTheWinner(t *testing.T) {
	racing(t, func(t *testing.T, best, _ *lane, dial func() (string, time.Duration)) {
		best.black = true
		for i, want := range []time.Duration{250 * time.Millisecond, 0, 0} {
			if won, took := dial(); won != "other" || took != want {
				t.Errorf("dial %d: %s after %v, want %v", i, won, took, want)
			}
		}
		if best.dials != 1 {
			t.Errorf("the blocked lane set out %d times", best.dials)
		}
		<-time.After(time.Hour) // then the best lane gets another chance
		if won, took := dial(); won != "other" || took != 250*time.Millisecond || best.dials != 2 {
			t.Errorf("after an hour: %s after %v", won, took)
		}
		<-time.After(time.Hour)
		best.black = false
		if won, took := dial(); won != "best" || took != 0 {
			t.Errorf("unblocked: %s after %v", won, took)
		}
	})
}

func TestRaceRememberedLaneFails(t *testing.T) {
	racing(t, func(t *testing.T, best, other *lane, dial func() (string, time.Duration)) {
		best.net.Refuse(true)
		if won, took := dial(); won != "other" || took != 0 {
			t.Errorf("where the best lane fails at once: %s after %v", won, took)
		}
		best.net.Refuse(false)
		other.net.Refuse(true)
		if won, took := dial(); won != "best" || took != 0 {
			t.Errorf("the remembered lane fails: %s after %v", won, took)
		}
		other.net.Refuse(false)
		if won, _ := dial(); won != "best" || other.dials != 2 {
			t.Errorf("then: %s, other set out %d times", won, other.dials)
		}
	})
}

func TestRaceAllFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := &hub.Error{Code: hub.CodeForbidden, Text: "not a node"}
		best, other := newLane(t, "best"), dialFunc(func(context.Context) (hub.Conn, error) { return nil, refusal })
		best.black = true
		r, err := hub.NewRacer(hub.RaceConfig{Lanes: []hub.Lane{{Name: "best", Dialer: best}, {Name: "other", Dialer: other}}, HeadStart: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		_, err = r.Dial(ctx)
		if got, ok := errors.AsType[*hub.Error](err); !ok || got != refusal || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error of a lane is lost: %v", err)
		}
		if !strings.Contains(err.Error(), "best: ") || time.Since(begun) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// TestRaceTriesAgain: the cloud stops and returns while the best lane is blocked, which
// takes long to notice. The other lane connects within a second, and is still remembered
// as the winner after a race without one.
func TestRaceTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		best, other, r := twoLanes(t)
		best.black = true
		dial := func(limit time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			begun := time.Now()
			conn, err := r.Dial(ctx)
			if err == nil {
				conn.Close()
			}
			return time.Since(begun), err
		}
		other.net.Refuse(true)
		time.AfterFunc(2*time.Second, func() { other.net.Refuse(false) })
		if took, err := dial(15 * time.Second); err != nil || took != 2250*time.Millisecond || best.dials != 1 || other.dials != 3 {
			t.Errorf("after %v: %v; %d and %d dials", took, err, best.dials, other.dials)
		}
		other.net.Refuse(true)
		if took, err := dial(5 * time.Second); !errors.Is(err, context.DeadlineExceeded) || took != 5*time.Second {
			t.Errorf("where nobody gets through, after %v: %v", took, err)
		}
		other.net.Refuse(false)
		if took, err := dial(5 * time.Second); err != nil || took != 0 {
			t.Errorf("the winner is not remembered: after %v, %v", took, err)
		}
	})
}

// TestRaceCalledOff: after the race is cancelled no lane starts.
func TestRaceCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		best, other, r := twoLanes(t)
		best.black = true
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if _, err := r.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 100*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if other.dials != 0 {
			t.Error("a lane set out in a race that was called off")
		}
	})
}

// TestRaceClient runs a whole session over the winner.
func TestRaceClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := newLane(t, "blocked")
		blocked.black = true
		n := memconn.New(memconn.Config{})
		r, err := hub.NewRacer(hub.RaceConfig{Lanes: []hub.Lane{{Name: "blocked", Dialer: blocked}, {Name: "mem", Dialer: n.Dialer("a")}}})
		if err != nil {
			t.Fatal(err)
		}
		server, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}})
		if err != nil {
			t.Fatal(err)
		}
		client, err := hub.NewClient(hub.ClientConfig{Dialer: r, Node: "a"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- server.Run(ctx) }()
		go func() { done <- client.Run(ctx) }()
		<-client.Ready()
		<-time.After(time.Hour)
		if i := client.Info(); !i.Connected || i.Transport != "mem" || blocked.dials != 1 {
			t.Errorf("%+v, blocked set out %d times", i, blocked.dials)
		}
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestBadRaceConfig(t *testing.T) {
	d := memconn.New(memconn.Config{}).Dialer("a")
	for want, cfg := range map[string]hub.RaceConfig{
		"Lanes is required": {},
		"Lanes[0].Name":     {Lanes: []hub.Lane{{Dialer: d}}},
		"Lanes[1].Name":     {Lanes: []hub.Lane{{Name: "x", Dialer: d}, {Name: "x", Dialer: d}}},
		"Lanes[0].Dialer":   {Lanes: []hub.Lane{{Name: "x"}}},
		"duration":          {Lanes: []hub.Lane{{Name: "x", Dialer: d}}, HeadStart: -1},
	} {
		if _, err := hub.NewRacer(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

type dialFunc func(context.Context) (hub.Conn, error)

func (f dialFunc) Dial(ctx context.Context) (hub.Conn, error) { return f(ctx) }
