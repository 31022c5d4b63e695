package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kubeletClient is how an API server of a test reaches kubelet endpoints. nil does not reach them.
type kubeletClient struct {
	address   netip.Addr // of this machine, not a loopback one
	cert, key string     // files; the certificate is its own authority
}

func newKubeletClient(t *testing.T) *kubeletClient {
	t.Helper()
	dir := t.TempDir()
	k := &kubeletClient{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() && p.Addr().Is4() {
			k.address = p.Addr()
			break // later ones may be of bridges, which come and go
		}
	}
	if !k.address.IsValid() {
		t.Skip("this machine has no address but loopback")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{k.cert: {Type: "CERTIFICATE", Bytes: der}, k.key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k *kubeletClient) apiServer() []string {
	if k == nil {
		return nil
	}
	return []string{"--kubelet-client-certificate=" + k.cert, "--kubelet-client-key=" + k.key}
}

// cloudcore has the settings of the i-th cloudcore. All have one address here, so each has
// ports of its own.
func (k *kubeletClient) cloudcore(i int) []string {
	if k == nil {
		return []string{"--kubelet-off"}
	}
	first := 27000 + 200*i
	return []string{
		"--kubelet-address=" + k.address.String(), "--kubelet-address-type=InternalIP", "--kubelet-client-ca=" + k.cert,
		fmt.Sprintf("--kubelet-ports=%d-%d", first, first+199),
	}
}

// readLogs reads the logs of some of the pods, as kubectl does, all at the same time.
func (x *trio) readLogs(ctx context.Context, pods *corev1.PodList) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range pods.Items[:min(4, len(pods.Items))] {
		g.Go(func() error {
			text, err := x.client.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
			if err == nil && !strings.Contains(string(text), p.Name) {
				err = fmt.Errorf("it says %q", text)
			}
			if err != nil {
				return fmt.Errorf("logs of %s on %s: %w", p.Name, p.Spec.NodeName, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// readLogsUntil reads logs until ctx ends, and returns the first error.
func (x *trio) readLogsUntil(ctx context.Context) (first error) {
	for i := 0; ctx.Err() == nil; i++ {
		pods, err := x.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
		if err == nil {
			err = x.readLogs(ctx, pods)
		}
		if err != nil && first == nil && ctx.Err() == nil {
			first = fmt.Errorf("call %d: %w", i, err)
		}
		pause(250 * time.Millisecond) // TLS under the race detector is slow
	}
	return first
}

// awaitLogs waits until each Node names its kubelet endpoint.
func (x *trio) awaitLogs() {
	x.t.Helper()
	x.until("the logs of all pods can be read", func() bool {
		pods, err := x.client.CoreV1().Pods(metav1.NamespaceAll).List(x.t.Context(), metav1.ListOptions{})
		return err == nil && x.readLogs(x.t.Context(), pods) == nil
	})
}
