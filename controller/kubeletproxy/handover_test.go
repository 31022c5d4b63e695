package kubeletproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// pair is two cloudcores, one of which has edge-1.
type pair struct {
	a, b  *cloud
	aPort int
	away  atomic.Bool // from a
	admin *tls.Certificate
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{a: newCloud(t, nil)}
	p.b = newCloud(t, func(cfg *Config) {
		cfg.Address, cfg.Bind = netip.MustParseAddr("127.0.0.2"), "127.0.0.2"
		cfg.ClientCA = func(context.Context) ([]byte, error) { return p.a.ca.pem(), nil }
	})
	here := p.a.openStream
	p.a.openStream = func(ctx context.Context, node string, m hub.Message) (hub.Stream, error) {
		if p.away.Load() {
			return nil, hub.ErrOffline
		}
		return here(ctx, node, m)
	}
	p.admin = p.a.ca.client(t, "admin", "system:masters")
	p.a.run(t)
	p.b.run(t)
	p.aPort = p.a.assignPort("edge-1", 0)
	p.a.change(nil, recordedAt("edge-1", "127.0.0.1", p.aPort))
	p.a.Connected(hub.Info{Node: "edge-1", Connected: true, Epoch: 1})
	return p
}

func (c *cloud) change(old, now *corev1.Node) {
	c.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: "edge-1"}, Old: old, New: now})
}

// leave ends the node's session with a.
func (p *pair) leave() {
	p.away.Store(true)
	p.a.Connected(hub.Info{Node: "edge-1", Epoch: 1})
}

// join has the node at b, and a see that.
func (p *pair) join(t *testing.T) {
	t.Helper()
	port := p.b.assignPort("edge-1", p.aPort+1) // each cloudcore has ports of its own
	p.b.Connected(hub.Info{Node: "edge-1", Connected: true, Epoch: 2})
	p.a.change(recordedAt("edge-1", "127.0.0.1", p.aPort), recordedAt("edge-1", "127.0.0.2", port))
}

// get asks for the node's pods at a.
func (p *pair) get(ctx context.Context, client *http.Client) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/pods", p.aPort), nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, body), err
}

func (p *pair) client(t *testing.T) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*p.admin}}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestHandover: a request for a node that changes over to another cloudcore is answered by that one,
// also on a connection from before.
func TestHandover(t *testing.T) {
	p := newPair(t)
	p.a.Server.handover = time.Minute
	old := p.client(t)
	const want = `200 GET /pods token=""`
	if got, err := p.get(t.Context(), old); err != nil || got != want {
		t.Fatalf("before: %q, %v", got, err)
	}
	p.leave()
	type result struct {
		got string
		err error
	}
	answers := make(chan result, 3)
	for _, client := range []*http.Client{old, p.client(t), p.client(t)} {
		go func() {
			got, err := p.get(t.Context(), client)
			answers <- result{got, err}
		}()
	}
	hubtest.Until(t, "all requests wait", func() bool {
		p.a.limiter.mu.Lock()
		defer p.a.limiter.mu.Unlock()
		return p.a.limiter.open == 3
	})
	select {
	case r := <-answers:
		t.Fatalf("a request did not wait: %+v", r)
	default:
	}
	p.join(t)
	for range 3 {
		if r := <-answers; r.err != nil || r.got != want {
			t.Errorf("meanwhile: %q, %v", r.got, r.err)
		}
	}
	if got, err := p.get(t.Context(), p.client(t)); err != nil || got != want {
		t.Errorf("after: %q, %v", got, err)
	}
}

// TestHandoverEnds: the old cloudcore's port is closed at the end, HandedOver waits for nodes that
// have not arrived and no longer, and a node that is just away is said to be so.
func TestHandoverEnds(t *testing.T) {
	p := newPair(t)
	p.a.Server.handover = 300 * time.Millisecond
	p.leave()
	if got, err := p.get(t.Context(), p.client(t)); err != nil || !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "not connected") {
		t.Errorf("a node that is away: %q, %v", got, err)
	}
	p.a.Connected(hub.Info{Node: "edge-1", Connected: true, Epoch: 3})
	p.a.Connected(hub.Info{Node: "edge-1", Epoch: 3})
	handed := make(chan struct{})
	go func() {
		p.a.HandedOver(t.Context())
		close(handed)
	}()
	p.join(t)
	<-handed
	hubtest.Until(t, "the port is closed", func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.aPort)))
		if err != nil {
			return true
		}
		c.Close()
		return false
	})
}

