package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServerAndClientCertificatesVerify(t *testing.T) {
	ca, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(Request{CommonName: "server", Organizations: []string{"g"}, Hosts: []string{"127.0.0.1", "localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CertPEM())
	for _, name := range []string{"127.0.0.1", "localhost"} {
		if _, err := loaded.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("verify for %s: %v", name, err)
		}
	}
	client, err := ca.Issue(Request{CommonName: "user"})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err = tls.X509KeyPair(client.Cert, client.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loaded.Leaf.Verify(x509.VerifyOptions{Roots: roots}); err == nil {
		t.Error("a client's certificate serves as a server's")
	}
}

func TestKeyFilesArePrivate(t *testing.T) {
	ca, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(Request{CommonName: "user"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := pair.Write(filepath.Join(dir, "user")); err != nil {
		t.Fatal(err)
	}
	config := Kubeconfig{Server: "https://127.0.0.1:1", CA: ca.CertPEM(), User: pair}
	if err := config.Write(filepath.Join(dir, "kubeconfig")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"user.key", "kubeconfig"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode().Perm())
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "kubeconfig"))
	if err != nil || !strings.Contains(string(b), "server: https://127.0.0.1:1\n") {
		t.Errorf("kubeconfig %q, %v", b, err)
	}
}
