package preflight

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/hub/join"
)

// answerLimit bounds one question to the cloud.
const answerLimit = 10 * time.Second

// cloudAnswer is what the cloud answered.
type cloudAnswer struct {
	address string // host:port; "" if no cloud is known
	err     error  // why there was no TLS connection
	trust   error  // why the server is not trusted; errUnverified if nobody could say
	date    time.Time
}

// errUnverified says that there is no pin and no authority to verify the cloud with.
var errUnverified = errors.New("not verified")

// cloudAddress is the cloud's address, by the configuration or the identity.
func (e *env) cloudAddress() string {
	if e.cfg.Cloud != "" {
		return e.cfg.Cloud
	}
	s, err := nodejoin.Load(e.path(e.cfg.DataDir))
	if err != nil {
		return ""
	}
	return s.Cloud
}

// askCloud connects to the cloud once, and remembers its answer.
func (e *env) askCloud(ctx context.Context) *cloudAnswer {
	if e.cloud != nil {
		return e.cloud
	}
	a := &cloudAnswer{address: e.cloudAddress()}
	e.cloud = a
	if a.address == "" {
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := e.Dial(ctx, "tcp", a.address)
	if err != nil {
		a.err = err
		return a
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // a connection without one ends when the cloud ends it
	}
	host, _, _ := net.SplitHostPort(a.address)
	secure := tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host,
		InsecureSkipVerify: true, // trust is looked at below: an untrusted server is a finding too
	})
	if a.err = secure.HandshakeContext(ctx); a.err != nil {
		return a
	}
	a.trust = e.trusts(secure.ConnectionState().PeerCertificates, host)
	a.date = dateOf(ctx, secure, host)
	return a
}

// trusts verifies the server's chain by the pin of a token, or by the identity.
func (e *env) trusts(chain []*x509.Certificate, host string) error {
	roots := x509.NewCertPool()
	at := e.Now()
	for i, c := range chain {
		if c.NotBefore.After(at) {
			at = c.NotBefore // the machine's clock may be behind
		}
		if i > 0 && c.IsCA && e.cfg.Pin != "" && join.KeyHash(c) == e.cfg.Pin {
			roots.AddCert(c)
		}
	}
	known := e.cfg.Pin != ""
	if !known {
		s, err := nodejoin.Load(e.path(e.cfg.DataDir))
		if err != nil {
			return errUnverified
		}
		for _, c := range s.Credentials.Roots {
			roots.AddCert(c)
		}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at}); err != nil {
		return err
	}
	return chain[0].VerifyHostname(host)
}

// dateOf asks a server for the time; zero if it does not say.
func dateOf(ctx context.Context, conn net.Conn, host string) time.Time {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+host+"/", nil)
	if err != nil {
		return time.Time{}
	}
	req.Close = true
	if req.Write(conn) != nil {
		return time.Time{}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return time.Time{}
	}
	defer resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return date
}

// checkDNS looks at the name servers, and resolves the cloud's name.
func checkDNS(ctx context.Context, e *env) []Result {
	var servers []string
	for line := range strings.Lines(e.read("/etc/resolv.conf")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			servers = append(servers, f[1])
		}
	}
	loopback := func(s string) bool { ip, err := netip.ParseAddr(s); return err == nil && ip.IsLoopback() }
	var out []Result
	switch {
	case len(servers) == 0:
		out = append(out, warning("name servers in /etc/resolv.conf, or a resolver file with edgecore's resolv-conf", "/etc/resolv.conf has no name server: names of images cannot be resolved, and pods get none"))
	case !slices.ContainsFunc(servers, func(s string) bool { return !loopback(s) }) && !e.exists("/run/systemd/resolve/resolv.conf"):
		out = append(out, warning("name a resolver file with other servers: resolv-conf in /etc/edgekit/edgecore.yaml", "all name servers are loopback addresses (%s), which do not work inside pods", strings.Join(servers, ", ")))
	default:
		out = append(out, good("name servers: %s", strings.Join(servers, ", ")))
	}
	host, _, err := net.SplitHostPort(e.cloudAddress())
	if _, ip := netip.ParseAddr(host); err != nil || ip == nil {
		return out
	}
	addresses, err := e.Resolve(ctx, host)
	if err != nil || len(addresses) == 0 {
		return append(out, failure("check the name and /etc/resolv.conf, or add the name to /etc/hosts", "the cloud's name %s cannot be resolved: %v", host, err))
	}
	return append(out, good("%s is %s", host, addressList(addresses)))
}

// addressList lists addresses.
func addressList(addresses []netip.Addr) string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.Unmap().String())
	}
	return strings.Join(all, ", ")
}

