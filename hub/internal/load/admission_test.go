package load_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub/internal/load"
)

var (
	near = netip.MustParsePrefix("192.0.2.0/24")
	far  = netip.MustParsePrefix("2001:db8::/64")
)

// TestAdmission: two connections of two networks have the places, and the next one gets a
// place as soon as one has left, in whatever way.
func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, begun := load.NewAdmission(2, nil), time.Now()
		first, second := e.Enter(near, t.Context().Done()), e.Enter(far, t.Context().Done())
		go func() {
			time.Sleep(load.BusySlotTime / 2)
			first.Leave()
			first.Leave()
		}()
		third := e.Enter(near, t.Context().Done())
		if took := time.Since(begun); took != load.BusySlotTime/2 {
			t.Errorf("the third came in after %v", took)
		}
		fourth := e.Enter(far, t.Context().Done()) // for the second one, which never leaves by itself
		if took := time.Since(begun); took != load.BusySlotTime {
			t.Errorf("the fourth came in after %v", took)
		}
		second.Leave()
		done := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(done) })
		if e.Enter(near, done) != nil {
			t.Error("the one who had to leave left twice")
		}
		if e.Waiting() != 0 {
			t.Error("one who went away still waits")
		}
		third.Leave()
		time.Sleep(load.BusySlotTime + time.Millisecond)
		if fourth.Gone() {
			t.Error("the fourth had to leave though nobody waits")
		}
		time.Sleep(load.SlotTime)
		if !fourth.Gone() || e.Taken() != 0 {
			t.Error("a place is taken for ever")
		}
	})
}

// TestAdmissionShare: one network asks for all places and gets three quarters of them,
// another one gets a place at once, and those that wait get places round robin by
// network.
func TestAdmissionShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 8
		e := load.NewAdmission(places, nil)
		var mine []*load.Slot
		for p := e.TryEnter(near); p != nil; p = e.TryEnter(near) {
			mine = append(mine, p)
		}
		if len(mine) != load.Share(places) || e.Fewest(slices.Values([]netip.Prefix{near, far})) != far {
			t.Fatalf("one network has %d of %d places", len(mine), places)
		}
		var order []netip.Prefix
		enter := func(n netip.Prefix) {
			go func() {
				if e.Enter(n, t.Context().Done()) != nil {
					order = append(order, n)
				}
			}()
			synctest.Wait()
		}
		enter(near)
		enter(far)
		enter(far)
		if len(order) != 2 || order[0] != far || order[1] != far {
			t.Fatalf("%v came in where one network has its share", order)
		}
		enter(far) // waits behind the near one, whose network has more
		mine[0].Leave()
		synctest.Wait()
		if len(order) != 3 || order[2] != far {
			t.Errorf("%v came in when a place was free", order)
		}
		mine[1].Leave()
		synctest.Wait()
		if len(order) != 4 || order[3] != near || e.Taken() != places {
			t.Errorf("%v came in, %d places are taken", order, e.Taken())
		}
		time.Sleep(load.SlotTime)
	})
}

func TestNetwork(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }
	udp := func(ip string) net.Addr { return &net.UDPAddr{IP: net.ParseIP(ip), Port: 2} }
	for _, tt := range []struct {
		a, b net.Addr
		same bool
	}{
		{tcp("192.0.2.1"), udp("192.0.2.255"), true},
		{tcp("192.0.2.1"), tcp("::ffff:192.0.2.9"), true},
		{tcp("192.0.2.1"), tcp("192.0.3.1"), false},
		{tcp("2001:db8::1"), udp("2001:db8::ffff:1:2:3"), true},
		{tcp("2001:db8::1"), tcp("2001:db8:0:1::1"), false},
		{&net.UnixAddr{Name: "a"}, nil, true},
		{&net.UnixAddr{Name: "a"}, tcp("192.0.2.1"), false},
	} {
		if got := load.Network(tt.a) == load.Network(tt.b); got != tt.same {
			t.Errorf("%v and %v are of one network: %t", tt.a, tt.b, got)
		}
	}
}
