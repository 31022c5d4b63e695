package broker_test

import (
	"net"
	"testing"

	"github.com/edgekit/edgekit/bus/broker"
)

// TestAttackRemotePending opens silent connections from another address. Clients of this
// machine still log in.
func TestAttackRemotePending(t *testing.T) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var remote *net.TCPAddr
	for _, a := range own {
		if network, ok := a.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			remote = &net.TCPAddr{IP: network.IP}
		}
	}
	if remote == nil {
		t.Skip("this machine has no address besides loopback")
	}
	b, _ := start(t, broker.Config{Address: "tcp://0.0.0.0:0", AllowRemoteAnonymous: true, MaxPending: 8})
	port := b.Addr().(*net.TCPAddr).Port
	remote.Port = port
	for range 20 {
		if _, err := dialRaw(t, remote); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return b.Stats().Bounds["pending"] == 14 })
	join(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, connect{id: "local"})
}