// TestHandoverCircle: two cloudcores that take each other for the node's do not pass a connection on
// for ever.
func TestHandoverCircle(t *testing.T) {
	p := newPair(t)
	p.a.Server.handover = time.Minute
	p.leave()
	p.a.change(recordedAt("edge-1", "127.0.0.1", p.aPort), recordedAt("edge-1", "127.0.0.1", p.aPort+150)) // its own port, under another name
	p.a.mu.Lock()
	p.a.byNode["edge-1"].to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(p.aPort))
	p.a.mu.Unlock()
	if got, err := p.get(t.Context(), p.client(t)); err != nil || !strings.HasPrefix(got, "503 ") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestAttackHandoverHeld: a stranger whose connection was passed on, and who does not close it after the
// other cloudcore has, holds it for a few seconds only.
func TestAttackHandoverHeld(t *testing.T) {
	p := newPair(t)
	p.leave()
	p.join(t)
	p.a.mu.Lock()
	p.a.Server.handover = 100 * time.Millisecond
	p.a.mu.Unlock()
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.aPort)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil { // no TLS: b refuses it
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil { // what b says to that, and its end
		t.Fatal(err)
	}
	hubtest.Until(t, "the connection is given up", func() bool {
		p.a.mu.Lock()
		defer p.a.mu.Unlock()
		return p.a.forwards == 0
	})
}

// TestPortOfConnections: when a node gets another port, its idle connections to the old one are closed, and
// those in use are not waited for any more, at whatever port they came.
func TestPortOfConnections(t *testing.T) {
	p := newPair(t)
	if got, err := p.get(t.Context(), p.client(t)); err != nil || !strings.HasPrefix(got, "200 ") {
		t.Fatalf("%q, %v", got, err)
	}
	busy, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.aPort)))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	uses := func() (idle, used int) {
		p.a.mu.Lock()
		defer p.a.mu.Unlock()
		for _, use := range p.a.byNode["edge-1"].conns {
			if use.idle {
				idle++
			} else {
				used++
			}
		}
		return idle, used
	}
	hubtest.Until(t, "one is idle and one is in use", func() bool { idle, used := uses(); return idle == 1 && used == 1 })
	p.a.mu.Lock()
	p.a.recordLocked("edge-2", p.aPort) // a conflict: the node that is connected gets another port
	p.a.resolveConflictLocked(p.aPort)
	p.a.mu.Unlock()
	if idle, used := uses(); idle != 0 || used != 0 {
		t.Errorf("%d idle and %d used connections are kept", idle, used)
	}
	hubtest.Until(t, "the idle one is closed", func() bool {
		p.a.limiter.mu.Lock()
		defer p.a.limiter.mu.Unlock()
		return p.a.limiter.open == 1
	})
}

// TestAttackHandoverAddress: no connection is passed on to an address that serves one machine only.
func TestAttackHandoverAddress(t *testing.T) {
	for _, tt := range []struct {
		own, named string
		passed     bool
	}{
		{"10.0.0.5", "10.0.0.6", true},
		{"10.0.0.5", "2001:db8::6", true},
		{"127.0.0.1", "127.0.0.2", true}, // cloudcores of a test
		{"fe80::5", "fe80::6", true},
		{"10.0.0.5", "127.0.0.1", false},
		{"10.0.0.5", "::1", false},
		{"10.0.0.5", "::ffff:127.0.0.1", false},
		{"10.0.0.5", "169.254.169.254", false},
		{"10.0.0.5", "fe80::1", false},
		{"10.0.0.5", "0.0.0.0", false},
		{"10.0.0.5", "224.0.0.1", false},
	} {
		s := &Server{cfg: Config{Address: netip.MustParseAddr(tt.own)}}
		if to := s.endpointElsewhere(recordedAt("edge-1", tt.named, 2379)); to.IsValid() != tt.passed {
			t.Errorf("%s passes on to %s: %v, want %v", tt.own, tt.named, to.IsValid(), tt.passed)
		}
	}
}

