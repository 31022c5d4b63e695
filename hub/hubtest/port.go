package hubtest

import (
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// FreePort finds a port of the host, "" for all addresses of the machine, for a
// server that goes and comes again: no other program of the machine gets the port
// meanwhile unless it asks for that one. The network is "tcp" or "udp".
func FreePort(t testing.TB, network, host string) int {
	t.Helper()
	for range 1000 {
		port := 12_000 + rand.IntN(8000) // below those that Linux gives by itself
		if s, err := listen(network, net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			s.Close()
			return port
		}
	}
	t.Fatalf("no port of %q is free for %s", host, network)
	return 0
}

func listen(network, addr string) (io.Closer, error) {
	if network == "udp" {
		return net.ListenPacket(network, addr)
	}
	return net.Listen(network, addr)
}
