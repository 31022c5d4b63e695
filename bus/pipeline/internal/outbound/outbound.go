// Package outbound has what sinks share that leave the node: connections that reach no address
// of the machine's own link, credentials of a Secret, and HTTP requests whose answers say whether to
// try again.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// dialTimeout bounds one connection.
const dialTimeout = 10 * time.Second

// Dialer makes connections of a sink. It refuses link-local addresses, where clouds have the
// credentials of their machines, and what is no address of one machine. It looks at the address
// after the name was resolved, so that a name cannot hide one.
func Dialer() *net.Dialer { return &net.Dialer{Timeout: dialTimeout, Control: refuseLink} }

func refuseLink(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("pipelines may not connect to %s: it is link-local, unspecified or multicast", ip)
	}
	return nil
}

// ParseURL checks the URL of a sink: absolute, of one of the schemes, without user and password.
func ParseURL(field string, raw v1alpha1.URL, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(string(raw))
	if err != nil || u.Host == "" || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
		return nil, fmt.Errorf("%s %.100q is no URL of a server: use %s://HOST", field, redact(string(raw)), schemes[0])
	}
	if u.User != nil {
		return nil, fmt.Errorf("%s has a user in it: put username and password into a Secret and name it in secretRef", field)
	}
	return u, nil
}

// redact keeps what may be a password out of an error.
func redact(raw string) string {
	for i := len(raw) - 1; i >= 0; i-- {
		if raw[i] == '@' {
			return "***" + raw[i:]
		}
	}
	return raw
}

// Credentials are what a Secret has for a sink. They are never logged; String says nothing of
// them.
type Credentials struct {
	Username, Password, Token string
	CA, Certificate, Key      []byte // PEM
}

// String hides the content.
func (Credentials) String() string { return "credentials" }

// GoString hides the content.
func (Credentials) GoString() string { return "credentials" }

// Load reads the Secret of a sink: the keys username, password, token, ca.crt, tls.crt and
// tls.key. Without a secretRef there are none.
func Load(ctx context.Context, env pipeline.Env, sink *v1alpha1.Sink) (Credentials, error) {
	if sink.SecretRef == nil {
		return Credentials{}, nil
	}
	if env.Secret == nil {
		return Credentials{}, errors.New("secretRef: this program has no Secrets")
	}
	data, err := env.Secret(ctx, env.Ref.Namespace, sink.SecretRef.Name)
	if err != nil {
		return Credentials{}, fmt.Errorf("secretRef: Secret %s: %w", sink.SecretRef.Name, err)
	}
	return Credentials{
		Username: string(data["username"]), Password: string(data["password"]), Token: string(data["token"]),
		CA: data["ca.crt"], Certificate: data["tls.crt"], Key: data["tls.key"],
	}, nil
}

// HasTLS reports whether there is anything for TLS.
func (c Credentials) HasTLS() bool { return len(c.CA)+len(c.Certificate)+len(c.Key) > 0 }

// TLS is the configuration with the CA and the client's certificate, as far as there are any.
func (c Credentials) TLS() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CA) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("secretRef: ca.crt has no certificate in PEM")
		}
	}
	if len(c.Certificate)+len(c.Key) > 0 {
		pair, err := tls.X509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, errors.New("secretRef: tls.crt and tls.key are no pair in PEM") // the cause may quote them
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