// TestHandoverTwice: a node that comes back and leaves again for the same cloudcore has its port as long as
// after its first move.
func TestHandoverTwice(t *testing.T) {
	p := newPair(t)
	p.a.Server.handover = time.Second
	p.leave()
	p.join(t)
	first := p.a.moved[0].since
	p.a.Connected(hub.Info{Node: "edge-1", Connected: true, Epoch: 3})
	p.a.Connected(hub.Info{Node: "edge-1", Epoch: 3})
	hubtest.Until(t, "half of the time has gone", func() bool { return time.Since(first) > p.a.Server.handover/2 })
	p.join(t)
	hubtest.Until(t, "the time after the first move has gone", func() bool {
		p.a.mu.Lock()
		defer p.a.mu.Unlock()
		return len(p.a.moved) == 1
	})
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	if p.a.byPort[p.aPort] == nil {
		t.Error("the port was closed by the first move")
	}
}

// TestHandoverUncounted: connections that are passed on from the network of an authenticated client do
// not count as unauthenticated, so that a flood of strangers does not end them.
func TestHandoverUncounted(t *testing.T) {
	p := newPair(t)
	counts := func() (unauthenticated, passed int) {
		p.a.limiter.mu.Lock()
		defer p.a.limiter.mu.Unlock()
		return p.a.limiter.unauthenticated.Len(), p.a.limiter.passed
	}
	pass := func(n, unauthenticated, passed int) {
		t.Helper()
		var open []net.Conn
		for range n {
			c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.aPort)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			open = append(open, c)
		}
		hubtest.Until(t, "all are passed on", func() bool {
			p.a.mu.Lock()
			forwards := p.a.forwards
			p.a.mu.Unlock()
			u, q := counts()
			return forwards == n && u == unauthenticated && q == passed
		})
		for _, c := range open {
			c.Close()
		}
		hubtest.Until(t, "all are closed", func() bool {
			u, q := counts()
			return u == 0 && q == 0
		})
	}
	p.leave()
	p.join(t)
	p.a.mu.Lock()
	p.a.Server.handover = time.Minute
	p.a.mu.Unlock()
	pass(5, 5, 0) // nobody is known yet
	p.a.limiter.mu.Lock()
	p.a.limiter.trustLocked(netip.MustParsePrefix("127.0.0.0/24"))
	p.a.limiter.mu.Unlock()
	pass(5, 0, 5)
}

// TestTrustedNetworks: the networks of authenticated clients are bounded.
func TestTrustedNetworks(t *testing.T) {
	g := newConnLimiter(Config{MaxConnections: 4, MaxUnauthenticated: 4, MaxUnauthenticatedPerNetwork: 4})
	for i := range 2 * maxTrusted {
		last := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
		g.trustLocked(last)
		if _, ok := g.trusted[last]; !ok {
			t.Fatalf("%v is not trusted", last)
		}
	}
	if len(g.trusted) != maxTrusted {
		t.Errorf("%d networks", len(g.trusted))
	}
}

// TestAttackHandoverLog: strangers who connect for a node whose new cloudcore cannot be reached have one
// line logged, and not one for each connection.
func TestAttackHandoverLog(t *testing.T) {
	p := newPair(t)
	p.leave()
	var out strings.Builder
	p.a.mu.Lock()
	p.a.Server.handover = time.Minute
	p.a.Server.log = slog.New(slog.NewTextHandler(&out, nil)) // it writes one line at a time
	p.a.mu.Unlock()
	p.a.change(recordedAt("edge-1", "127.0.0.1", p.aPort), recordedAt("edge-1", "127.0.0.3", 1)) // where nobody listens
	for range 5 {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.aPort)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Log(err) // a reset is an end as well
		}
		c.Close()
	}
	p.a.mu.Lock() // after the last line
	defer p.a.mu.Unlock()
	if n := strings.Count(out.String(), "could not be passed on"); n != 1 {
		t.Errorf("%d lines: %s", n, out.String())
	}
}
