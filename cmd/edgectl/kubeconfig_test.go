package main

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/kube"
)

// TestKubeconfigFor has what is printed read as cloudcore reads it: the cluster
// is the same, and of the operator's own credentials nothing is left.
func TestKubeconfigFor(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, []byte("CA"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := kubeconfigFor(&rest.Config{
		Host: "https://10.0.0.1:6443", BearerToken: "admin", Username: "admin", Password: "admin",
		TLSClientConfig: rest.TLSClientConfig{CAFile: ca, ServerName: "kubernetes", CertData: []byte("admin"), KeyData: []byte("admin")},
	}, "cloudcores")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := kube.Config(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://10.0.0.1:6443" || got.BearerToken != "cloudcores" || string(got.CAData) != "CA" || got.ServerName != "kubernetes" ||
		got.Username != "" || len(got.CertData) != 0 || len(got.KeyData) != 0 {
		t.Errorf("%+v", got)
	}
}
