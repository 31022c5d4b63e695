package access

import (
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
)

const maxPEM = 1 << 20

// certificates are the broker's certificate and the authorities of clients, as read last.
type certificates struct {
	current atomic.Pointer[tls.Config]
}

// TLS is the configuration for the broker's TLS listeners; nil without Config.Cert. It always
// uses the files as Run read them last. Clients need no certificate; one that they send must
// be signed by Config.ClientCA.
func (a *Access) TLS() *tls.Config {
	if a.cfg.Cert == "" {
		return nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return a.files.tls.current.Load(), nil },
	}
}

func (a *Access) loadTLS() error {
	f := &a.files
	// All three are looked at, so no || here.
	cert, key, ca := f.cert.changed(a.cfg.Cert), f.key.changed(a.cfg.Key), f.ca.changed(a.cfg.ClientCA)
	if !cert && !key && !ca {
		return nil
	}
	certPEM, bad := read(a.cfg.Cert, maxPEM)
	if bad != nil {
		return bad
	}
	keyPEM, bad := read(a.cfg.Key, maxPEM)
	if bad != nil {
		return bad
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return &FileError{File: a.cfg.Cert, Reason: err.Error() + ": give the certificate and its key " + a.cfg.Key + " in PEM form", Err: err}
	}
	// Without tickets each connection shows its certificate, so a new authority counts at once.
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true}
	if a.cfg.ClientCA != "" {
		caPEM, bad := read(a.cfg.ClientCA, maxPEM)
		if bad != nil {
			return bad
		}
		cfg.ClientAuth, cfg.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(caPEM) {
			return &FileError{File: a.cfg.ClientCA, Reason: "it has no certificate in PEM form: give those of the clients' authorities"}
		}
	}
	f.tls.current.Store(cfg)
	a.log.Info("the MQTT broker's certificate was read", "file", a.cfg.Cert, "until", pair.Leaf.NotAfter)
	return nil
}
