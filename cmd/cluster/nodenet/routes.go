package nodenet

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// hostRoutes lists the destinations that this host has IPv4 routes to, without
// the default route.
func hostRoutes() ([]netip.Prefix, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("nodenet: %w", err)
	}
	defer f.Close()
	return parseRoutes(f)
}

// parseRoutes reads /proc/net/route: after a heading, one route per line with
// the destination in the second field and the mask in the eighth, in hex, in
// the machine's byte order (little endian wherever this runs).
func parseRoutes(r io.Reader) ([]netip.Prefix, error) {
	var all []netip.Prefix
	s := bufio.NewScanner(r)
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 8 || f[0] == "Iface" {
			continue
		}
		dest, err1 := strconv.ParseUint(f[1], 16, 32)
		mask, err2 := strconv.ParseUint(f[7], 16, 32)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("nodenet: route %q cannot be read", s.Text())
		}
		if mask == 0 {
			continue
		}
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], uint32(dest))
		all = append(all, netip.PrefixFrom(netip.AddrFrom4(b), bits.OnesCount32(uint32(mask))))
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("nodenet: %w", err)
	}
	return all, nil
}
