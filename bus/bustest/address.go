package bustest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Address finds an address of loopback for a broker that goes and comes again: no
// other program of the machine gets its port meanwhile unless it asks for that one.
func Address(t testing.TB) string {
	t.Helper()
	for range 1000 {
		host := "127.0.0.1:" + strconv.Itoa(12_000+rand.IntN(8000)) // below those that Linux gives by itself
		if l, err := net.Listen("tcp", host); err == nil {
			l.Close()
			return "tcp://" + host
		}
	}
	t.Fatal("no TCP port is free")
	return ""
}