// checkCloud connects to the cloud by TCP and by UDP.
func checkCloud(ctx context.Context, e *env) []Result {
	a := e.askCloud(ctx)
	if a.address == "" {
		return []Result{good("no cloud is known yet: --cloud HOST:PORT checks the way to it")}
	}
	if err := nodejoin.CheckCloud(a.address); err != nil {
		return []Result{failure("give it as host:port", "the cloud's address %q: %v", a.address, err)}
	}
	var out []Result
	switch {
	case a.err != nil:
		out = append(out, failure("check the address, that cloudcore runs there, and that firewalls let this machine out to that TCP port", "no TLS connection to %s over TCP: %v", a.address, a.err))
	case errors.Is(a.trust, errUnverified):
		out = append(out, good("%s answers over TCP with TLS; a join token will verify it", a.address))
	case a.trust != nil:
		out = append(out, failure("check --cloud and the token; a proxy that opens TLS must let this address pass; cloudcore's --advertise must name the host", "%s is not the cloud that this machine trusts: %v", a.address, a.trust))
	default:
		out = append(out, good("%s answers over TCP with TLS, and is trusted", a.address))
	}
	if e.cfg.Transport == "websocket" {
		return out
	}
	switch err := e.probeQUIC(ctx, a.address); {
	case err == nil:
		out = append(out, good("%s answers over UDP (QUIC)", a.address))
	case e.cfg.Transport == "quic":
		out = append(out, failure("let UDP to that port pass, or set transport: auto", "no answer from %s over UDP (QUIC), the only transport that is set: %v", a.address, err))
	default:
		out = append(out, warning("let UDP to that port pass; without it the node uses WebSocket over TCP", "no answer from %s over UDP (QUIC): %v", a.address, err))
	}
	return out
}

// probeTries is how often a probe is sent: UDP may lose one.
const probeTries = 3

// probeQUIC asks a QUIC server which versions it has, by a packet of a version that is
// none (RFC 8999, 6). It shows that packets of 1200 bytes, which QUIC needs, arrive.
func (e *env) probeQUIC(ctx context.Context, address string) error {
	conn, err := e.Dial(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	packet, source := versionProbe()
	for try := 1; ; try++ {
		if _, err := conn.Write(packet); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(answerLimit / probeTries)); err != nil {
			return err
		}
		answer := make([]byte, 1500)
		n, err := conn.Read(answer)
		switch {
		case err == nil && isVersionAnswer(answer[:n], source):
			return nil
		case err == nil:
			err = errors.New("the answer is not QUIC")
		}
		if try == probeTries || ctx.Err() != nil {
			return err
		}
	}
}

// versionProbe makes the packet, and returns the connection id that the answer repeats.
func versionProbe() (packet, source []byte) {
	packet = make([]byte, 1200)
	_, _ = rand.Read(packet) // it never fails
	packet[0] |= 0xc0        // a long header
	copy(packet[1:], []byte{0x1a, 0x2a, 0x3a, 0x4a})
	packet[5], packet[14] = 8, 8 // the ids' lengths
	return packet, packet[15:23]
}

// isVersionAnswer reports whether a packet is the answer to the probe with that id.
func isVersionAnswer(p, source []byte) bool {
	return len(p) > 6+len(source) && p[0]&0x80 != 0 && [4]byte(p[1:5]) == [4]byte{} && int(p[5]) == len(source) && string(p[6:6+len(source)]) == string(source)
}

// leastMTU is what QUIC needs: 1200 bytes and the headers of IPv6 and UDP.
const leastMTU = 1248

// checkMTU looks at the largest packet on the route to the cloud.
func checkMTU(ctx context.Context, e *env) []Result {
	address := e.cloudAddress()
	if address == "" {
		return []Result{good("no cloud is known yet: --cloud HOST:PORT checks the route to it")}
	}
	conn, err := e.Dial(ctx, "udp", address)
	if err != nil {
		return []Result{failure("check the machine's addresses and routes", "there is no route to %s: %v", address, err)}
	}
	defer conn.Close()
	mtu, err := e.RouteMTU(conn)
	switch {
	case err != nil:
		return []Result{warning("check by hand: ping -M do -s 1220 HOST", "the MTU of the route to %s is not known: %v", address, err)}
	case mtu < leastMTU:
		return []Result{warning(fmt.Sprintf("raise the MTU of the interface or tunnel to %d or more, or set transport: websocket", leastMTU), "packets to %s have at most %d bytes: QUIC needs %d", address, mtu, leastMTU)}
	}
	return []Result{good("packets to %s have up to %d bytes", address, mtu)}
}

// checkIdentity looks at the node's certificate.
func checkIdentity(_ context.Context, e *env) []Result {
	dir := e.path(e.cfg.DataDir)
	s, err := nodejoin.Load(dir)
	if errors.Is(err, join.ErrNoCredentials) {
		return []Result{good("this machine has not joined yet: edgectl join")}
	}
	if err != nil {
		return []Result{failure("run edgectl check as root; if the file is damaged, join again with --replace", "the identity cannot be read: %v", err)}
	}
	leaf, now := s.Credentials.Leaf, e.Now()
	var out []Result
	left := leaf.NotAfter.Sub(now)
	switch {
	case left <= 0:
		out = append(out, warning("start edgecore where it reaches the cloud: it renews within the grace period; after that: edgectl join --replace with a new token", "the certificate of node %s ended on %s", s.Credentials.Node, leaf.NotAfter.Format(time.DateOnly)))
	case left < leaf.NotAfter.Sub(leaf.NotBefore)/6:
		out = append(out, warning("find out why edgecore cannot renew it (journalctl -u edgecore)", "the certificate of node %s ends on %s and was not renewed", s.Credentials.Node, leaf.NotAfter.Format(time.DateOnly)))
	default:
		out = append(out, good("node %s, certificate until %s", s.Credentials.Node, leaf.NotAfter.Format(time.DateOnly)))
	}
	if s.Cloud == "" {
		out = append(out, failure("set cloud: HOST:PORT in /etc/edgekit/edgecore.yaml, or join again with --replace", "the cloud's address is not kept"))
	}
	return append(out, e.checkKeyFile()...)
}
