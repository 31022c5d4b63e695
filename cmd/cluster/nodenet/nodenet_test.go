package nodenet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	0036D50A	00000000	0001	0	0	0	FCFFFFFF	0	0	0
`

func TestParseRoutes(t *testing.T) {
	got, err := parseRoutes(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != netip.MustParsePrefix("10.213.54.0/30") {
		t.Errorf("routes %v", got)
	}
}

func FuzzParseRoutes(f *testing.F) {
	f.Add(table)
	f.Add("a b c d e f g h")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseRoutes(strings.NewReader(s)) })
}

func TestChooseAvoidsWhatIsUsed(t *testing.T) {
	plan, err := choose(255, []netip.Prefix{
		netip.MustParsePrefix("10.213.255.1/30"), // another cluster's cable
		netip.MustParsePrefix("10.214.0.0/24"),   // its pods
	})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Link != netip.MustParsePrefix("10.213.1.0/30") || plan.Host() != netip.MustParseAddr("10.213.1.1") || plan.Node() != netip.MustParseAddr("10.213.1.2") {
		t.Errorf("plan %v", plan)
	}
	if _, err := choose(0, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); err == nil {
		t.Error("a plan although all of 10.0.0.0/8 is used")
	}
}

func TestCutAndMend(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	ctx := t.Context()
	plan, err := Choose(77)
	if err != nil {
		t.Fatal(err)
	}
	n := Network{Plan: plan, File: filepath.Join(t.TempDir(), "netns"), Cable: "ektest"}
	t.Cleanup(func() {
		if err := n.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	if err := n.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Up(ctx); err != nil {
		t.Fatalf("second Up: %v", err)
	}
	if err := n.Forward(); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(plan.Host(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := reach(t, n, l, time.Minute); err != nil {
		t.Errorf("over the cable: %v", err)
	}
	if err := n.Cut(ctx); err != nil {
		t.Fatal(err)
	}
	if err := reach(t, n, l, 2*time.Second); err == nil {
		t.Error("reached the host over a cut cable")
	}
	if err := n.Mend(ctx); err != nil {
		t.Fatal(err)
	}
	if err := reach(t, n, l, time.Minute); err != nil {
		t.Errorf("over the mended cable: %v", err)
	}
	if err := run(ctx, "ip", "link", "delete", n.Cable); err != nil {
		t.Fatal(err)
	}
	if err := n.Up(ctx); err != nil {
		t.Fatalf("Up without the cable: %v", err)
	}
	if err := reach(t, n, l, time.Minute); err != nil {
		t.Errorf("over the new cable: %v", err)
	}
	if err := n.Down(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Down(ctx); err != nil {
		t.Errorf("second Down: %v", err)
	}
}

// reach dials the listener from inside the node's network until it answers or the
// limit is over. The kernel brings a link up after "ip link set up" has returned, in a
// worker of its own: until then, and while it still remembers that nobody answered its
// ARP requests, a dial fails at once with "no route to host".
func reach(t *testing.T, n Network, l net.Listener, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := n.DialContext(ctx, "tcp", l.Addr().String())
		if err == nil {
			return conn.Close()
		}
		if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}
