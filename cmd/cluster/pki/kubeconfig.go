package pki

import (
	"encoding/base64"
	"fmt"
	"os"
)

// Kubeconfig is a file with one cluster, one user and one context.
type Kubeconfig struct {
	Server string // https://host:port
	CA     []byte // PEM of the authority that signed the server's certificate
	User   Pair
}

// Write stores the file with mode 0600. Everything is inside it, so that it
// may be copied.
func (k Kubeconfig) Write(path string) error {
	b64 := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: edgekit
clusters:
- name: edgekit
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: edgekit
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: edgekit
  context:
    cluster: edgekit
    user: edgekit
`, k.Server, b64(k.CA), b64(k.User.Cert), b64(k.User.Key))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	return nil
}
