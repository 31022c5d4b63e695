package wsconn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
)

// The PROXY protocol of HAProxy, versions 1 and 2, which load balancers speak to say
// who the client is (haproxy.org/download/3.2/doc/proxy-protocol.txt, section 2).
const (
	proxyV2    = "\r\n\r\n\x00\r\nQUIT\n" // section 2.2
	proxyV1    = "PROXY "
	maxProxyV1 = 107     // bytes of a version 1 header, section 2.1
	maxProxyV2 = 1 << 10 // bytes of what follows a version 2 header; more than any balancer adds
)

var errProxy = errors.New("wsconn: no PROXY protocol header")

// readProxy reads a header and no byte more. It gives no address for a connection
// that the balancer makes on its own account, such as a health check.
func readProxy(r io.Reader) (netip.AddrPort, error) {
	var head [16]byte // of version 2; shorter than any of version 1 with addresses
	if _, err := io.ReadFull(r, head[:len(proxyV2)]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxy, err)
	}
	switch {
	case string(head[:len(proxyV2)]) == proxyV2:
		if _, err := io.ReadFull(r, head[len(proxyV2):]); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxy, err)
		}
		return readProxyV2(r, head[len(proxyV2):])
	case bytes.HasPrefix(head[:], []byte(proxyV1)):
		return readProxyV1(r, head[:len(proxyV2)])
	}
	return netip.AddrPort{}, errProxy
}

// readProxyV1 reads the rest of a line: PROXY TCP4 source destination port port.
func readProxyV1(r io.Reader, line []byte) (netip.AddrPort, error) {
	var b [1]byte
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxProxyV1 {
			return netip.AddrPort{}, fmt.Errorf("%w: the line is longer than %d bytes", errProxy, maxProxyV1)
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxy, err)
		}
		line = append(line, b[0])
	}
	field := strings.Fields(string(line))
	if len(field) >= 2 && field[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(field) != 6 || field[1] != "TCP4" && field[1] != "TCP6" {
		return netip.AddrPort{}, fmt.Errorf("%w: the line has other fields", errProxy)
	}
	addr, err := netip.ParseAddrPort(net.JoinHostPort(field[2], field[4]))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxy, err)
	}
	return addr, nil
}

// readProxyV2 reads what follows a version 2 signature and four bytes: version and
// command, family, and the length of the rest.
func readProxyV2(r io.Reader, head []byte) (netip.AddrPort, error) {
	const version, local, proxied, tcp4, tcp6 = 0x20, 0x20, 0x21, 0x11, 0x21
	length := binary.BigEndian.Uint16(head[2:])
	if head[0]&0xf0 != version || length > maxProxyV2 {
		return netip.AddrPort{}, fmt.Errorf("%w: version and command are %#x, and %d bytes follow", errProxy, head[0], length)
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxy, err)
	}
	size := map[byte]int{tcp4: 4, tcp6: 16}[head[1]]
	switch {
	case head[0] == local, head[0] == proxied && head[1] == 0: // the family is unknown
		return netip.AddrPort{}, nil
	case head[0] != proxied, size == 0, len(rest) < 2*size+4:
		return netip.AddrPort{}, fmt.Errorf("%w: command %#x, family %#x and %d bytes are not those of TCP", errProxy, head[0], head[1], length)
	}
	ip, _ := netip.AddrFromSlice(rest[:size])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(rest[2*size:])), nil
}
