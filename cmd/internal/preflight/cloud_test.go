package preflight

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// serveCloud serves a cloud on TCP and UDP.
func serveCloud(t *testing.T, c *jointest.Cloud) (tcp, udp string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(c.Handler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Listener = tls.NewListener(srv.Listener, c.ServerTLS())
	srv.Start()
	t.Cleanup(srv.Close)
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := quicconn.Listen(quicconn.ListenerConfig{Socket: pc, TLS: c.ServerTLS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return srv.Listener.Addr().String(), pc.LocalAddr().String()
}

// has reports whether there is such a result.
func has(results []Result, status Status, text string) bool {
	return slices.ContainsFunc(results, func(r Result) bool { return r.Status == status && strings.Contains(r.Message, text) })
}

// TestCloud: a cloud is reached by TCP and UDP, and verified by what is at hand.
func TestCloud(t *testing.T) {
	c, other := jointest.NewCloud(t), jointest.NewCloud(t)
	tcp, udp := serveCloud(t, c)
	m, _ := machine(t, nil)
	m.Now = time.Now
	m.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		address := tcp
		if network == "udp" {
			address = udp
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	run := func(cfg Config, name string) []Result {
		t.Helper()
		results, err := Run(t.Context(), cfg, m, name)
		if err != nil {
			t.Fatal(err)
		}
		return results
	}
	before := Config{Cloud: tcp}
	if r := run(before, "cloud"); !has(r, OK, "a join token will verify it") || !has(r, OK, "over UDP (QUIC)") {
		t.Error("nothing to verify by:", r)
	}
	if r := run(Config{Cloud: tcp, Pin: c.CA.Pin()}, "cloud"); !has(r, OK, "is trusted") {
		t.Error("the right pin:", r)
	}
	if r := run(Config{Cloud: tcp, Pin: other.CA.Pin()}, "cloud"); !has(r, Fail, "is not the cloud that this machine trusts") {
		t.Error("another pin:", r)
	}
	wrong := strings.Replace(tcp, "127.0.0.1", "127.0.0.2", 1)
	if r := run(Config{Cloud: wrong, Pin: c.CA.Pin()}, "cloud"); !has(r, Fail, "is not the cloud that this machine trusts") {
		t.Error("another name:", r)
	}
	if r := run(before, "clock"); !has(r, OK, "differs from the cloud's by") {
		t.Error(r)
	}
	for ahead, want := range map[time.Duration]Status{-time.Hour: Warn, 2 * time.Hour: Warn, 48 * time.Hour: Fail} {
		m.Now = func() time.Time { return time.Now().Add(ahead) }
		if r := run(before, "clock"); Worst(r) != want {
			t.Errorf("%s ahead: %+v, want %s", ahead, r, want)
		}
	}
	m.Now = time.Now
	for mtu, want := range map[int]Status{1500: OK, 1248: OK, 1200: Warn} {
		m.RouteMTU = func(net.Conn) (int, error) { return mtu, nil }
		if r := run(before, "mtu"); Worst(r) != want {
			t.Errorf("%d: %+v, want %s", mtu, r, want)
		}
	}
	m.RouteMTU = func(net.Conn) (int, error) { return 0, errors.New("boom") }
	if r := run(before, "mtu"); !has(r, Warn, "boom") {
		t.Error(r)
	}
	m.RouteMTU = routeMTU
	if r := run(before, "mtu"); !has(r, OK, "bytes") {
		t.Error("this machine's loopback:", r)
	}
	udp = deadUDP(t)
	if r := run(before, "cloud"); !has(r, Warn, "the node uses WebSocket") && !has(r, Warn, "over UDP") {
		t.Error("no answer by UDP:", r)
	}
}

// deadUDP is the address of a UDP socket that was closed: the kernel refuses its packets.
func deadUDP(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
	return pc.LocalAddr().String()
}

// TestIdentity: the certificate's life, the file's permissions, the cloud's address.
func TestIdentity(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		begin, end time.Duration
		mode       os.FileMode
		cloud      string
		status     Status
		want       string
	}{
		"good":        {-time.Hour, 90 * 24 * time.Hour, 0o600, "cloud:1", OK, "node edge-1"},
		"ended":       {-90 * 24 * time.Hour, -time.Hour, 0o600, "cloud:1", Warn, "ended on"},
		"not renewed": {-89 * 24 * time.Hour, time.Hour, 0o600, "cloud:1", Warn, "was not renewed"},
		"readable":    {-time.Hour, 90 * 24 * time.Hour, 0o644, "cloud:1", Fail, "can be read by others"},
		"no cloud":    {-time.Hour, 90 * 24 * time.Hour, 0o600, "", Fail, "address is not kept"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := machine(t, nil)
			m.Now = func() time.Time { return now }
			dir := filepath.Join(m.Root, "var/lib/edgekit", nodejoin.IdentityDir)
			ca, err := join.NewCA("test", now.Add(-1000*time.Hour*24))
			if err != nil {
				t.Fatal(err)
			}
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := ca.IssueNode(key.Public(), "edge-1", now.Add(tt.begin), tt.end-tt.begin)
			if err != nil {
				t.Fatal(err)
			}
			credentials := join.Credentials{Node: "edge-1", Key: key, Leaf: leaf}
			credentials.Roots = append(credentials.Roots, ca.Certificate())
			if err := credentials.Save(dir); err != nil {
				t.Fatal(err)
			}
			if tt.cloud != "" {
				if err := nodejoin.SaveCloud(dir, tt.cloud); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(filepath.Join(dir, join.File), tt.mode); err != nil {
				t.Fatal(err)
			}
			results, err := Run(t.Context(), Config{}, m, "identity")
			if err != nil || !has(results, tt.status, tt.want) {
				t.Errorf("%+v, %v", results, err)
			}
		})
	}
}

// TestThisMachine runs every check where the tests run: whatever they find, they end, and
// have a remedy.
func TestThisMachine(t *testing.T) {
	results, err := Run(t.Context(), Config{DataDir: t.TempDir()}, Local())
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, r := range results {
		if (r.Status == OK) != (r.Remedy == "") {
			t.Errorf("%+v", r)
		}
		seen = append(seen, r.Check)
	}
	if got := slices.Compact(seen); !slices.Equal(got, Names()) {
		t.Errorf("%q, want %q", got, Names())
	}
}

// FuzzVersionAnswer: no packet makes isVersionAnswer panic.
func FuzzVersionAnswer(f *testing.F) {
	packet, source := versionProbe()
	f.Add(packet)
	f.Add(append([]byte{0x80, 0, 0, 0, 0, 8}, source...))
	f.Fuzz(func(_ *testing.T, p []byte) { isVersionAnswer(p, source) })
}
