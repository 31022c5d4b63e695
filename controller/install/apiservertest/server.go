package apiservertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Server is a real kube-apiserver with an etcd of its own.
type Server struct {
	Admin *rest.Config // a member of system:masters
	Host  string       // its URL
}

// As returns the configuration of a bearer of a token.
func (a *Server) As(token string) *rest.Config {
	return &rest.Config{Host: a.Host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
}

// Kubeconfig writes a kubeconfig of the administrator and returns its file, which is removed when
// the test ends.
func (a *Server) Kubeconfig(t *testing.T) string {
	t.Helper()
	out := clientcmdapi.NewConfig()
	out.Clusters["c"] = &clientcmdapi.Cluster{Server: a.Host, InsecureSkipTLSVerify: true}
	out.AuthInfos["c"] = &clientcmdapi.AuthInfo{Token: a.Admin.BearerToken}
	out.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "c"}
	out.CurrentContext = "c"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*out, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// Binary finds a program that cmd/cluster has built, such as "kube-*/kubectl", or skips the test.
func Binary(t *testing.T, pattern string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "edgekit", "bin", pattern))
	if err != nil || len(found) == 0 {
		t.Skipf("no %s: 'make cluster-up' builds it", pattern)
	}
	return found[len(found)-1]
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// run starts a program that lives as long as the test.
func run(t *testing.T, dir, path string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // it ends in the cleanup
	cmd := exec.CommandContext(ctx, path, args...)
	log, err := os.Create(filepath.Join(dir, filepath.Base(path)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", path, text[max(0, len(text)-3000):])
		}
	})
}

// Start starts a kube-apiserver with the authorizers Node and RBAC and with NodeRestriction, as
// every distribution has it. further are more of its flags.
func Start(t *testing.T, further ...string) *Server {
	t.Helper()
	etcd, server := Binary(t, "etcd-*/etcd"), Binary(t, "kube-*/kube-apiserver")
	dir, ports := t.TempDir(), freePorts(t, 3)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyFile, tokens := filepath.Join(dir, "sa.key"), filepath.Join(dir, "tokens.csv")
	for name, text := range map[string][]byte{
		keyFile: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		tokens:  []byte("admin-token,admin,admin,system:masters\n"),
	} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	run(t, dir, etcd, "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", ports[1]), "--unsafe-no-fsync")
	run(t, dir, server, append(further, "--etcd-servers="+store, fmt.Sprintf("--secure-port=%d", ports[2]), "--bind-address=127.0.0.1",
		"--cert-dir="+dir, "--token-auth-file="+tokens, "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+keyFile, "--service-account-signing-key-file="+keyFile,
		"--service-cluster-ip-range=10.96.0.0/16")...)
	a := &Server{Host: fmt.Sprintf("https://127.0.0.1:%d", ports[2])}
	a.Admin = a.As("admin-token")
	client, err := kubernetes.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	ready := time.NewTicker(200 * time.Millisecond)
	defer ready.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for {
		_, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			return a
		}
		select {
		case <-ctx.Done():
			t.Fatal("kube-apiserver does not get ready:", err)
		case <-ready.C:
		}
	}
}
